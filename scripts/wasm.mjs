// Builds the homeserver for the browser: cargo, wasm-bindgen, wasm-opt.
import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { MEASURED_WASM, ROOT, TARGET, WASM, WASM_TARGET } from "./places.mjs";
import { step } from "./step.mjs";
import { unlessDone } from "./stamp.mjs";

/** By name: with `--all-features` binaryen emits what neither browser takes. */
const WASM_FEATURES = ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue"];

/** `-Os` leaves a module 7 % smaller, which compresses 14 % worse and takes longer to make. What is called most gets
 * the smallest numbers. */
const WASM_OPT_PASSES = ["-O1", "--reorder-functions"];

/** Leaves wasm-bindgen's output, optimised, in `WASM`. */
export function buildWasm(tools) {
  return buildPackage("Homeserver for the browser (wasm)", "warren-browser", WASM, tools);
}

/** The peers of the wasm tests, built as what is shipped is, so that they can be measured. */
export function buildMeasuredWasm(tools) {
  return buildPackage("Peers to be measured (wasm)", "warren-wasm-tests", MEASURED_WASM, tools);
}

async function buildPackage(title, name, into, { bindgen, version }) {
  await step(title, (run) =>
    run("cargo", ["build", "--release", "--locked", "--target", WASM_TARGET, "-p", name, "--lib"], { cwd: ROOT }),
  );
  const library = name.replaceAll("-", "_");
  const built = path.join(TARGET, WASM_TARGET, "release", `${library}.wasm`);
  await unlessDone(path.basename(into), [built, "scripts/wasm.mjs", { value: version }], [path.join(into, `${library}.js`)], () =>
    step("wasm-bindgen and wasm-opt", async (run) => {
      const fresh = `${into}.new`;
      rmSync(fresh, { recursive: true, force: true });
      mkdirSync(fresh, { recursive: true });
      await run(bindgen, ["--target", "web", "--no-typescript", "--out-dir", fresh, built]);
      const module = path.join(fresh, `${library}_bg.wasm`);
      const wasmOpt = path.join(ROOT, "node_modules", "binaryen", "bin", "wasm-opt");
      const features = WASM_FEATURES.map((feature) => `--enable-${feature}`);
      await run(process.execPath, [wasmOpt, module, ...WASM_OPT_PASSES, "--mvp-features", ...features, "-o", module]);
      rmSync(into, { recursive: true, force: true });
      renameSync(fresh, into);
      return `${(statSync(path.join(into, `${library}_bg.wasm`)).size / 1e6).toFixed(2)} MB`;
    }),
  );
}
