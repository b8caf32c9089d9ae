// `npm run sim`: the simulated network of homeservers. `SEEDS=5000 npm run sim` runs more (`FIRST=101`: from there on), `SEED=7`
// replays one and tells what happened in it, `KEEP_GOING=1` goes on after a failure, `LIARS=100` has a server lie in
// every run. `npm run sim -- fifty`: fifty servers that follow one link at once; `npm run sim -- halves`: how soon two halves of
// a room agree.
import { spawnSync } from "node:child_process";
import { ROOT } from "./places.mjs";
import { SIM_SEEDS } from "./rust-tests.mjs";

const { status } = spawnSync("cargo", ["test", "--locked", "--test", "sim", "--", "--nocapture", ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: "inherit",
  env: { SEEDS: String(SIM_SEEDS), ...process.env },
});
process.exitCode = status ?? 1;
