// Skips a step whose inputs have not changed since it last succeeded.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ROOT, STAMPS } from "./places.mjs";

/** One digest of all `inputs`: files and folders (relative to the project), and plain values as `{ value }`. */
export function digest(inputs) {
  const hash = createHash("sha256");
  for (const input of inputs) {
    if (typeof input === "object") hash.update(`value ${JSON.stringify(input.value)}\n`);
    else for (const file of filesUnder(path.resolve(ROOT, input))) {
      hash.update(`file ${path.relative(ROOT, file)}\n`).update(createHash("sha256").update(readFileSync(file)).digest());
    }
  }
  return hash.digest("hex");
}

function filesUnder(place) {
  if (!existsSync(place)) return [];
  if (!statSync(place).isDirectory()) return [place];
  return readdirSync(place).sort().flatMap((name) => filesUnder(path.join(place, name)));
}

/**
 * Runs `work(digest)` unless `name` succeeded before with the same digest and all of `outputs` are still there.
 * Returns what `work` returned then or now (it must be plain JSON), and whether it ran.
 */
export async function unlessDone(name, inputs, outputs, work) {
  const file = path.join(STAMPS, `${name}.json`);
  const wanted = digest(inputs);
  if (existsSync(file) && outputs.every((output) => existsSync(output))) {
    const stamp = JSON.parse(readFileSync(file, "utf8"));
    if (stamp.digest === wanted) return { ran: false, result: stamp.result };
  }
  rmSync(file, { force: true });
  const result = await work(wanted);
  mkdirSync(STAMPS, { recursive: true });
  writeFileSync(file, JSON.stringify({ digest: wanted, result: result ?? null }));
  return { ran: true, result };
}
