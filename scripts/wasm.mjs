// Builds the homeserver for the browser: cargo, wasm-bindgen, wasm-opt.
import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { ROOT, TARGET, WASM, WASM_TARGET } from "./places.mjs";
import { step } from "./step.mjs";
import { unlessDone } from "./stamp.mjs";

/** By name: with `--all-features` binaryen emits what neither browser takes. */
const WASM_FEATURES = ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue"];

/** `-Oz` leaves a module 6 % smaller, which compresses 10 % worse and takes four times as long to make. */
const WASM_OPT_LEVEL = "-O1";

/** Leaves wasm-bindgen's output, optimised, in `WASM`. */
export async function buildWasm({ bindgen, version }) {
  await step("Homeserver for the browser (wasm)", (run) =>
    run("cargo", ["build", "--release", "--locked", "--target", WASM_TARGET, "-p", "warren-browser", "--lib"], { cwd: ROOT }),
  );
  const built = path.join(TARGET, WASM_TARGET, "release", "warren_browser.wasm");
  await unlessDone("wasm", [built, "scripts/wasm.mjs", { value: version }], [path.join(WASM, "warren_browser.js")], () =>
    step("wasm-bindgen and wasm-opt", async (run) => {
      const fresh = `${WASM}.new`;
      rmSync(fresh, { recursive: true, force: true });
      mkdirSync(fresh, { recursive: true });
      await run(bindgen, ["--target", "web", "--no-typescript", "--out-dir", fresh, built]);
      const module = path.join(fresh, "warren_browser_bg.wasm");
      const wasmOpt = path.join(ROOT, "node_modules", "binaryen", "bin", "wasm-opt");
      const features = WASM_FEATURES.map((feature) => `--enable-${feature}`);
      await run(process.execPath, [wasmOpt, module, WASM_OPT_LEVEL, "--mvp-features", ...features, "-o", module]);
      rmSync(WASM, { recursive: true, force: true });
      renameSync(fresh, WASM);
      return `${(statSync(path.join(WASM, "warren_browser_bg.wasm")).size / 1e6).toFixed(2)} MB`;
    }),
  );
}
