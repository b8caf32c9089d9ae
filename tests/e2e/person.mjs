// A person at the page: does what people do, by what stands on the page, and waits until it is so.
import { until } from "./tab.mjs";

/** Everything that goes from one browser to another, or waits for a relay, on a machine that is busy with other things. */
export const PEER_WAIT_MAX_MS = 30_000;

const COMPOSER = ".composer textarea";
const LINK = ".share-link textarea";

export class Person {
  /** @param {import("./tab.mjs").Tab} tab */
  constructor(name, tab) {
    this.name = name;
    this.tab = tab;
  }

  /** Types the name at the welcome, and is in. */
  async enter() {
    await this.tab.fill("#display-name", this.name);
    await this.tab.click(".welcome button[type=submit]");
    await this.untilIn();
  }

  async untilIn() {
    await this.tab.see(".own-row", PEER_WAIT_MAX_MS);
  }

  /** Creates a room of that name, open by link unless told otherwise; afterwards its share panel is open. */
  async createRoom(name, { byInvitation = false } = {}) {
    await this.tab.click('a[href="#/new"]');
    await this.tab.fill("#room-name", name);
    if (byInvitation) await this.tab.click(".choice:last-of-type input");
    await this.tab.click(".main form button[type=submit]");
    await this.tab.see(".panel", PEER_WAIT_MAX_MS);
  }

  /** In the share panel. */
  async invite(userId) {
    await this.tab.fill("#invite-user-id", userId);
    await this.tab.click(".panel form button[type=submit]");
    await this.tab.seeText("is invited.");
  }

  /** Accepts the invitation to the room of that name, once it is there, and is in. */
  async acceptInvitation(name) {
    await this.tab.until(
      (wanted) => document.querySelector(".invite .room-row-name")?.textContent === wanted,
      name,
      `an invitation to "${name}"`,
      PEER_WAIT_MAX_MS,
    );
    await this.tab.click(".sidebar .invite .primary");
    await this.untilInRoom();
  }

  /** By "Open a link". */
  async opensLink(text) {
    await this.tab.click('a[href="#/link"]');
    await this.tab.fill("#pasted-link", text);
    await this.tab.click(".main form button[type=submit]");
  }

  /** Opens the share panel of the open room; the link in it. */
  async share() {
    await this.tab.click('.pane-header a[href$="/share"]');
    return this.link();
  }

  /** The link in the share panel, once it says where we can be reached. */
  async link() {
    const whole = async () => (await this.linkText()).includes("&addr=");
    await until(whole, `${this.name}'s link to have an address`, PEER_WAIT_MAX_MS);
    return this.linkText();
  }

  async closePanel() {
    await this.tab.click(".panel .pane-header a.wide-only");
    await this.untilInRoom();
  }

  async linkText() {
    await this.tab.see(LINK);
    return this.tab.evaluate((selector) => document.querySelector(selector).value, LINK);
  }

  /** Opens the room of that name from the list. */
  async openRoom(name) {
    const row = ".room-list a.room-row";
    const find = ([selector, wanted]) =>
      [...document.querySelectorAll(selector)].find((link) => link.querySelector(".room-row-name").textContent === wanted)?.getAttribute("href");
    const href = await this.tab.until(find, [row, name], `room "${name}" in the list`, PEER_WAIT_MAX_MS);
    await this.tab.click(`${row}[href="${href}"]`);
    await this.untilInRoom();
  }

  async untilInRoom() {
    await this.tab.see(COMPOSER, PEER_WAIT_MAX_MS);
  }

  /** The names of the rooms in the list. */
  rooms() {
    return this.tab.evaluate(() => [...document.querySelectorAll(".room-list .room-row .room-row-name")].map((name) => name.textContent));
  }

  async write(text) {
    await this.tab.fill(COMPOSER, text);
    await this.tab.press(COMPOSER, "Enter");
  }

  /** Until the messages in the open room are these, in this order and each sent. */
  async reads(...texts) {
    const wanted = JSON.stringify(texts);
    const matches = async () => JSON.stringify(await this.messages()) === wanted;
    await until(matches, `${this.name} to read ${wanted}`, PEER_WAIT_MAX_MS).catch(async (error) => {
      throw new Error(`${error.message}, but the page shows ${JSON.stringify(await this.messages())}`);
    });
    await this.tab.until(() => !document.querySelector(".sending:not(.sent)"), undefined, "every message sent");
  }

  messages() {
    return this.tab.evaluate(() => [...document.querySelectorAll(".message .body")].map((body) => body.textContent));
  }

  /** Until the status bar says it. */
  async status(text, timeoutMs = PEER_WAIT_MAX_MS) {
    const says = (wanted) => document.querySelector(".status-text")?.textContent.includes(wanted);
    await this.tab.until(says, text, `"${text}" in the status bar`, timeoutMs);
  }

  /** By what each live connection to another homeserver goes, as the details of the status bar say it. */
  paths() {
    return this.tab.evaluate(() => [...document.querySelectorAll(".popover [data-path]")].map((row) => row.dataset.path));
  }

  /** Until there is a connection that goes by `path`. */
  async isConnected(path, timeoutMs = PEER_WAIT_MAX_MS) {
    const goes = (wanted) => Boolean(document.querySelector(`.popover [data-path="${wanted}"]`));
    await this.tab.until(goes, path, `${this.name} to be connected "${path}"`, timeoutMs);
  }

  /** Until the details of the status bar say it, open or not. */
  async isTold(text, timeoutMs = PEER_WAIT_MAX_MS) {
    const says = (wanted) => document.querySelector(".popover").textContent.includes(wanted);
    await this.tab.until(says, text, `${this.name} to be told "${text}"`, timeoutMs);
  }

  /** Opens the details of the status bar. */
  async openDetails() {
    await this.tab.click(".status-line button");
    await this.tab.see(".popover:popover-open");
  }

  /** What "Copy a report" in the open details copies. */
  async report() {
    await this.tab.evaluate(() => {
      navigator.clipboard.writeText = (text) => Promise.resolve(void (globalThis.copied = text));
    });
    await this.tab.click(".popover .report button");
    const copied = () => [globalThis.copied, (globalThis.copied = undefined)][0];
    return this.tab.until(copied, undefined, "a report");
  }

  /** What a script needs to act in this person's name, by fetch on the origin: `{ token }`. */
  async session() {
    await this.tab.untilServiceWorker();
    return this.tab.evaluate(() => ({ token: JSON.parse(localStorage.getItem("warren:default:session")).accessToken }));
  }

  /** From the settings; leaves them open. */
  async userId() {
    await this.tab.click(".own-row");
    return this.tab.textOf("section[aria-labelledby=user-id-title] code");
  }
}

/** Opens the page in a new browser process and is in. */
export async function comesIn(stage, name, options) {
  const browser = await stage.open(name.toLowerCase(), options);
  const person = new Person(name, await browser.tab());
  const arrived = stage.measure("page open to in");
  await person.tab.goto("/");
  await person.enter();
  arrived();
  return { browser, person };
}

/** Opens `link` in a new browser process, types a name and is in the room. */
export async function comesByLink(stage, name, link, options) {
  const browser = await stage.open(name.toLowerCase(), options);
  const person = new Person(name, await browser.tab());
  const joined = stage.measure("link to joined");
  await person.tab.goto(link);
  await person.enter();
  await person.untilInRoom();
  joined();
  return { browser, person };
}
