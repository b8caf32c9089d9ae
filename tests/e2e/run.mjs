// Runs the browser stories: every module in stories/ exports `{ name, browsers, run(stage) }` as `story` (or several as
// `stories`), with `timeoutMs`, `relayArgs`, `relayLog`, `ownSite` and `ownNetwork` where a story needs its own
// (`"loopback"`: a machine without any other). Called by scripts/e2e.mjs, which builds what they need first.
// Arguments: words that the name must contain; `--browser=firefox` runs in one browser only; `--keep` keeps logs and
// pictures of what passed, too.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { findBrowser } from "../../scripts/browsers.mjs";
import { startBrowser, startCrowd } from "./browsers.mjs";
import { mayMakeNetworks, NetworkLab, RELAY_ADDRESS } from "./network-lab.mjs";
import { Relay } from "./relay.mjs";

const STORIES = path.join(path.dirname(fileURLToPath(import.meta.url)), "stories");
const STORY_MAX_MS = 90_000;
const CLEANING_MAX_MS = 10_000;

/** What a story gets: a relay that runs, browsers to start, and a name for what it leaves behind. */
class Stage {
  #browsers = [];
  /** How long what took, for people to read; a story that must hold a limit asserts it. */
  figures = [];

  constructor({ browser, relay, directory, site, lab }) {
    /** "chromium" or "firefox": what `open` starts unless told otherwise. */
    this.browser = browser;
    this.relay = relay;
    this.directory = directory;
    /** The folder that the relay serves: the built page, or with `ownSite` a copy that the story may change. */
    this.site = site;
    /** With `ownNetwork`, the network that the relay is in. */
    this.lab = lab;
  }

  /** Starts a browser process for `person`, on a `host` of the lab if that is given; the same person again has kept everything. */
  async open(person, { kind = this.browser, host, ...options } = {}) {
    const profileDir = path.join(this.directory, `${kind}-${person}`);
    const place = host && {
      executablePath: this.lab.wrapper(host, findBrowser(kind)),
      chromiumArgs: [`--unsafely-treat-insecure-origin-as-secure=${this.relay.url}`],
    };
    const browser = await startBrowser(kind, { name: person, profileDir, origin: this.relay.url, ...place, ...options });
    this.#browsers.push(browser);
    return browser;
  }

  /** Starts one Chromium for many people, each with everything of their own; a browser each. */
  async openCrowd(names) {
    const crowd = await startCrowd({ names, origin: this.relay.url });
    this.#browsers.push(...crowd);
    return crowd;
  }

  /** Starts to measure; the function returned ends it, and notes how long it took. */
  measure(what) {
    const started = performance.now();
    return () => {
      const ms = Math.round(performance.now() - started);
      this.figures.push(`${what}: ${ms} ms`);
      return ms;
    };
  }

  async keepEvidence(folder) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, "relay.log"), this.relay.log);
    for (const tab of this.#browsers.flatMap(({ tabs }) => tabs)) {
      const file = path.join(folder, tab.name.replaceAll(" ", "-"));
      writeFileSync(`${file}.log`, tab.console.join("\n"));
      await Promise.race([tab.screenshot(`${file}.png`), late(3_000)]).catch(() => undefined);
    }
  }

  async clean() {
    await Promise.race([Promise.allSettled(this.#browsers.map((browser) => browser.close())), late(CLEANING_MAX_MS)]);
    await this.relay.stop();
    this.lab?.remove();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** @param {{ program: string, site: string, evidence: string, words?: string[], browser?: string, keep?: boolean, print?: (line: string) => void }} options */
export async function runStories({ program, site, evidence, words = [], browser: only, keep, print = console.log }) {
  const failures = [];
  let passed = 0;
  for (const story of await findStories(words)) {
    for (const browser of story.browsers.filter((kind) => !only || kind === only)) {
      const started = performance.now();
      const name = `${story.name} (${browser})`;
      const { error, figures } = await tell(story, { browser, program, site, keep, evidence: path.join(evidence, slug(name)) });
      const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
      print(`${error ? "!" : " "} ${seconds} s  ${name}`);
      for (const figure of figures) print(`${" ".repeat(12)}${figure}`);
      if (error) {
        failures.push({ name, message: error.stack ?? String(error) });
        print(`${error.stack ?? error}\nEvidence: ${path.join(evidence, slug(name))}`);
      } else passed += 1;
    }
  }
  return { passed, failures };
}

/** Runs one story in one browser; answers what went wrong and what was measured. */
async function tell(story, { browser, program, site, keep, evidence }) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-story-"));
  if (story.ownSite) cpSync(site, path.join(directory, "site"), { recursive: true });
  const served = story.ownSite ? path.join(directory, "site") : site;
  const dataDir = path.join(directory, "relay");
  const lab = story.ownNetwork && new NetworkLab();
  const isAlone = story.ownNetwork === "loopback";
  const place = lab ? { program: lab.wrapper(lab.internet, program), address: isAlone ? undefined : RELAY_ADDRESS } : { program };
  const relay = new Relay({ ...place, site: served, dataDir, args: story.relayArgs, log: story.relayLog });
  const stage = new Stage({ browser, relay, directory, site: served, lab });
  const timeoutMs = story.timeoutMs ?? STORY_MAX_MS;
  const overdue = new AbortController();
  try {
    lab?.start({ loopback: isAlone });
    await relay.start();
    await Promise.race([story.run(stage), late(timeoutMs, overdue.signal).then(() => Promise.reject(new Error(`not done after ${timeoutMs} ms`)))]);
    if (keep) await stage.keepEvidence(evidence);
    return { figures: stage.figures };
  } catch (error) {
    await stage.keepEvidence(evidence);
    return { error, figures: stage.figures };
  } finally {
    overdue.abort();
    await stage.clean();
  }
}

async function findStories(words) {
  const files = readdirSync(STORIES).filter((file) => file.endsWith(".mjs")).sort();
  const modules = await Promise.all(files.map((file) => import(pathToFileURL(path.join(STORIES, file)))));
  return modules
    .flatMap(({ story, stories = [] }) => (story ? [story, ...stories] : stories))
    .filter(({ name, ownNetwork }) => words.every((word) => name.includes(word)) && (!ownNetwork || mayMakeNetworks()));
}

function late(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    timer.unref?.();
    signal?.addEventListener("abort", () => clearTimeout(timer));
  });
}

function slug(name) {
  return name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/-$/, "");
}
