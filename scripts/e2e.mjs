// `npm run e2e`: the browser stories on what is built now. `npm run e2e -- word --browser=firefox` runs some of them;
// `--keep` keeps logs and pictures of all, not only of those that failed.
import { rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installBrowsers } from "./browsers.mjs";
import { buildPage } from "./page.mjs";
import { SITE, TARGET } from "./places.mjs";
import { setUp } from "./setup.mjs";
import { Explained, step, task } from "./step.mjs";
import { testedWarren } from "./tested-warren.mjs";
import { buildWasm } from "./wasm.mjs";

/** Builds, and tells the stories whose names contain all `words`. */
export async function e2e({ words = [], browser, keep } = {}) {
  await buildWasm(await setUp());
  await buildPage();
  await installBrowsers();
  const evidence = path.join(TARGET, "e2e-evidence");
  rmSync(evidence, { recursive: true, force: true });
  // Imported late: it needs packages.
  const { runStories } = await import("../tests/e2e/run.mjs");
  const program = await step("warren for the stories", testedWarren);
  return runStories({ program, site: SITE, evidence, words, browser, keep });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    const args = process.argv.slice(2);
    const browser = args.find((arg) => arg.startsWith("--browser="))?.split("=")[1];
    const { passed, failures } = await e2e({ words: args.filter((arg) => !arg.startsWith("--")), browser, keep: args.includes("--keep") });
    console.log(`\n${passed} passed, ${failures.length} failed`);
    if (failures.length) throw new Explained(failures.map(({ name }) => name).join("\n"));
  });
}
