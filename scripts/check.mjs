// `npm run check`: format, lints and types of both languages, and whether the browser's half compiles.
import { fileURLToPath } from "node:url";
import path from "node:path";
import { ROOT, WASM_TARGET } from "./places.mjs";
import { setUp } from "./setup.mjs";
import { step, task, Explained } from "./step.mjs";

const node = (tool, ...args) => [process.execPath, [path.join("node_modules", tool), ...args]];

const CHECKS = [
  ["rustfmt", "cargo", ["fmt", "--all", "--check"]],
  ["clippy", "cargo", ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]],
  ["wasm check", "cargo", ["clippy", "-p", "warren-browser", "-p", "libp2p-webrtc-p2p", "--locked", "--target", WASM_TARGET, "--", "-D", "warnings"]],
  ["types of the page", ...node("typescript/bin/tsc", "-p", ".")],
  ["types of the service worker", ...node("typescript/bin/tsc", "-p", "www/service-worker")],
  ["eslint", ...node("eslint/bin/eslint.js", ".", "--max-warnings=0")],
];

/** Runs every check, also after one failed. Returns `{ passed, failures }`. */
export async function check() {
  const failures = [];
  for (const [title, command, args] of CHECKS) {
    try {
      await step(title, (run) => run(command, args, { cwd: ROOT }));
    } catch (error) {
      failures.push({ name: title, message: error.message });
      console.error(error.message);
    }
  }
  return { passed: CHECKS.length - failures.length, failures };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await task(async () => {
    await setUp();
    const { failures } = await check();
    if (failures.length) throw new Explained(`Not clean: ${failures.map(({ name }) => name).join(", ")}`);
  });
}
