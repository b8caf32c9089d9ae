// `npm run synapse`: `warren node` and Synapse in one room by HTTPS. `npm run synapse -- knock "version 12"` runs what has
// these words in its name; `--keep` keeps the directories of both, with their logs.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./places.mjs";
import { installPython } from "./python.mjs";
import { setUp } from "./setup.mjs";
import { countedStep, Explained, task } from "./step.mjs";
import { testedWarren } from "./tested-warren.mjs";

/** Synapse, as PyPI has it. */
export const SYNAPSE = path.join(ROOT, "benches", "node", "requirements.txt");

/** Builds `warren` and has it meet Synapse; resolves with `{ passed, failures }`. */
export async function synapse({ words, keep, report } = {}) {
  const { runBesideSynapse } = await import("../tests/synapse/run.mjs");
  const python = await installPython("synapse", SYNAPSE);
  return countedStep("Federation with Synapse", async (run) => {
    const program = await testedWarren(run);
    return runBesideSynapse({ program, python, words, keep, report: report ?? ((line) => run.write(`${line}\n`)) });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const args = process.argv.slice(2);
    await setUp();
    const words = args.filter((arg) => !arg.startsWith("--"));
    const { passed, failures } = await synapse({ words, keep: args.includes("--keep"), report: console.log });
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
