// Tests of the homeserver's wasm in a real browser: builds them, serves them, runs each in a worker of its own.
//
// `node tests/wasm/run.mjs [word ...]` runs those whose names contain all words, in Chromium; `--browser=firefox` in
// Firefox. Needs wasm-bindgen in the version of Cargo.lock (WARREN_WASM_BINDGEN), a browser (WARREN_CHROMIUM,
// WARREN_FIREFOX) and, for what two homeservers do, the program (WARREN_PROGRAM, or as the tests build it).
/* global window */
import { spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, TARGET } from "../../scripts/places.mjs";
import { TESTED_WARREN } from "../../scripts/tested-warren.mjs";
import { Relay } from "../e2e/relay.mjs";
import { hostTests } from "./hosts.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** Where wasm-bindgen leaves the module. */
export const PACKAGE = path.join(TARGET, "wasm-tests");

/** A test that takes longer has failed. */
const TEST_MS = 60_000;

/** How often a worker is ended in the middle of its commits. */
const INTERRUPTIONS = 15;

const FULL_DISK = "storage::a_full_disk_refuses_the_whole_batch";
const IN_WINDOW = "webrtc_window::";
const PANIC_ON_PURPOSE = "panics::a_panic_is_told_before_the_trap";

/** The commands that build the tests' wasm; `bindgen` is wasm-bindgen. Run in the root of the project. */
export function wasmTestsBuild(bindgen = process.env.WARREN_WASM_BINDGEN ?? "wasm-bindgen") {
  const built = path.join(TARGET, "wasm32-unknown-unknown", "wasm-tests", "warren_wasm_tests.wasm");
  return [
    // Without debug information the module is ten times smaller and wasm-bindgen as much faster.
    ["cargo", ["build", "--locked", "--target", "wasm32-unknown-unknown", "--profile", "wasm-tests", "-p", "warren-wasm-tests"]],
    [bindgen, ["--target", "web", "--no-typescript", "--out-dir", PACKAGE, built]],
  ];
}

function build() {
  for (const [command, args] of wasmTestsBuild()) {
    const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
    if (status !== 0) throw new Error(`${command} failed${error ? `: ${error.message}` : ""}`);
  }
}

/**
 * Runs the tests whose names contain all `words`; resolves with `{ passed, failures: [{ name, message }] }`.
 * @param {{ browser: "chromium" | "firefox", executablePath: string, program?: string, words?: string[], report?: (line: string) => void }} options
 */
export async function runWasmTests({ browser, executablePath, program, words = [], report = console.log }) {
  const { default: puppeteer } = await import("puppeteer-core");
  const server = await serve();
  const { port } = server.address();
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-wasm-tests-"));
  const launched = await puppeteer.launch({
    browser: browser === "firefox" ? "firefox" : "chrome",
    executablePath,
    headless: true,
    userDataDir: path.join(directory, "profile"),
    args: browser === "firefox" ? [] : ["--no-sandbox"],
  });
  const open = async (origin) => {
    const page = await launched.newPage();
    page.on("console", (message) => process.env.WARREN_TEST_LOG && report(`    ${message.text()}`));
    await page.exposeFunction("driver", driver(page, origin, browser));
    await page.goto(`${origin}/`);
    return page;
  };
  try {
    const page = await open(`http://localhost:${port}`);
    // What has been opened before a quota is set does not notice it soon, so that has an origin of its own.
    const apart = await open(`http://127.0.0.1:${port}`);
    const names = await page.evaluate(() => window.listTests());
    const tests = names.map((name) => ({ name, run: () => runOne(name === FULL_DISK ? apart : page, name) }));
    tests.push({ name: "storage::a_worker_that_dies_leaves_whole_batches", run: () => interruptCommits(page) });
    tests.push(...hostTests({ page, relay: program && relayOf(program, directory) }));
    return await runAll(tests.filter(({ name }) => words.every((word) => name.includes(word))), report);
  } finally {
    await launched.close();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runAll(tests, report) {
  const failures = [];
  for (const { name, run } of tests) {
    const started = performance.now();
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not done after ${TEST_MS} ms`)), TEST_MS)));
    try {
      await Promise.race([run(), late]);
      report(`ok   ${name} (${Math.round(performance.now() - started)} ms)`);
    } catch (error) {
      failures.push({ name, message: error.stack ?? String(error) });
      report(`FAIL ${name}: ${error.message}`);
    } finally {
      clearTimeout(timer);
    }
  }
  return { passed: tests.length - failures.length, failures };
}

async function runOne(page, name) {
  const where = name.startsWith(IN_WINDOW) ? "runInWindow" : "runTest";
  const ended = await page.evaluate((how, test) => window[how](test), where, name);
  if (name === PANIC_ON_PURPOSE) {
    if (ended.type !== "panicked" || !ended.message.includes("on purpose: told before the trap")) throw new Error(`ended with ${JSON.stringify(ended)}`);
  } else if (ended.type !== "done") throw new Error(ended.message);
}

/** Ends a worker at random moments of its commits: what is on disk is always one whole batch, and never an older one. */
async function interruptCommits(page) {
  for (let round = 0; round < INTERRUPTIONS; round += 1) {
    const told = await page.evaluate(
      (reports, afterMs) => window.interrupt("storage::write_generations_for_ever", reports, afterMs),
      1 + (round % 4),
      Math.random() * 12,
    );
    const found = await page.evaluate(() => window.lastProgress("storage::the_last_generation_is_whole"));
    if (found < told) throw new Error(`generation ${told} was acknowledged and ${found} is stored`);
  }
}

/** What tests may ask for that a page cannot do. Resolves with undefined where this browser cannot either. */
function driver(page, origin, browser) {
  return async (what, argument) => {
    if (what !== "quota") throw new Error(`the driver cannot ${what}`);
    if (browser !== "chromium") return undefined;
    const session = await page.createCDPSession();
    await session.send("Storage.overrideQuotaForOrigin", { origin, ...(argument ? { quotaSize: argument } : {}) });
    // The override ends with the session, so the one that sets it is kept.
    if (!argument) await session.detach();
    return true;
  };
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** The page, its worker and the wasm on a port of their own. */
async function serve() {
  const { default: esbuild } = await import("esbuild");
  const { code: broker } = await esbuild.transform(readFileSync(path.join(ROOT, "www/host/rtc-broker.ts")), { loader: "ts" });
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const script = { "/": "page.js", "/window.html": "window.js" }[pathname];
    if (script) return response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><body><script src="${script}"></script>`);
    if (pathname === "/rtc-broker.js") return response.writeHead(200, { "content-type": "text/javascript" }).end(broker);
    const file = pathname.startsWith("/pkg/") ? path.join(PACKAGE, path.basename(pathname)) : path.join(HERE, path.basename(pathname));
    if (!existsSync(file)) response.writeHead(404).end();
    else createReadStream(file).pipe(response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "text/plain" }));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** The real relay, with a page because it does not start without one. */
function relayOf(program, directory) {
  const site = path.join(directory, "site");
  mkdirSync(site);
  writeFileSync(path.join(site, "index.html"), "<!doctype html>");
  const relay = new Relay({ program, site, dataDir: path.join(directory, "relay") });
  return {
    /** Resolves with the multiaddrs it offers; the second time at the same place. */
    start: async () => {
      await relay.start();
      return (await (await fetch(new URL("/config.json", relay.url))).json()).relays;
    },
    stop: () => relay.stop(),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const browser = args.includes("--browser=firefox") ? "firefox" : "chromium";
  const usual = browser === "firefox" ? "firefox-esr" : "chromium";
  const named = process.env[browser === "firefox" ? "WARREN_FIREFOX" : "WARREN_CHROMIUM"];
  const executablePath = named ?? spawnSync("sh", ["-c", `command -v ${usual}`], { encoding: "utf8" }).stdout.trim();
  const program = process.env.WARREN_PROGRAM ?? (existsSync(TESTED_WARREN) ? TESTED_WARREN : undefined);
  if (!args.includes("--no-build")) build();
  const words = args.filter((arg) => !arg.startsWith("--"));
  const { passed, failures } = await runWasmTests({ browser, executablePath, program, words });
  for (const { name, message } of failures) console.error(`\n${name}\n${message}`);
  console.log(`\n${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length ? 1 : 0;
}
