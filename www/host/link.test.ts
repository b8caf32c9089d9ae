// A leader, its followers and a service worker over channels: requests, takeover, redelivery, limits.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HostPort, NO_HOST_WAIT_MS } from "../service-worker/host-port.ts";
import { electionChannelName } from "./channel.ts";
import { LINK_REQUESTS_MAX, LINK_SILENCE_MAX_MS, LinkServer } from "./link-server.ts";
import { LocalHomeserver } from "./local-homeserver.ts";
import { SILENCE_MAX_MS, TICK_MS } from "./election.ts";
import { Tenure } from "./tenure.ts";
import { Bus, settle } from "./testing/bus.ts";
import type { HostStatus, PageConfig, WireRequest } from "../protocol/messages.ts";

const BUILD = { id: "test", time: 1 };
const CONFIG: PageConfig = { version: 1, relays: [], iceServers: [], serverNameSuffix: "alt", publicUrl: "" };
const STATUS = { storage: { kind: "indexeddb" } } as HostStatus;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A tab that hosts, with a homeserver that counts what it does and answers when told to. */
class HostTab {
  done: string[] = [];
  readonly server: LinkServer;
  readonly homeserver: LocalHomeserver;
  readonly tenure: Tenure;
  #waiting: (() => void)[] = [];
  holds = false;

  constructor(
    private readonly bus: Bus,
    private readonly id: string,
  ) {
    const open = bus.opener(id);
    const host = { handle: (method: string, url: string) => this.#handle(`${method} ${url}`), stop: () => Promise.resolve() };
    this.homeserver = new LocalHomeserver({
      profile: "p",
      config: CONFIG,
      nowMs: Date.now,
      load: () => Promise.resolve({ Host: { start: (_: unknown, status: (status: HostStatus) => void) => (status(STATUS), Promise.resolve(host as never)) } }),
      isAlive: (client) => this.server.isAlive(client),
      onHosting: (hosting) => this.server?.tell(hosting),
      onFenced: () => undefined,
      onFault: () => this.server.close(),
    });
    this.server = new LinkServer({
      profile: "p",
      self: id,
      open,
      nowMs: Date.now,
      serve: (request) => this.homeserver.serve(request),
      acknowledged: (done) => this.homeserver.acknowledge(done),
      hosting: () => this.homeserver.hosting,
    });
    const ignore = () => undefined;
    this.tenure = new Tenure({
      profile: "p", id, build: BUILD, locks: undefined, open,
      onLead: ignore, onFollow: ignore, onWait: ignore, onSuperseded: ignore, onHandOver: ignore, onOutdated: ignore,
      onLink: (message) => this.server.accept(message),
      onTick: () => this.server.tick(),
    });
  }

  async #handle(what: string) {
    if (this.holds) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.done.push(what);
    return { status: 200, headers: [["by", this.id]] as [string, string][], body: new TextEncoder().encode(`${this.done.length}`) };
  }

  goOn(): void {
    this.holds = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** The tab ends without a word. */
  die(): void {
    this.bus.kill(this.id);
  }

  close(): void {
    this.server.close();
    this.tenure.leave();
  }
}

function serviceWorker(bus: Bus, instance: string, hasTabs = true): HostPort {
  return new HostPort({ profile: "p", instance, build: BUILD, hasTabs: () => Promise.resolve(hasTabs), open: bus.opener(instance) });
}

const get = (id: string): WireRequest => ({ id, method: "GET", url: `/_matrix/${id}`, headers: [] });
const post = (id: string, instance: string): WireRequest => ({
  id, method: "POST", url: "/_matrix/createRoom", headers: [], redelivery: { instance, key: "page POST createRoom" },
});
const text = (body: Uint8Array) => new TextDecoder().decode(body);

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await settle();
}

test("a service worker that has just woken finds the host and gets its answer without waiting for any timer", async () => {
  const bus = new Bus();
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  const port = serviceWorker(bus, "sw");
  const asked = port.ask(get("1"));
  await settle();
  await settle();
  expect(await asked).toMatchObject({ id: "1", status: 200, headers: [["by", "tab"]] });
  tab.close();
});

test("no tab at all: 503 in Matrix's words, at once", async () => {
  const { status, body } = await serviceWorker(new Bus(), "sw", false).ask(get("1"));
  expect(status).toBe(503);
  expect(JSON.parse(text(body))).toMatchObject({ errcode: "M_UNKNOWN", error: expect.stringContaining("open Warren") as string });
});

test("tabs but none that hosts: 503 after a wait for one that starts", async () => {
  const bus = new Bus();
  const asked = serviceWorker(bus, "sw").ask(get("1"));
  await pass(NO_HOST_WAIT_MS + TICK_MS);
  expect((await asked).status).toBe(503);
});

test("a tab that starts in time is waited for", async () => {
  const bus = new Bus();
  const asked = serviceWorker(bus, "sw").ask(get("1"));
  await pass(NO_HOST_WAIT_MS / 2);
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  expect((await asked).status).toBe(200);
  tab.close();
});

test("the host vanishes with requests in hand: reads go to the next one in time, a POST is answered 503", async () => {
  const bus = new Bus();
  const first = new HostTab(bus, "a");
  await pass(1_000);
  const second = new HostTab(bus, "b");
  const port = serviceWorker(bus, "sw");
  first.holds = true;
  const read = port.ask(get("1"));
  const write = port.ask(post("2", "sw"));
  await pass(100);
  first.die();
  await pass(3_000);
  expect(await read).toMatchObject({ status: 200, headers: [["by", "b"]] });
  expect((await write).status).toBe(503);
  expect(second.done).toEqual(["GET /_matrix/1"]);
  second.close();
});

test("the host closes in order: nobody waits for silence", async () => {
  const bus = new Bus();
  const first = new HostTab(bus, "a");
  await pass(1_000);
  const second = new HostTab(bus, "b");
  const port = serviceWorker(bus, "sw");
  first.holds = true;
  const read = port.ask(get("1"));
  await pass(100);
  first.close();
  await pass(SILENCE_MAX_MS / 2);
  expect(await read).toMatchObject({ status: 200, headers: [["by", "b"]] });
  second.close();
});

test("a service worker stopped in the middle of a POST: done once, and two deliberate ones are two", async () => {
  const bus = new Bus();
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  tab.holds = true;
  void serviceWorker(bus, "old").ask(post("1", "old"));
  await pass(100);
  bus.kill("old");
  const fresh = serviceWorker(bus, "new");
  const again = fresh.ask(post("2", "new"));
  await pass(1_000);
  tab.goOn();
  expect(text((await again).body)).toBe("1");
  fresh.handedOver("2");
  await settle();
  const deliberate = fresh.ask(post("3", "new"));
  await pass(100);
  expect(text((await deliberate).body)).toBe("2");
  tab.close();
});

test("an updated service worker beside a living old one: its identical POST is a deliberate one", async () => {
  const bus = new Bus();
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  tab.holds = true;
  const first = serviceWorker(bus, "old").ask(post("1", "old"));
  await pass(100);
  const second = serviceWorker(bus, "new").ask(post("2", "new"));
  await pass(1_000);
  tab.goOn();
  await pass(100);
  expect(text((await first).body)).toBe("1");
  expect(text((await second).body)).toBe("2");
  tab.close();
});

test("a client may have only so many requests in flight", async () => {
  const bus = new Bus();
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  const port = serviceWorker(bus, "sw");
  tab.holds = true;
  const all = Array.from({ length: LINK_REQUESTS_MAX + 1 }, (_, n) => port.ask(get(`${n}`)));
  await pass(500);
  const last = all.at(-1);
  expect((await last)?.status).toBe(429);
  tab.goOn();
  await pass(100);
  expect((await all[0])?.status).toBe(200);
  tab.close();
});

test("a client that vanished is let go", async () => {
  const bus = new Bus();
  const tab = new HostTab(bus, "tab");
  await pass(1_000);
  const before = bus.openEnds;
  void serviceWorker(bus, "sw").ask(get("1"));
  await pass(100);
  bus.kill("sw");
  const [ownElectionEnd, ownLinkEnd] = [1, 1];
  await pass(2 * LINK_SILENCE_MAX_MS + 2_000);
  expect(bus.openEnds).toBe(before + ownElectionEnd + ownLinkEnd);
  expect(electionChannelName("p")).toBe("warren/p");
  tab.close();
});

test("a trap answers what was in hand 503, except the long poll, which the next host answers", async () => {
  const bus = new Bus();
  const first = new HostTab(bus, "a");
  await pass(1_000);
  const second = new HostTab(bus, "b");
  const port = serviceWorker(bus, "sw");
  first.holds = true;
  const sync = port.ask({ ...get("1"), url: "/_matrix/client/v3/sync?timeout=30000" });
  const write = port.ask(post("2", "sw"));
  const read = port.ask(get("3"));
  await pass(100);
  first.homeserver.trapped("unreachable");
  await pass(1);
  expect([(await write).status, (await read).status]).toEqual([503, 503]);
  first.tenure.leave();
  await pass(1_000);
  expect(await sync).toMatchObject({ status: 200, headers: [["by", "b"]] });
  second.close();
});
