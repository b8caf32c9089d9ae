// `npm run interop`: our WebRTC transport against js-libp2p, in Chromium, Firefox and Node. `npm run interop -- worker
// firefox` runs what has these words in its name; `--dials=100` makes so many dials in a row instead of 10.
import { fileURLToPath } from "node:url";
import path from "node:path";
import { installBrowsers } from "./browsers.mjs";
import { ROOT } from "./places.mjs";
import { npm, setUp } from "./setup.mjs";
import { unlessDone } from "./stamp.mjs";
import { countedStep, Explained, step, task } from "./step.mjs";
import { testedWarren } from "./tested-warren.mjs";

/** Dials of ours in a row that must all succeed, unless asked for more. */
const DIALS = 10;

/** Builds the peers and has them meet; resolves with `{ passed, failures }`. */
export async function interop({ bindgen }, { words, dials = DIALS, report } = {}) {
  // Imported late: they need packages.
  const { PACKAGE, wasmTestsBuild } = await import("../tests/wasm/run.mjs");
  const { runInterop } = await import("../tests/interop/run.mjs");
  return countedStep("Interoperation with js-libp2p", async (run) => {
    await installTheirs();
    for (const [command, args] of wasmTestsBuild(bindgen)) await run(command, args, { cwd: ROOT });
    const program = await testedWarren(run);
    const say = report ?? ((line) => run.write(`${line}\n`));
    return runInterop({ program, wasm: PACKAGE, dials, words, report: say });
  });
}

/** js-libp2p is a package of its own, so that nothing else installs it. */
export async function installTheirs() {
  const cwd = path.join(ROOT, "tests", "interop");
  const [manifest, lock] = ["package.json", "package-lock.json"].map((file) => `tests/interop/${file}`);
  const installed = path.join(cwd, "node_modules", ".package-lock.json");
  await unlessDone("js-libp2p", [manifest, lock], [installed], () =>
    step("js-libp2p (npm packages)", (run) => run(...npm("ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"), { cwd })),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const args = process.argv.slice(2);
    const dials = Number(args.find((arg) => arg.startsWith("--dials="))?.split("=")[1] ?? DIALS);
    const tools = await setUp();
    await installBrowsers();
    const words = args.filter((arg) => !arg.startsWith("--"));
    const { passed, failures } = await interop(tools, { words, dials, report: console.log });
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
