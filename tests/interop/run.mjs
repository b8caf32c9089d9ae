// Ours and unmodified js-libp2p, each in a page: both dial and are dialed, talk, and none ever hangs.
//
// `node tests/interop/run.mjs [--browser=firefox] [--no-build]`. Needs what tests/wasm/run.mjs needs, and the network once
// for js-libp2p's packages, which nothing else installs.
/* global window */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";
import puppeteer from "puppeteer-core";
import { findBrowser } from "../../scripts/browsers.mjs";
import { build, builtProgram, relayOf, serve } from "../wasm/run.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));

/** Dials each way, of which the first is followed by a conversation. */
const DIALS = 100;
const DIAL_MAX_MS = 15_000;

/** js-libp2p's own page, with its packages in one script. */
async function jsPeer() {
  if (!existsSync(path.join(HERE, "node_modules"))) {
    const { status } = spawnSync("npm", ["ci", "--ignore-scripts", "--prefer-offline"], { cwd: HERE, stdio: ["ignore", "inherit", "inherit"] });
    if (status !== 0) throw new Error("js-libp2p's packages could not be installed");
  }
  const { outputFiles } = await esbuild.build({
    entryPoints: [path.join(HERE, "js-peer.js")],
    bundle: true,
    write: false,
    format: "iife",
    platform: "browser",
    target: "es2022",
  });
  return outputFiles[0].text;
}

async function open(browser, url, script) {
  const page = await browser.newPage();
  if (process.env.WARREN_TEST_LOG) page.on("console", (message) => console.log(`    ${message.text()}`));
  await page.goto(url);
  await page.addScriptTag({ content: script });
  return page;
}

const OURS = `
  window.warrenPanicked = (message) => (window.panic = message);
  window.ready = import("/pkg/warren_wasm_tests.js").then(async (wasm) => { await wasm.default(); window.wasm = wasm; });
`;

/** Calls methods of what `expression` is in the page; a panic there fails them. */
function remote(page, expression) {
  const call = (name) => (...args) =>
    within(page.evaluate(
      async (where, method, given) => {
        const panicked = new Promise((_, reject) => setInterval(() => window.panic && reject(new Error(window.panic)), 20));
        const target = where === "js" ? window.js : window.ours;
        return Promise.race([panicked, target[method](...given)]);
      },
      expression,
      name,
      args,
    ), `${expression}.${name}`);
  return new Proxy({}, { get: (_, name) => call(name) });
}

function within(work, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what}: not done after ${DIAL_MAX_MS} ms`)), DIAL_MAX_MS)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function interop(browser, relay) {
  const server = await serve();
  const url = `http://localhost:${server.address().port}/window.html`;
  try {
    const [address] = await relay.start();
    const oursPage = await open(browser, url, OURS);
    await oursPage.evaluate(async (at) => {
      await window.ready;
      window.ours = await window.wasm.InteropPeer.start(at);
    }, address);
    const jsPage = await open(browser, url, await jsPeer());
    const ours = remote(oursPage, "ours");
    const js = remote(jsPage, "js");
    const them = await js.start(address);
    const us = { id: await ours.id(), address: await ours.address() };
    for (const [who, dial] of [
      ["ours dials js-libp2p", () => ours.dial(them.address)],
      ["js-libp2p dials ours", () => js.dial(us.address).then(() => ours.only_direct())],
    ]) {
      const times = [];
      for (let round = 0; round < DIALS; round += 1) {
        const started = performance.now();
        await dial();
        times.push(performance.now() - started);
        await js.onlyDirect();
        if (round === 0) await talk(ours, js, us, them);
        await ours.part();
        await js.part();
      }
      times.sort((a, b) => a - b);
      const at = (part) => Math.round(times[Math.floor((times.length - 1) * part)]);
      console.log(`ok   ${who}: ${DIALS} of ${DIALS}, median ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms; spoken to, with the circuit closed`);
    }
  } finally {
    server.close();
  }
}

/** Everything both sides know, over the direct connection alone. */
async function talk(ours, js, us, them) {
  const agents = [await ours.agent(them.id), await js.agent()];
  if (!agents[0].startsWith("js-libp2p/") || !agents[1]) throw new Error(`identify: ${agents}`);
  await js.ping();
  await ours.echo(them.id);
  await js.echo(us.id);
  // Both at once, on streams of one connection.
  await Promise.all([ours.echo(them.id), js.echo(us.id), js.ping()]);
  console.log(`ok   identify, ping and a megabyte of echo each way (${agents[0]})`);
}

const args = process.argv.slice(2);
const kind = args.includes("--browser=firefox") ? "firefox" : "chromium";
const program = process.env.WARREN_PROGRAM ?? builtProgram();
if (!program) throw new Error("the relay is not built: npm run build");
if (!args.includes("--no-build")) build();
const directory = mkdtempSync(path.join(os.tmpdir(), "warren-interop-"));
const relay = relayOf(program, directory);
const browser = await puppeteer.launch({
  browser: kind === "firefox" ? "firefox" : "chrome",
  executablePath: findBrowser(kind),
  headless: true,
  userDataDir: path.join(directory, "profile"),
  args: kind === "firefox" ? [] : ["--no-sandbox"],
});
try {
  await interop(browser, relay);
} finally {
  await browser.close();
  await relay.stop();
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}
