// Tests of the homeserver's wasm in a real browser: builds them, serves them, runs each in a worker of its own.
//
// `node tests/wasm/run.mjs [word ...]` runs those whose names contain all words, in Chromium; `--browser=firefox` in
// Firefox. Needs wasm-bindgen in the version of Cargo.lock (WARREN_WASM_BINDGEN), a browser (WARREN_CHROMIUM,
// WARREN_FIREFOX) and, for what two homeservers do, the built program (WARREN_PROGRAM).
import { spawn, spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { hostTests } from "./hosts.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, "../..");
const TARGET = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
const PACKAGE = path.join(TARGET, "wasm-tests");

/** A test that takes longer has failed. */
const TEST_MS = 60_000;

/** How often a worker is ended in the middle of its commits. */
const INTERRUPTIONS = 25;

const PANIC_ON_PURPOSE = "panics::a_panic_is_told_before_the_trap";

/** Builds the tests' wasm with `bindgen`, the wasm-bindgen command. */
export function buildWasmTests(bindgen = process.env.WARREN_WASM_BINDGEN ?? "wasm-bindgen") {
  const target = ["--target", "wasm32-unknown-unknown"];
  // Without debug information the module is ten times smaller and wasm-bindgen as much faster.
  must("cargo", ["build", "--locked", "--quiet", ...target, "--profile", "wasm-tests", "-p", "warren-wasm-tests"]);
  const built = path.join(TARGET, "wasm32-unknown-unknown", "wasm-tests", "warren_wasm_tests.wasm");
  must(bindgen, ["--target", "web", "--no-typescript", "--out-dir", PACKAGE, built]);
}

function must(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error(`${command} ${args[0]} failed${error ? `: ${error.message}` : ""}`);
}

/**
 * Runs the tests whose names contain all `words`; resolves with `{ passed, failures: [{ name, message }] }`.
 * @param {{ browser: "chromium" | "firefox", executablePath: string, program?: string, words?: string[], report?: (line: string) => void }} options
 */
export async function runWasmTests({ browser, executablePath, program, words = [], report = console.log }) {
  const { default: puppeteer } = await import("puppeteer-core");
  const server = await serve();
  const origin = `http://localhost:${server.address().port}`;
  const profile = mkdtempSync(path.join(os.tmpdir(), "warren-wasm-tests-"));
  const launched = await puppeteer.launch({
    browser: browser === "firefox" ? "firefox" : "chrome",
    executablePath,
    headless: true,
    userDataDir: profile,
    args: browser === "firefox" ? [] : ["--no-sandbox"],
  });
  try {
    const page = await launched.newPage();
    page.on("console", (message) => process.env.WARREN_TEST_LOG && report(`    ${message.text()}`));
    await page.exposeFunction("driver", driver(page, origin, browser));
    await page.goto(`${origin}/`);
    const names = await page.evaluate(() => window.listTests());
    const tests = names.map((name) => ({ name, run: () => runOne(page, name) }));
    tests.push({ name: "storage::a_worker_that_dies_leaves_whole_batches", run: () => interruptCommits(page) });
    tests.push(...hostTests({ page, relay: program && relayOf(program) }));
    return await runAll(tests.filter(({ name }) => words.every((word) => name.includes(word))), report);
  } finally {
    await launched.close();
    server.close();
    rmSync(profile, { recursive: true, force: true });
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
  const ended = await page.evaluate((test) => window.runTest(test), name);
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
function serve() {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/") {
      response.writeHead(200, { "content-type": "text/html" }).end('<!doctype html><script src="page.js"></script>');
      return;
    }
    const file = pathname.startsWith("/pkg/") ? path.join(PACKAGE, path.basename(pathname)) : path.join(HERE, path.basename(pathname));
    if (!existsSync(file)) response.writeHead(404).end();
    else createReadStream(file).pipe(response.writeHead(200, { "content-type": TYPES[path.extname(file)] ?? "text/plain" }));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** A relay that can be stopped and started again at the same place with the same identity. */
function relayOf(program) {
  const data = mkdtempSync(path.join(os.tmpdir(), "warren-relay-"));
  // It serves a page as well, and does not start without one.
  const site = path.join(data, "site");
  mkdirSync(site);
  writeFileSync(path.join(site, "index.html"), "<!doctype html>");
  let port = 0;
  let child;
  return {
    /** Resolves with the multiaddrs it offers. */
    async start() {
      child = spawn(program, ["serve", "--listen", `127.0.0.1:${port}`, "--data-dir", data, "--site", site], { stdio: ["ignore", "pipe", "pipe"] });
      const url = await new Promise((resolve, reject) => {
        let printed = "";
        const read = (chunk) => {
          printed += chunk;
          const found = /http:\/\/[^\s"]*:(\d+)/.exec(printed);
          if (found) resolve(found);
        };
        child.stdout.on("data", read);
        child.stderr.on("data", read);
        child.on("exit", (code) => reject(new Error(`warren serve ended with ${code}: ${printed}`)));
      });
      port = Number(url[1]);
      const config = await (await fetch(`http://127.0.0.1:${port}/config.json`)).json();
      return config.relays;
    },
    async stop() {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.on("exit", resolve));
      child.kill();
      await ended;
    },
    remove: () => rmSync(data, { recursive: true, force: true }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const browser = args.includes("--browser=firefox") ? "firefox" : "chromium";
  const usual = browser === "firefox" ? "firefox-esr" : "chromium";
  const named = process.env[browser === "firefox" ? "WARREN_FIREFOX" : "WARREN_CHROMIUM"];
  const executablePath = named ?? spawnSync("sh", ["-c", `command -v ${usual}`], { encoding: "utf8" }).stdout.trim();
  const program = process.env.WARREN_PROGRAM ?? path.join(TARGET, "native", "warren");
  if (!args.includes("--no-build")) buildWasmTests();
  const words = args.filter((arg) => !arg.startsWith("--"));
  const { passed, failures } = await runWasmTests({ browser, executablePath, program: existsSync(program) ? program : undefined, words });
  for (const { name, message } of failures) console.error(`\n${name}\n${message}`);
  console.log(`\n${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length ? 1 : 0;
}
