// The `warren` that tests of whole programs use: the one that Rust's own tests have built.
import path from "node:path";
import { EXE, ROOT, TARGET } from "./places.mjs";

export const TESTED_WARREN = path.join(TARGET, "debug", `warren${EXE}`);

/** As Rust's tests build it, features included, so that after them nothing is left to do. */
const BUILD = ["cargo", ["test", "--locked", "--workspace", "--test", "it", "--no-run"], { cwd: ROOT }];

/** Builds it with `run`, as a step gives it; resolves with its path. */
export async function testedWarren(run) {
  await run(...BUILD);
  return TESTED_WARREN;
}
