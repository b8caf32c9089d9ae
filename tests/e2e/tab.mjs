// One tab of either browser, driven alike: what the stories need of playwright-core and puppeteer-core, and no more.

/** How long a single wait of a story may take, unless it says otherwise. */
export const WAIT_MAX_MS = 15_000;

export class Tab {
  /** What the page and its workers said and what went wrong in them, oldest first. */
  console = [];

  constructor(name, page, origin) {
    this.name = name;
    this.page = page;
    this.origin = origin;
    this.isPlaywright = typeof page.getByRole === "function";
    const say = (line) => this.console.push(`${new Date().toISOString()} ${line}`);
    page.on("console", (message) => say(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => say(`page error: ${error.stack ?? error}`));
    page.on("crash", () => say("the tab crashed"));
    page.on("requestfailed", (request) => say(`failed: ${request.method()} ${request.url()} ${request.failure()?.errorText}`));
  }

  /** Opens `path` of the site (or a whole URL). */
  async goto(path = "/") {
    await this.page.goto(new URL(path, this.origin).href, { waitUntil: "load" });
  }

  async reload() {
    await this.page.reload({ waitUntil: "load" });
  }

  /** Runs `work` in the page with one argument that can be cloned. */
  evaluate(work, argument) {
    return this.page.evaluate(work, argument);
  }

  async click(selector) {
    await this.#seen(selector);
    await this.page.click(selector);
  }

  /** Replaces what stands in an input. */
  async fill(selector, text) {
    await this.#seen(selector);
    if (this.isPlaywright) return this.page.fill(selector, text);
    // Puppeteer types what is short and sets what is long, in a way that React does not notice.
    return this.page.$eval(selector, fillLikePlaywright, text);
  }

  async press(selector, key) {
    await this.#seen(selector);
    await this.page.focus(selector);
    await this.page.keyboard.press(key);
  }

  async textOf(selector) {
    await this.#seen(selector);
    return this.page.$eval(selector, (element) => element.textContent);
  }

  /** Until an element that matches is there and visible. */
  async see(selector, timeoutMs = WAIT_MAX_MS) {
    await this.#seen(selector, timeoutMs);
  }

  /** Until `text` stands somewhere on the page. */
  async seeText(text, timeoutMs = WAIT_MAX_MS) {
    await this.until((wanted) => document.body.innerText.includes(wanted), text, `"${text}" on the page`, timeoutMs);
  }

  /** Until `condition(argument)`, run in the page, is truthy; answers what it was. */
  async until(condition, argument, what = String(condition), timeoutMs = WAIT_MAX_MS) {
    return until(() => this.evaluate(condition, argument), `${this.name}: ${what}`, timeoutMs);
  }

  /** The host worker of this tab, to be evaluated in. Chromium only. */
  async hostWorker() {
    return until(() => this.page.workers().find((worker) => worker.url().includes("host-worker")), `${this.name}: a host worker`);
  }

  /** Until this tab hosts ("leader") or reaches the one that does ("follower"), and the homeserver runs. */
  async untilHost(role, timeoutMs = WAIT_MAX_MS) {
    const wanted = `${role} running`;
    await this.until((state) => document.documentElement.dataset.host === state, wanted, `host state "${wanted}"`, timeoutMs);
  }

  /** Until the service worker answers for this page. */
  async untilServiceWorker() {
    await this.until(() => Boolean(navigator.serviceWorker?.controller), undefined, "a service worker in control");
  }

  screenshot(file) {
    return this.page.screenshot({ path: file });
  }

  close() {
    return this.page.close();
  }

  async #seen(selector, timeoutMs = WAIT_MAX_MS) {
    const state = this.isPlaywright ? { state: "visible" } : { visible: true };
    await this.page.waitForSelector(selector, { ...state, timeout: timeoutMs });
  }
}

/** Runs in the page. By the setter of the prototype: React puts its own in front, to tell its changes from the user's. */
function fillLikePlaywright(element, text) {
  element.focus();
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(element), "value").set.call(element, text);
  element.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Asks `condition` again and again until it answers something truthy, and answers that; fails with `what` when late. */
export async function until(condition, what, timeoutMs = WAIT_MAX_MS) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let trouble = "";
    try {
      const answer = await condition();
      if (answer) return answer;
    } catch (error) {
      // A page on its way elsewhere cannot be asked just now.
      trouble = ` (${error.message.split("\n")[0]})`;
    }
    if (performance.now() > deadline) throw new Error(`still waiting after ${timeoutMs} ms for ${what}${trouble}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
