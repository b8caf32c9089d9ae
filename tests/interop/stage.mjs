// What the interop tests and the benchmarks of direct connections run on: pages with a peer each, in Chromium and Firefox, a
// Node process, and the real relay.
/* global window */
import { fork } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startBrowser } from "../e2e/browsers.mjs";
import { Relay } from "../e2e/relay.mjs";
import { Switchboard } from "./switchboard.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** Of a browser. In the benchmarks both have peers of the same kind. */
const ROLES = ["ours", "theirs"];
/** Whatever is done once is done by then. */
export const CASE_MAX_MS = 60_000;

/** Everything that runs. */
export class Stage {
  #browsers = [];
  #tabs = [];

  #switchboard = new Switchboard();

  constructor(directory) {
    this.directory = directory;
  }

  /** Starts two browsers of each of `kinds`: one for each role. */
  async begin({ program, wasm, kinds }) {
    const site = path.join(this.directory, "site");
    await buildSite(site, wasm);
    this.relay = new Relay({ program, site, dataDir: path.join(this.directory, "relay") });
    await Promise.all([this.relay.start(), this.#switchboard.start()]);
    [this.address] = (await (await fetch(new URL("/config.json", this.relay.url))).json()).relays;
    for (const role of ROLES) for (const kind of kinds) this.#browsers.push({ role, kind, process: await this.#launch(role, kind) });
  }

  /** A peer of theirs without a browser. */
  async startNode() {
    this.node = new NodePeer();
    await this.node.start(this.address);
  }

  #launch(role, kind) {
    const name = `${role}-${kind}`;
    return startBrowser(kind, { name, profileDir: path.join(this.directory, name), origin: this.relay.url });
  }

  /** A peer of a kind in each browser of a role, instead of the ones that were there. */
  async open(role, kind) {
    const peers = [];
    for (const browser of this.#browsers.filter((browser) => browser.role === role)) {
      await browser.tab?.close();
      browser.tab = await browser.process.tab(kind === "raw" ? `${this.#switchboard.page}${browser.kind}` : "/");
      this.#tabs.push(browser.tab);
      peers.push(await within(CASE_MAX_MS, PagePeer.start(browser.tab, kind, browser.kind, this.address), `a peer in ${browser.process.name}`));
    }
    return peers;
  }

  /** What the pages said last, to be shown when something fails. */
  said() {
    return this.#tabs.flatMap((tab) => tab.console.slice(-10).map((line) => `${tab.name}: ${line}`)).join("\n");
  }

  async end() {
    this.node?.stop();
    await Promise.allSettled(this.#browsers.map(({ process }) => process.close()));
    await Promise.all([this.relay?.stop(), this.#switchboard.stop()]);
  }
}

const AGENTS = { ours: /^libp2p-webrtc-p2p$/, brokered: /^libp2p-webrtc-p2p$/, theirs: /^js-libp2p\// };
const NAMES = { ours: "page", brokered: "worker", theirs: "js-libp2p", raw: "raw page" };

/** Ends all connections between two peers. */
export const part = (one, other) => Promise.all([one.call("part", other.id), other.call("part", one.id)]);

class PagePeer {
  static async start(tab, kind, browser, relay) {
    const peer = new PagePeer();
    const started = await tab.evaluate(([kind, relay]) => window.start(kind, relay), [kind, relay]);
    return Object.assign(peer, { tab, agent: AGENTS[kind], name: `${NAMES[kind]} in ${browser}`, ...started });
  }

  async call(name, ...args) {
    return fine(this, name, await this.tab.evaluate(([name, args]) => window.call(name, ...args), [name, args]));
  }
}

class NodePeer {
  name = "js-libp2p in node";
  agent = AGENTS.theirs;
  #child = fork(path.join(HERE, "node-peer.mjs"), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  #waiting = new Map();
  #last = 0;
  #ended;

  constructor() {
    this.#child.on("message", ({ id, ...answer }) => this.#waiting.get(id)(answer));
    this.#child.on("exit", (code, signal) => {
      this.#ended = { error: `its process ended with ${signal ?? code}` };
      for (const answer of this.#waiting.values()) answer(this.#ended);
    });
  }

  async start(relay) {
    Object.assign(this, (await this.call("start", relay)).result);
  }

  async call(name, ...args) {
    if (this.#ended) return fine(this, name, this.#ended);
    const id = ++this.#last;
    const answered = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.#child.send({ id, name, args });
    return fine(this, name, await answered);
  }

  stop() {
    this.#child.kill("SIGKILL");
  }
}

function fine(peer, name, answer) {
  if (answer.error !== undefined) throw new Error(`${peer.name}, ${name}: ${answer.error}`);
  return answer;
}

/** The page, its worker and the wasm, for the relay to serve. */
async function buildSite(site, wasm) {
  mkdirSync(path.join(site, "pkg"), { recursive: true });
  // Imported late: it needs packages.
  const { build } = await import("esbuild");
  await build({
    entryPoints: ["page.js", "worker.js"].map((file) => path.join(HERE, file)),
    outdir: site,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  writeFileSync(path.join(site, "index.html"), '<!doctype html><script type="module" src="/page.js"></script>');
  for (const file of ["warren_wasm_tests.js", "warren_wasm_tests_bg.wasm"]) cpSync(path.join(wasm, file), path.join(site, "pkg", file));
}

export async function within(ms, work, what = "it") {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what} was not done after ${ms} ms`)), ms)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
