// `npm run build`: everything that runs, from nothing: dist/ (the page) and target/native/warren (the program).
import { fileURLToPath } from "node:url";
import { ROOT } from "./places.mjs";
import { buildPage } from "./page.mjs";
import { setUp } from "./setup.mjs";
import { step, task } from "./step.mjs";
import { buildWasm } from "./wasm.mjs";

export async function build() {
  await buildWasm(await setUp());
  // Webpack keeps one core busy, cargo the others.
  await together([buildPage(), buildNative()]);
}

function buildNative() {
  return step("warren (native)", (run) =>
    run("cargo", ["build", "--profile", "native", "--locked", "-p", "warren-native", "--bin", "warren"], { cwd: ROOT }),
  );
}

/** Like Promise.all, but lets the others finish before it fails, so that nothing prints after the end. */
async function together(works) {
  const failed = (await Promise.allSettled(works)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await task(build);
