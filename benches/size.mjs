// How large the homeserver is that a browser fetches: the wasm after wasm-opt, as it is and as it goes over the wire.
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { WASM } from "../scripts/places.mjs";
import { figure } from "./summary.mjs";

const WASM_BROTLI_AIM_BYTES = 1.5e6;

export async function benchSize() {
  const module = readFileSync(path.join(WASM, "warren_browser_bg.wasm"));
  const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: 11, [zlib.constants.BROTLI_PARAM_SIZE_HINT]: module.length };
  const compressed = await promisify(zlib.brotliCompress)(module, { params });
  const sizes = { wasm: module.length, brotli: compressed.length };
  const lines = [
    figure("wasm after wasm-opt", "bytes", [sizes.wasm]),
    figure("the same, brotli 11", "bytes", [sizes.brotli], { aim: { value: WASM_BROTLI_AIM_BYTES } }),
  ];
  return { lines, samples: sizes };
}
