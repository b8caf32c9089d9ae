// Runs the page's unit tests (vitest) and counts them.
import { readFileSync } from "node:fs";
import path from "node:path";
import { LOGS, ROOT } from "./places.mjs";
import { step } from "./step.mjs";

export async function pageTests() {
  const report = path.join(LOGS, "vitest.json");
  const vitest = path.join("node_modules", "vitest", "vitest.mjs");
  const counted = { passed: 0, failures: [] };
  try {
    await step("Page tests", async (run) => {
      const args = [vitest, "run", "--reporter=dot", "--reporter=json", `--outputFile.json=${report}`];
      const { code } = await run(process.execPath, args, { cwd: ROOT, mayFail: true });
      const { numPassedTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
      counted.passed = numPassedTests;
      counted.failures = testResults.flatMap(failuresOf);
      if (code !== 0) throw new Error(counted.failures.map(({ name, message }) => `${name}\n${message}`).join("\n\n"));
      return `${counted.passed} passed`;
    });
  } catch (error) {
    if (!counted.failures.length) counted.failures.push({ name: "Page tests" });
    console.error(error.message);
  }
  return counted;
}

/** Of one file: its failed tests, or the file itself when it could not even be loaded. */
function failuresOf({ name, status, message, assertionResults }) {
  const failed = assertionResults.filter((result) => result.status === "failed");
  if (status === "failed" && !failed.length) return [{ name: path.relative(ROOT, name), message }];
  return failed.map((result) => ({ name: `${path.relative(ROOT, name)}: ${result.fullName}`, message: result.failureMessages.join("\n") }));
}
