// `npm run gateway`: the homeserver of a tab in Chromium and a Synapse, through the gateway, in every room version (three to four
// minutes). `npm run gateway -- knock "version 12"` runs what has these words in its name; `--keep` keeps the directories of both.
import { rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installBrowsers } from "./browsers.mjs";
import { buildPage } from "./page.mjs";
import { SITE, TARGET } from "./places.mjs";
import { installPython } from "./python.mjs";
import { setUp } from "./setup.mjs";
import { countedStep, Explained, task } from "./step.mjs";
import { SYNAPSE } from "./synapse.mjs";
import { testedWarren } from "./tested-warren.mjs";
import { buildWasm } from "./wasm.mjs";

/** Builds the page and `warren` and runs them; each scenario in one room version unless `whole`. Resolves with `{ passed, failures }`. */
export async function gateway({ words, keep, whole = false, report } = {}) {
  await buildWasm(await setUp());
  await buildPage();
  await installBrowsers();
  const python = await installPython("synapse", SYNAPSE);
  const evidence = path.join(TARGET, "gateway-evidence");
  rmSync(evidence, { recursive: true, force: true });
  // Imported late: it needs packages.
  const { runThroughGateway } = await import("../tests/synapse/gateway.mjs");
  return countedStep("A tab and Synapse, by the gateway", async (run) => {
    const program = await testedWarren(run);
    const say = report ?? ((line) => run.write(`${line}\n`));
    return runThroughGateway({ program, site: SITE, python, evidence, whole, words, keep, report: say });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const args = process.argv.slice(2);
    const words = args.filter((arg) => !arg.startsWith("--"));
    const { passed, failures } = await gateway({ words, keep: args.includes("--keep"), whole: true, report: console.log });
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
