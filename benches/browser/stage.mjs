// Browsers of the benchmarks, each a process with storage of its own and `page-side.js` in every page.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { startBrowser } from "../../tests/e2e/browsers.mjs";

const PAGE_SIDE = path.join(path.dirname(fileURLToPath(import.meta.url)), "page-side.js");
/** About as much as a signed event takes on the wire. */
const ECHO_BYTES = 1_024;

export class Stage {
  #browsers = [];

  constructor({ origin, directory, echo }) {
    Object.assign(this, { origin, directory, echo });
  }

  /** A browser that has never been here, with one tab at `path`; where that is the page, its homeserver runs. */
  async open(name, { path: place = "/" } = {}) {
    const profileDir = path.join(this.directory, name.replaceAll(" ", "-"));
    const browser = await startBrowser("chromium", { name, profileDir, origin: this.origin });
    this.#browsers.push(browser);
    await browser.raw.addInitScript({ path: PAGE_SIDE });
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

  async clean() {
    await Promise.allSettled(this.#browsers.map((browser) => browser.close()));
  }
}
