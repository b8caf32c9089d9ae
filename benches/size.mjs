// How large the homeserver is that a browser fetches: the wasm after wasm-opt, as it is and as it goes over the wire.
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { SITE } from "../scripts/places.mjs";
import { figure } from "./summary.mjs";

const WASM_BROTLI_AIM_BYTES = 1.5e6;

/** Of the files that `warren serve` serves. */
export async function benchSize() {
  const name = readdirSync(SITE, { recursive: true }).find((name) => /warren_browser.*\.wasm$/.test(name));
  const module = path.join(SITE, name);
  const sizes = { wasm: statSync(module).size, brotli: statSync(`${module}.br`).size };
  const lines = [
    figure("wasm after wasm-opt", "bytes", [sizes.wasm]),
    figure("the same, brotli 11", "bytes", [sizes.brotli], { aim: { value: WASM_BROTLI_AIM_BYTES } }),
  ];
  return { lines, samples: sizes };
}
