// `npm run contract -- --spec DIR`: holds a live `warren node` against the Matrix specification. DIR is the `data` folder
// of a checkout of the specification; further words choose the operations whose ids have them.
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installPython } from "./python.mjs";
import { setUp } from "./setup.mjs";
import { countedStep, Explained, task } from "./step.mjs";
import { SYNAPSE } from "./synapse.mjs";
import { testedWarren } from "./tested-warren.mjs";

/** What the answers are held against: the specification's `data` folder, as `--spec DIR` names it. */
export function specificationOf(args) {
  const at = args.indexOf("--spec");
  if (at < 0) return undefined;
  const directory = args[at + 1];
  if (!directory || !existsSync(path.join(directory, "api", "client-server"))) {
    throw new Explained(`--spec names the "data" folder of a checkout of the Matrix specification, and ${directory ?? "nothing"} is not that.`);
  }
  return directory;
}

/** Builds `warren` and calls every operation of both APIs; resolves with `{ passed, failures }`. */
export async function contract(directory, { words, report } = {}) {
  // Imported late: they need packages.
  const { runContract } = await import("../tests/contract/run.mjs");
  // It has what certificates are made with, and the tests beside Synapse need it anyway.
  const python = await installPython("synapse", SYNAPSE);
  return countedStep("Contract of the Matrix specification", async (run) => {
    const program = await testedWarren(run);
    const say = report ?? ((line) => run.write(`${line}\n`));
    return runContract({ program, python, directory, words, report: say });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const args = process.argv.slice(2);
    const directory = specificationOf(args);
    if (!directory) throw new Explained("Which specification? npm run contract -- --spec DIR");
    await setUp();
    const words = args.filter((arg) => arg !== "--spec" && arg !== directory);
    const { passed, failures } = await contract(directory, { words, report: console.log });
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
