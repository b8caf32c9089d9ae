// A `warren node` and a Synapse go through every scenario, in every room version, with the room on either side.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { SCENARIOS } from "./scenarios.mjs";
import { makeCertificates, synapseSide, warrenSide } from "./sides.mjs";

const VERSIONS = ["10", "11", "12"];

/**
 * Runs the scenarios whose names, as they are told, contain all of `words`; resolves with `{ passed, failures }`.
 * @param {(line: string) => void} report
 */
export async function runBesideSynapse({ program, python, words = [], report, keep = false }) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-synapse-"));
  const sides = [];
  try {
    makeCertificates(python, directory);
    sides.push(await warrenSide(program, directory, directory));
    sides.push(await synapseSide(python, directory, directory));
    return await runScenarios(sides, { whole: true, words, report });
  } finally {
    await Promise.all(sides.map((side) => side.end()));
    if (keep) report(`kept: ${directory}`);
    else rmSync(directory, { recursive: true, force: true });
  }
}

/** Any two sides; each is host in its turn. Every scenario in every room version, or unless `whole` in one of them. */
export async function runScenarios([first, second], { whole, words, report }) {
  const counted = { passed: 0, failures: [] };
  let number = 0;
  for (const [turn, [host, guest]] of [[first, second], [second, first]].entries()) {
    for (const [index, version] of VERSIONS.entries()) {
      for (const [place, [what, run]] of Object.entries(SCENARIOS).entries()) {
        if (!whole && (turn + place) % VERSIONS.length !== index) continue;
        const name = `${what} (room version ${version} of ${host.name}, with ${guest.name})`;
        if (!words.every((word) => name.includes(word))) continue;
        await tried(counted, name, report, async () => {
          number++;
          const [ada, bob] = [await host.register(`ada${number}`), await guest.register(`bob${number}`)];
          await run({ host, guest, ada, bob, version });
        });
      }
    }
  }
  return counted;
}

/** Counts and reports how `run` ends. */
export async function tried(counted, name, report, run) {
  const started = performance.now();
  try {
    await run();
    counted.passed++;
    report(`  ${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  } catch (error) {
    counted.failures.push({ name, message: error.stack ?? String(error) });
    report(`! ${name}\n${error.stack ?? error}`);
  }
}
