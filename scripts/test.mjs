// `npm test`: everything, on a fresh clone too: installs what it needs, checks, tests, tells the browser stories, and
// ends with one line that says how many passed and failed. `npm test -- --spec DIR` holds both APIs against the Matrix
// specification, too: DIR is the `data` folder of a checkout.
import { installBrowsers } from "./browsers.mjs";
import { check } from "./check.mjs";
import { clients } from "./clients.mjs";
import { contract, specificationOf } from "./contract.mjs";
import { e2e } from "./e2e.mjs";
import { gateway } from "./gateway.mjs";
import { interop } from "./interop.mjs";
import { pageTests } from "./page-tests.mjs";
import { resolution } from "./resolution.mjs";
import { nativeTests, wasmTests } from "./rust-tests.mjs";
import { setUp } from "./setup.mjs";
import { synapse } from "./synapse.mjs";
import { Explained, task } from "./step.mjs";

/** How much of a failure's reason stands beside its name at the end. */
const REASON_SHOWN_CHARS = 200;

await task(async () => {
  const started = performance.now();
  const specification = specificationOf(process.argv.slice(2));
  const tools = await setUp();
  await installBrowsers();
  const ofContract = specification ? [() => contract(specification)] : [];
  const stages = [check, nativeTests, resolution, ...ofContract, clients, synapse, pageTests, () => wasmTests(tools), () => interop(tools), () => built(e2e), () => built(gateway)];
  const results = [];
  for (const stage of stages) results.push(await stage());

  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failures = results.flatMap((result) => result.failures);
  const minutes = ((performance.now() - started) / 60_000).toFixed(1);
  if (failures.length) console.log(`\nFailed:\n${failures.map(inShort).join("\n")}`);
  console.log(`\n${minutes} min\n${passed} passed, ${failures.length} failed`);
  if (failures.length) process.exitCode = 1;
});

/** A failure in a line; where there is a reason, with how it begins. */
function inShort({ name, message = "" }) {
  const [reason] = message.trim().split("\n");
  return `  ${name}${reason && `: ${reason.slice(0, REASON_SHOWN_CHARS)}`}`;
}

/** A build that fails is one failure, and no reason to lose the count of the rest. */
async function built(stage) {
  try {
    return await stage();
  } catch (error) {
    if (!(error instanceof Explained)) throw error;
    console.error(error.message);
    return { passed: 0, failures: [{ name: "Build" }] };
  }
}
