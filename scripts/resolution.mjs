// `npm run resolution`: our state resolution beside Synapse's own, on generated rooms. `-- --dags 5000 --seed 7` makes more
// of them, and others. Synapse comes from PyPI and is only run beside.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ROOT } from "./places.mjs";
import { installPython } from "./python.mjs";
import { setUp } from "./setup.mjs";
import { Explained, step, task } from "./step.mjs";

const RESOLVER = path.join(ROOT, "tests", "resolution", "synapse_resolver.py");
const SYNAPSE = path.join(ROOT, "benches", "node", "requirements.txt");
const WRITER = "domain::room::resolve::tests::told::rooms_are_told";
/** What `npm test` compares: some twenty seconds. */
const DAGS = 240;
const SEED = 1;
const TITLE = "State resolution as Synapse does it";

/** Compares; resolves with `{ passed, failures }`. */
export async function resolution({ dags = DAGS, seed = SEED } = {}) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-resolution-"));
  const told = path.join(directory, "rooms.jsonl");
  try {
    const python = await installPython("synapse", SYNAPSE);
    await step(TITLE, async (run) => {
      const env = { SEED: String(seed), DAGS: String(dags), TOLD: told };
      await run("cargo", ["test", "--locked", "--workspace", "--lib", "--", "--ignored", "--exact", WRITER], { cwd: ROOT, env });
      const { output } = await run(python, [RESOLVER, told], { cwd: ROOT });
      return output.trim().split("\n").at(-1);
    });
    return { passed: 1, failures: [] };
  } catch (error) {
    console.error(error.message);
    console.error(`Again: npm run resolution -- --dags ${dags} --seed ${seed}`);
    return { passed: 0, failures: [{ name: TITLE }] };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const { values } = parseArgs({ options: { dags: { type: "string" }, seed: { type: "string" } } });
    await setUp();
    const { failures } = await resolution(values);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
