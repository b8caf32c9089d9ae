// Runs Rust's tests and counts them.
import { findBrowser } from "./browsers.mjs";
import { ROOT } from "./places.mjs";
import { countedStep, step } from "./step.mjs";
import { testedWarren } from "./tested-warren.mjs";

/** How many runs of the simulated network make a test. */
export const SIM_SEEDS = 100;

/** Unit, property, API and simulation tests of the whole workspace. */
export function nativeTests() {
  return cargoTests("Rust tests", ["--workspace"], { SEEDS: process.env.SEEDS ?? String(SIM_SEEDS) });
}

/** What only a browser can show: the tests of the browser's shell, in Chromium. */
export async function wasmTests({ bindgen }) {
  // Imported late: it needs packages.
  const { runWasmTests, wasmTestsBuild } = await import("../tests/wasm/run.mjs");
  return countedStep("wasm tests in Chromium", async (run) => {
    for (const [command, args] of wasmTestsBuild(bindgen)) await run(command, args, { cwd: ROOT });
    const options = { browser: "chromium", executablePath: findBrowser("chromium"), program: await testedWarren(run) };
    return runWasmTests({ ...options, report: (line) => run.write(`${line}\n`) });
  });
}

async function cargoTests(title, args, env) {
  let counted = { passed: 0, failures: [] };
  try {
    await step(title, async (run) => {
      const tested = await run("cargo", ["test", "--locked", "--no-fail-fast", ...args], { cwd: ROOT, env, mayFail: true });
      counted = countTests(tested.output);
      if (tested.code !== 0) throw new Error(`${failedParts(tested.output)}\ncargo test ended with code ${tested.code}`);
      return `${counted.passed} passed`;
    });
  } catch (error) {
    if (!counted.failures.length) counted.failures.push({ name: title });
    console.error(error.message);
  }
  return counted;
}

/** What `cargo test` (or wasm-bindgen's runner) said: `{ passed, failures }`. */
export function countTests(output) {
  const passed = [...output.matchAll(/^test result: \w+\. (\d+) passed/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  const names = [...output.matchAll(/^test (\S.*?) \.\.\. (?:FAILED|FAIL)\b/gm)].map(([, name]) => name);
  return { passed, failures: names.map((name) => ({ name })) };
}

/** The part of the output that says why: what the failed tests printed, or what the compiler complained of. */
export function failedParts(output) {
  const parts = [...output.matchAll(/^failures:\n\n([\s\S]*?)\n\nfailures:$/gm)].map(([, part]) => part);
  return parts.length ? parts.join("\n") : output.trimEnd().split("\n").slice(-60).join("\n");
}
