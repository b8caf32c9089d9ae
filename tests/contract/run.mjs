// Holds live `warren node`s against the specification: each operation of the Client-Server and of the Server-Server API is
// called once so that it works and once so that it is refused, and both answers must be as specified. Called by
// scripts/contract.mjs.
import { readFileSync } from "node:fs";
import { runClient } from "./client.mjs";
import { uncountedDuties } from "./duties.mjs";
import { runFederation } from "./federation.mjs";

const DUTIES = new URL("../../docs/musts.md", import.meta.url);

/**
 * Checks every operation whose id has one of `words`, or all.
 * @param {{ program: string, python: string, directory: string, words?: string[], report: (line: string) => void }} options
 *   `directory` is the specification's `data` folder; `python` has what certificates are made with
 * @returns {Promise<{ passed: number, failures: { name: string, message: string }[] }>}
 */
export async function runContract({ program, python, directory, words = [], report }) {
  const counts = [await runClient({ program, directory, words, report }), await runFederation({ program, python, directory, words, report })];
  if (!words.length) counts.push(countDuties(directory, report));
  return {
    passed: counts.reduce((sum, { passed }) => sum + passed, 0),
    failures: counts.flatMap(({ failures }) => failures),
  };
}

/** Whether docs/musts.md has a row for every duty that the specification states. */
function countDuties(directory, report) {
  const name = "every duty is counted in docs/musts.md";
  const uncounted = uncountedDuties(directory, readFileSync(DUTIES, "utf8"));
  report(`${uncounted.length ? "✗" : "✓"} ${name}`);
  const failures = uncounted.length ? [{ name: `contract: ${name}`, message: uncounted.join("\n") }] : [];
  return { passed: failures.length ? 0 : 1, failures };
}
