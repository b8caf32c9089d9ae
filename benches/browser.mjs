// The whole chain in Chromium: the real page and relay, driven through the page's host worker as the page itself does.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { SITE, WARREN } from "../scripts/places.mjs";
import { Relay } from "../tests/e2e/relay.mjs";
import { until } from "../tests/e2e/tab.mjs";
import { Switchboard } from "../tests/interop/switchboard.mjs";
import { EchoServer } from "./browser/echo-server.mjs";
import { Stage } from "./browser/stage.mjs";
import { wasmMemoryBytes } from "./browser/wasm-memory.mjs";
import { figure } from "./summary.mjs";

const CLIENT = "/_matrix/client/v3";
/** Where the page keeps who is signed in (www/app/models/profile.ts, session.ts). */
const SESSION_KEY = "warren:default:session";
const ROOMS = 10;
const SIZES = {
  full: { firstVisits: 7, reloads: 15, ownSyncs: 150, pings: 100, events: 1_000, manyRooms: { rooms: 100, events: 100, followed: 500, reloads: 5, syncs: 20 } },
  quick: { firstVisits: 2, reloads: 4, ownSyncs: 30, pings: 20, events: 100, manyRooms: { rooms: 20, events: 50, followed: 100, reloads: 2, syncs: 5 } },
};
const AIMS = { reload: { value: 500 }, firstVisit: { value: 2_000 }, ownSync: { ratio: 3 }, relayed: { ratio: 3 }, direct: { ratio: 1 }, initialSync: { value: 1_000 }, nextSync: { value: 5 } };

export async function benchBrowser(size) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  const relay = new Relay({ program: WARREN, site: SITE, dataDir: path.join(directory, "relay") });
  const echo = new EchoServer();
  const switchboard = new Switchboard();
  const counts = SIZES[size];
  let stage;
  try {
    await Promise.all([relay.start(), echo.start(), switchboard.start()]);
    stage = new Stage({ origin: relay.url, directory, echo, switchboard });
    const parts = [];
    for (const part of [firstVisits, ownSyncs, relayed, direct, fullHouse, manyRooms]) parts.push(await part(stage, counts));
    return { lines: parts.flatMap(({ lines }) => lines), samples: Object.assign({}, ...parts.map(({ samples }) => samples)) };
  } finally {
    await stage?.clean();
    await Promise.all([relay.stop(), echo.stop(), switchboard.stop()]);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** From opening the page in a browser that never saw it, with a name typed at once, to the first sync. */
async function firstVisits(stage, { firstVisits: count }) {
  const samples = { firstVisitMs: [], firstCompileMs: [] };
  for (let n = 0; n < count; n += 1) {
    const blank = await stage.open(`blank ${n}`, { path: "/config.json" });
    samples.firstCompileMs.push(await fetchAndCompile(blank.tab));
    await blank.browser.close();
    const visit = await stage.open(`visitor ${n}`);
    await enter(visit.tab);
    samples.firstVisitMs.push(await firstSync(visit.tab));
    await visit.browser.close();
  }
  const limit = { name: "fetch and compile the wasm", samples: samples.firstCompileMs };
  return { samples, lines: [figure("page to first /sync, first visit", "ms", samples.firstVisitMs, { limit, aim: AIMS.firstVisit })] };
}

/** From sending to the answer of an own /sync that waits, in a tab that does nothing else. */
async function ownSyncs(stage, { ownSyncs: rounds }) {
  const { tab, browser } = await stage.open("sender");
  const { token, room } = await accountWithRoom(tab);
  const { commit, send, sync } = await tab.evaluate((options) => bench.ownSync(options), { token, room, rounds });
  await browser.close();
  const limit = { name: "one IndexedDB commit", samples: commit };
  return {
    samples: { ownSyncMs: sync, ownSendMs: send, ownCommitMs: commit },
    lines: [
      figure("send to its answer, in the tab", "ms", send, { limit }),
      figure("send to own /sync, in the tab", "ms", sync, { limit, aim: AIMS.ownSync }),
    ],
  };
}

/** What goes by the relay, because these browsers cannot make direct connections. */
async function relayed(stage, { pings }) {
  const [ann, ben] = await Promise.all([stage.open("ann", { rtc: false }), stage.open("ben", { rtc: false })]);
  const { room, token } = await roomOfTwo(ann, ben);
  const echoTab = await stage.echoTab(ann.browser);
  const samples = { relayedMs: [], relayedLimitMs: [] };
  for (let n = 0; n < pings; n += 1) {
    const webSocket = await echoTab();
    const commit = await ann.tab.evaluate(() => bench.commit());
    samples.relayedLimitMs.push(webSocket + 2 * commit);
    samples.relayedMs.push(await tabToTab(ann, { token, room, text: String(n) }));
  }
  await Promise.all([ann.browser.close(), ben.browser.close()]);
  const limit = { name: "a WebSocket round trip and two commits", samples: samples.relayedLimitMs };
  return { samples, lines: [figure("tab to tab through the relay", "ms", samples.relayedMs, { limit, aim: AIMS.relayed })] };
}

/** What goes from browser to browser. */
async function direct(stage, { pings }) {
  const [ann, ben] = await Promise.all([stage.open("anna"), stage.open("benno")]);
  const { room, token, benId } = await roomOfTwo(ann, ben);
  for (const { tab } of [ann, ben]) await tab.until(() => bench.status?.peers.some(({ path }) => path === "direct"), undefined, "a direct connection");
  const raw = await stage.rawChannel(ann.browser, ben.browser);
  const samples = { directMs: [], directLimitMs: [], federationMs: [], federationLimitMs: [] };
  for (let n = 0; n < pings; n += 1) {
    const roundTrip = await raw();
    const commit = await ann.tab.evaluate(() => bench.commit());
    const { federation, own } = await ann.tab.evaluate((options) => bench.federation(options), { token, userId: benId });
    samples.directLimitMs.push(1.5 * roundTrip + 2 * commit);
    samples.directMs.push(await tabToTab(ann, { token, room, text: String(n) }));
    samples.federationMs.push(federation);
    samples.federationLimitMs.push(roundTrip + own);
  }
  const { peers } = await ann.tab.evaluate(() => bench.status);
  if (peers.some(({ path }) => path !== "direct")) throw new Error(`it was not all direct: ${JSON.stringify(peers)}`);
  await Promise.all([ann.browser.close(), ben.browser.close()]);
  const limit = { name: "1.5 raw round trips and two commits", samples: samples.directLimitMs };
  const federationLimit = { name: "a raw round trip and a request to the own homeserver", samples: samples.federationLimitMs };
  return {
    samples,
    lines: [
      figure("tab to tab, direct", "ms", samples.directMs, { limit, aim: AIMS.direct }),
      figure("federation request and answer, direct", "ms", samples.federationMs, { limit: federationLimit }),
    ],
  };
}

/** From sending in one browser to the /sync of another, half of there and back, so that one clock measures it. */
async function tabToTab({ tab }, ping) {
  return (await tab.evaluate((options) => bench.ping(options), ping)) / 2;
}

/** A room of Ann's that Ben has joined, in which he answers pings. */
async function roomOfTwo(ann, ben) {
  await ann.tab.until(() => bench.status?.relay.state === "connected", undefined, "the relay");
  const { token, room } = await accountWithRoom(ann.tab);
  const { token: bensToken, userId: benId } = await register(ben.tab, "ben");
  const { serverName, addresses } = await ann.tab.evaluate(() => bench.status);
  await ask(ben.tab, "POST", "/_matrix/client/unstable/warren/address_hints", { token: bensToken, body: { servers: { [serverName]: addresses } } });
  await ask(ben.tab, "POST", `${CLIENT}/join/${encodeURIComponent(room)}?via=${serverName}`, { token: bensToken, body: {} });
  await ben.tab.evaluate((options) => bench.answerPings(options), { token: bensToken, room });
  return { token, room, benId };
}

/** A profile with a usual amount in it: what the wasm takes, and how soon it is back after a reload. */
async function fullHouse(stage, { reloads, events }) {
  const { tab, browser } = await stage.open("collector");
  await enter(tab);
  await firstSync(tab);
  const empty = await wasmMemoryBytes(browser, tab);
  const token = await tab.evaluate((key) => JSON.parse(localStorage.getItem(key)).accessToken, SESSION_KEY);
  const started = performance.now();
  await tab.evaluate((options) => bench.fill(options), { token, rooms: ROOMS, events });
  const filledMs = performance.now() - started;
  const full = await wasmMemoryBytes(browser, tab);
  const samples = { reloadMs: [], compileMs: [], wasmEmptyBytes: [empty], wasmFullBytes: [full], wasmReloadedBytes: [], fillEventMs: [filledMs / (ROOMS * events)] };
  for (let n = 0; n < reloads; n += 1) {
    await tab.goto("/config.json");
    samples.compileMs.push(await fetchAndCompile(tab));
    await tab.goto("/");
    await firstSync(tab);
    await tab.reload();
    samples.reloadMs.push(await firstSync(tab));
  }
  samples.wasmReloadedBytes.push(await wasmMemoryBytes(browser, tab));
  await browser.close();
  const house = `${ROOMS} rooms of ${events.toLocaleString("en")} events`;
  const limit = { name: "fetch and compile the wasm", samples: samples.compileMs };
  return {
    samples,
    lines: [
      figure(`page to first /sync, warm reload, ${house}`, "ms", samples.reloadMs, { limit, aim: AIMS.reload }),
      figure("an event of ten rooms filled at once", "ms", samples.fillEventMs),
      figure("wasm memory, no rooms", "bytes", samples.wasmEmptyBytes),
      figure(`wasm memory, ${house}, just sent`, "bytes", samples.wasmFullBytes),
      figure(`wasm memory, ${house}, after a reload`, "bytes", samples.wasmReloadedBytes),
    ],
  };
}

/** Syncs of somebody in many rooms: the first after a reload, when the homeserver has nothing of them in memory, further
 * first ones, and those that go on. */
async function manyRooms(stage, { manyRooms: { rooms, events, followed, reloads, syncs } }) {
  const { tab, browser } = await stage.open("member");
  const { token } = await register(tab, "ann");
  const ids = await tab.evaluate((options) => bench.fill(options), { token, rooms, events });
  const initialSyncs = (count) => tab.evaluate((options) => bench.initialSyncs(options), { token, count, rooms });
  const samples = { initialSyncMs: await initialSyncs(syncs), initialSyncReloadedMs: [] };
  for (let n = 0; n < reloads; n += 1) {
    await tab.reload();
    await ask(tab, "GET", "/_matrix/client/versions");
    samples.initialSyncReloadedMs.push(...(await initialSyncs(1)));
  }
  ids.push(...(await tab.evaluate((options) => bench.fill(options), { token, rooms: followed - rooms, events: 2 })));
  samples.nextSyncMs = await tab.evaluate((options) => bench.nextSyncs(options), { token, count: syncs * 10, rooms: ids });
  await browser.close();
  const house = `${rooms} rooms of ${events.toLocaleString("en")} messages`;
  return {
    samples,
    lines: [
      figure(`initial sync of ${house}`, "ms", samples.initialSyncMs, { aim: AIMS.initialSync }),
      figure("the same, the first after a reload", "ms", samples.initialSyncReloadedMs, { aim: AIMS.initialSync }),
      figure(`incremental sync with ${followed} rooms`, "ms", samples.nextSyncMs, { aim: AIMS.nextSync }),
    ],
  };
}

/** Types a name into the welcome page, as soon as it is there. */
async function enter(tab) {
  await tab.fill("form input", "Visitor");
  await tab.press("form input", "Enter");
}

function firstSync(tab) {
  return until(() => tab.evaluate(() => bench.firstSyncMs), `${tab.name}: the first sync`);
}

async function accountWithRoom(tab) {
  const { token } = await register(tab, "ann");
  const { room_id: room } = await ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: { preset: "public_chat" } });
  await tab.evaluate(() => bench.openDatabase());
  return { token, room };
}

async function register(tab, username) {
  const body = { username, auth: { type: "m.login.dummy" } };
  const { access_token: token, user_id: userId } = await ask(tab, "POST", `${CLIENT}/register`, { body });
  return { token, userId };
}

function ask(tab, method, url, options) {
  return tab.evaluate(({ method, url, options }) => bench.ask(method, url, options), { method, url, options });
}

/** In a page that is none of ours, so that nothing else goes on in it. */
function fetchAndCompile(tab) {
  const wasm = readdirSync(SITE, { recursive: true }).find((name) => /warren_browser.*\.wasm$/.test(name));
  return tab.evaluate((url) => bench.fetchAndCompile(url), `/${wasm.replaceAll(path.sep, "/")}`);
}
