// Starts real browsers, each a process of its own with storage of its own: Chromium by playwright-core, Firefox by
// puppeteer-core over WebDriver BiDi.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { findBrowser } from "../../scripts/browsers.mjs";
import { Tab } from "./tab.mjs";

const isRoot = process.getuid?.() === 0;

/** One browser process. */
export class BrowserProcess {
  tabs = [];

  /** @param {{ kind: string, name: string, profileDir: string, newPage: () => Promise<any>, close: () => Promise<void>, raw: any }} driver */
  constructor(driver, origin) {
    Object.assign(this, driver);
    this.driver = driver;
    this.origin = origin;
  }

  /** A new tab at `path`; without `path`, an empty one. */
  async tab(path) {
    const tab = new Tab(`${this.name} tab ${this.tabs.length + 1}`, await this.driver.newPage(), this.origin);
    this.tabs.push(tab);
    if (path !== undefined) await tab.goto(path);
    return tab;
  }
}

/**
 * @param {"chromium" | "firefox"} kind
 * @param {{ name: string, profileDir: string, origin: string, executablePath?: string, chromiumArgs?: string[], withoutArgs?: string[],
 *   chromiumPreferences?: object, firefoxPrefs?: object }} options
 * `executablePath` is for Chromium. `profileDir` keeps what the browser stores; start again with the same one to be the same person.
 */
export async function startBrowser(kind, options) {
  mkdirSync(options.profileDir, { recursive: true });
  const driver = kind === "chromium" ? await startChromium(options) : await startFirefox(options);
  return new BrowserProcess({ kind, name: options.name, profileDir: options.profileDir, ...driver }, options.origin);
}

async function startChromium({ profileDir, executablePath = findBrowser("chromium"), chromiumArgs = [], withoutArgs = [], chromiumPreferences }) {
  const { chromium } = await import("playwright-core");
  if (chromiumPreferences) {
    mkdirSync(path.join(profileDir, "Default"), { recursive: true });
    writeFileSync(path.join(profileDir, "Default", "Preferences"), JSON.stringify(chromiumPreferences));
  }
  const context = await chromium.launchPersistentContext(profileDir, {
    executablePath,
    headless: true,
    args: [...(isRoot ? ["--no-sandbox"] : []), "--disable-dev-shm-usage", ...chromiumArgs],
    ignoreDefaultArgs: withoutArgs,
    viewport: { width: 1100, height: 800 },
  });
  return { newPage: () => context.newPage(), close: () => context.close(), raw: context };
}

/**
 * Many people in one Chromium process, which share nothing that a page can see: storage, channels, locks and service workers
 * are each their own, as in windows of as many private sessions. Answers one browser each.
 */
export async function startCrowd({ names, origin }) {
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({
    executablePath: findBrowser("chromium"),
    headless: true,
    args: [...(isRoot ? ["--no-sandbox"] : []), "--disable-dev-shm-usage"],
  });
  const person = async (name) => {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 } });
    return new BrowserProcess({ kind: "chromium", name, newPage: () => context.newPage(), close: () => browser.close(), raw: context }, origin);
  };
  return Promise.all(names.map(person));
}

async function startFirefox({ profileDir, firefoxPrefs = {} }) {
  const { default: puppeteer } = await import("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: findBrowser("firefox"),
    headless: true,
    userDataDir: profileDir,
    defaultViewport: { width: 1100, height: 800 },
    extraPrefsFirefox: firefoxPrefs,
  });
  return { newPage: () => browser.newPage(), close: () => browser.close(), raw: browser };
}
