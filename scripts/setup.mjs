// Makes a machine with git, rustup and Node ready to build: idempotent, quiet, and says in one sentence what is missing.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { ROOT, TOOLS, WASM_TARGET } from "./places.mjs";
import { Explained, step } from "./step.mjs";
import { unlessDone } from "./stamp.mjs";

const NODE_MIN_MAJOR = 20;

/** Checks and installs what every task needs. Returns the wasm-bindgen tools to use. */
export async function setUp() {
  checkNode();
  checkRust();
  await addWasmTarget();
  await installPackages();
  return installWasmBindgen();
}

function checkNode() {
  if (Number(process.versions.node.split(".")[0]) < NODE_MIN_MAJOR) {
    throw new Explained(`Warren needs Node ${NODE_MIN_MAJOR} or later and this is ${process.version}: get it from https://nodejs.org.`);
  }
}

function checkRust() {
  const cargo = answerOf("cargo", "--version");
  const rustc = answerOf("rustc", "--version");
  if (!cargo || !rustc) {
    throw new Explained("Warren needs Rust and cargo is not here: install it with rustup (https://rustup.rs), then run this again.");
  }
  const wanted = /^rust-version = "(\d+)\.(\d+)"/m.exec(readFileSync(path.join(ROOT, "Cargo.toml"), "utf8"));
  const found = /^rustc (\d+)\.(\d+)/.exec(rustc);
  if (wanted && found && Number(found[1]) * 1e4 + Number(found[2]) < Number(wanted[1]) * 1e4 + Number(wanted[2])) {
    throw new Explained(`Warren needs Rust ${wanted[1]}.${wanted[2]} or later and this is ${found[1]}.${found[2]}: run \`rustup update stable\`.`);
  }
  if (process.platform !== "win32" && !answerOf("cc", "--version")) {
    throw new Explained("Rust needs a linker and `cc` is not here: install a C compiler (Debian: `apt install build-essential`; macOS: `xcode-select --install`).");
  }
}

async function addWasmTarget() {
  const libraries = answerOf("rustc", "--print", "target-libdir", "--target", WASM_TARGET);
  if (libraries && existsSync(libraries)) return;
  if (!answerOf("rustup", "--version")) {
    throw new Explained(`Rust lacks the target ${WASM_TARGET} and rustup is not here to add it: install Rust with rustup (https://rustup.rs).`);
  }
  await step("Rust target for wasm", (run) => run("rustup", ["target", "add", WASM_TARGET]));
}

/** `npm ci`, when the lock file changed since the last time. */
export async function installPackages() {
  const stamp = path.join(ROOT, "node_modules", ".package-lock.json");
  await unlessDone("npm-packages", ["package.json", "package-lock.json"], [stamp], () =>
    step("npm packages", (run) => run(...npm("ci", "--no-fund", "--no-audit", "--loglevel=error"), { cwd: ROOT })),
  );
}

/** The command line of npm: the one that runs us, if one does. */
export function npm(...args) {
  const cli = process.env.npm_execpath;
  if (cli?.endsWith(".js")) return [process.execPath, [cli, ...args]];
  return [process.platform === "win32" ? "npm.cmd" : "npm", args];
}

/**
 * wasm-bindgen's command line tools in exactly the version Cargo.lock resolves (another version refuses the module).
 * Returns `{ bindgen, version }`.
 */
async function installWasmBindgen() {
  const version = /name = "wasm-bindgen"\nversion = "([^"]+)"/.exec(readFileSync(path.join(ROOT, "Cargo.lock"), "utf8"))?.[1];
  if (!version) throw new Explained("Cargo.lock names no version of wasm-bindgen: run `cargo generate-lockfile`.");
  const home = path.join(TOOLS, `wasm-bindgen-${version}`);
  const candidates = [process.env.WARREN_WASM_BINDGEN, "wasm-bindgen", path.join(home, "bin", "wasm-bindgen")];
  const found = candidates.find((command) => command && answerOf(command, "--version") === `wasm-bindgen ${version}`);
  if (found) return { bindgen: found, version };
  await step(`wasm-bindgen ${version} (about 3 min)`, (run) =>
    run("cargo", ["install", "wasm-bindgen-cli", "--version", `=${version}`, "--locked", "--root", home]),
  );
  return { bindgen: candidates[2], version };
}

/** The first line a command prints, or undefined when it is not there or fails. */
export function answerOf(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return status === 0 ? stdout.split("\n")[0].trim() : undefined;
}
