// The election on a browser's real manners: locks that are granted, stolen, or refused altogether.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FIRST_CLAIM_WAIT_MS, TICK_MS } from "./election.ts";
import { openBroadcast } from "./channel.ts";
import { Tenure } from "./tenure.ts";
import { Bus, settle } from "./testing/bus.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

type Held = () => Promise<void>;

/** As much of a LockManager as is used: one lock, a queue, and stealing. */
class FakeLocks {
  #queue: { held: Held; reject: (error: DOMException) => void }[] = [];

  request = (_name: string, { steal, signal }: LockOptions, held: Held): Promise<void> =>
    new Promise((resolve, reject) => {
      const entry = { held, reject };
      signal?.addEventListener("abort", () => {
        if (this.#queue.indexOf(entry) <= 0) return;
        this.#queue.splice(this.#queue.indexOf(entry), 1);
        reject(new DOMException("aborted", "AbortError"));
      });
      if (steal) this.#queue.shift()?.reject(new DOMException("stolen", "AbortError"));
      this.#queue.splice(steal ? 0 : this.#queue.length, 0, entry);
      if (this.#queue[0] === entry) this.#grant(entry, resolve);
    });

  #grant(entry: { held: Held }, resolve: () => void): void {
    queueMicrotask(() => void entry.held().then(() => (this.#queue.splice(this.#queue.indexOf(entry as never), 1), resolve())));
  }
}

function open(bus: Bus, id: string, locks: unknown) {
  const seen: string[] = [];
  const say = (what: string) => () => void seen.push(what);
  const tenure = new Tenure({
    profile: "p", id, build: { id: "x", time: 1 }, locks: locks as LockManager, open: bus.opener(id),
    onLead: say("lead"), onFollow: (leader) => void seen.push(`follow ${leader}`), onWait: say("wait"),
    onSuperseded: say("superseded"), onHandOver: say("hand over"), onOutdated: say("outdated"),
    onLink: say("link"), onTick: () => undefined,
  });
  return { tenure, seen };
}

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await settle();
}

test("the lock decides, and a silent holder loses it", async () => {
  const [bus, locks] = [new Bus(), new FakeLocks()];
  const first = open(bus, "a", locks);
  await pass(TICK_MS);
  const second = open(bus, "b", locks);
  await pass(1_000);
  expect([first.seen, second.seen]).toEqual([["lead"], ["follow a"]]);
  bus.kill("a");
  await pass(3_000);
  expect(second.seen).toEqual(["follow a", "lead"]);
  expect(first.seen).toEqual(["lead", "superseded"]);
  second.tenure.leave();
});

test("a browser that refuses locks (storage is blocked) is no reason not to host", async () => {
  const bus = new Bus();
  const refusing = { request: () => Promise.reject(new DOMException("denied", "SecurityError")) };
  const [first, second] = [open(bus, "a", refusing), open(bus, "b", refusing)];
  await pass(FIRST_CLAIM_WAIT_MS + 2 * TICK_MS);
  expect([first.seen, second.seen]).toEqual([["lead"], ["follow a"]]);
  first.tenure.leave();
  second.tenure.leave();
});

test("whoever left is called back no more", async () => {
  const bus = new Bus();
  const { tenure, seen } = open(bus, "a", undefined);
  tenure.leave();
  await pass(10_000);
  expect(seen).toEqual([]);
  expect(bus.openEnds).toBe(0);
});

test("a browser that refuses channels leaves each tab alone", () => {
  vi.stubGlobal("BroadcastChannel", class {
    constructor() {
      throw new DOMException("insecure", "SecurityError");
    }
  });
  const channel = openBroadcast("x");
  expect(() => (channel.post({}), channel.close())).not.toThrow();
});
