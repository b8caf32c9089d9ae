// Where things are: the folders and files that more than one task names.
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
export const TARGET = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
export const LOGS = path.join(TARGET, "logs");
export const STAMPS = path.join(TARGET, "stamps");
export const TOOLS = path.join(ROOT, ".tools");
export const SITE = path.join(ROOT, "dist");
/** wasm-bindgen's output after wasm-opt; webpack bundles it. */
export const WASM = path.join(TARGET, "warren-wasm");
/** Likewise for the peers that the benchmarks measure. */
export const MEASURED_WASM = path.join(TARGET, "measured-wasm");
export const WASM_TARGET = "wasm32-unknown-unknown";
export const EXE = process.platform === "win32" ? ".exe" : "";
export const WARREN = path.join(TARGET, "native", `warren${EXE}`);

// A shell opened before rustup was installed does not have its folder on the PATH.
process.env.PATH += path.delimiter + path.join(process.env.CARGO_HOME ?? path.join(os.homedir(), ".cargo"), "bin");
