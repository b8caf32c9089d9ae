// Browsers of the benchmarks, each a process with storage of its own and `page-side.js` in every page.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startBrowser } from "../../tests/e2e/browsers.mjs";

const PAGE_SIDE = path.join(path.dirname(fileURLToPath(import.meta.url)), "page-side.js");
/** About as much as a signed event takes on the wire. */
const ECHO_BYTES = 1_024;
/** Round trips timed together, because one is too short for a browser's clock. */
const TOGETHER = 10;

export class Stage {
  #browsers = [];

  constructor({ origin, directory, echo, switchboard }) {
    Object.assign(this, { origin, directory, echo, switchboard });
  }

  /** A browser that has never been here, with one tab at `path`; where that is the page, its homeserver runs. Without
   * `rtc` it can make no direct connections. */
  async open(name, { path: place = "/", rtc = true } = {}) {
    const profileDir = path.join(this.directory, name.replaceAll(" ", "-"));
    const browser = await startBrowser("chromium", { name, profileDir, origin: this.origin });
    this.#browsers.push(browser);
    await browser.raw.addInitScript({ path: PAGE_SIDE });
    if (!rtc) await browser.raw.addInitScript(() => delete globalThis.RTCPeerConnection);
    const tab = await browser.tab(place);
    return { browser, tab };
  }

  /** A function that answers with the milliseconds of one round trip from a tab of `browser`. */
  async echoTab(browser) {
    const tab = await browser.tab(this.echo.page);
    const options = { url: this.echo.socket, size: ECHO_BYTES };
    await tab.evaluate((options) => bench.openEcho(options), options);
    return () => tab.evaluate(() => bench.echo());
  }

  /** A function that answers with the milliseconds of one round trip on a data channel between two browsers. */
  async rawChannel(one, other) {
    const [from, to] = await Promise.all([one, other].map((browser) => browser.tab(this.switchboard.page)));
    for (const tab of [to, from]) await tab.evaluate(() => globalThis.start());
    const call = (...args) => from.evaluate((args) => globalThis.call(...args), args);
    await call("dial");
    return async () => (await call("roundTrips", undefined, ECHO_BYTES, 1, TOGETHER)).result[0];
  }

  async clean() {
    await Promise.allSettled(this.#browsers.map((browser) => browser.close()));
  }
}
