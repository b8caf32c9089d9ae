// Elections among simulated workers: every message delayed, workers frozen, killed and thawed, with and without locks.
import { describe, expect, test } from "vitest";
import { Election, TICK_MS, WATCHER_SILENCE_MAX_MS, type Candidacy, type ElectionEffect, type ElectionInput } from "./election.ts";
import type { ElectionMessage } from "../protocol/messages.ts";

const TAKEOVER_MAX_MS = 3_000;

/** A browser in miniature: one broadcast channel, one lock, one clock. */
class Browser {
  now = 1_000_000;
  members: Member[] = [];
  #events: { at: number; run: () => void }[] = [];
  #lock: Member[] = [];
  #delay: () => number;

  constructor(delay: () => number = () => 1) {
    this.#delay = delay;
  }

  open(id: string, by: Candidacy["by"] = "lock", time = 1): Member {
    const member = new Member(this, { id, by, build: { id: `build ${time}`, time } });
    this.members.push(member);
    member.feed({ type: "start" });
    this.at(TICK_MS, () => member.tick());
    return member;
  }

  at(inMs: number, run: () => void): void {
    this.#events.push({ at: this.now + inMs, run });
  }

  broadcast(from: Member | undefined, message: ElectionMessage): void {
    for (const to of this.members) if (to !== from) this.at(this.#delay(), () => to.feed({ type: "message", message }));
  }

  request(member: Member): void {
    if (!this.#lock.includes(member)) this.#lock.push(member);
    this.#grant();
  }

  steal(member: Member): void {
    const robbed = this.#lock[0];
    this.#lock = [member, ...this.#lock.filter((other) => other !== member && other !== robbed)];
    if (robbed && robbed !== member) this.at(1, () => robbed.feed({ type: "lock-lost" }));
    robbed?.wasGranted(false);
    this.#grant();
  }

  release(member: Member): void {
    this.#lock = this.#lock.filter((other) => other !== member);
    member.wasGranted(false);
    this.#grant();
  }

  #grant(): void {
    const holder = this.#lock[0];
    if (holder && holder.wasGranted(true)) this.at(1, () => holder.feed({ type: "lock-granted" }));
  }

  run(forMs: number): void {
    const end = this.now + forMs;
    for (;;) {
      const next = this.#events.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#events.splice(this.#events.indexOf(next), 1);
      this.now = next.at;
      next.run();
    }
    this.now = end;
  }

  get leaders(): string[] {
    return this.members.filter(({ alive, leads }) => alive && leads).map(({ id }) => id);
  }
}

class Member {
  alive = true;
  leads = false;
  follows?: string;
  outdated = false;
  supersededBecause?: string;
  #frozen = false;
  #missed: ElectionInput[] = [];
  #granted = false;
  readonly election: Election;

  constructor(
    private readonly browser: Browser,
    private readonly self: Candidacy,
  ) {
    this.election = new Election(self);
  }

  get id(): string {
    return this.self.id;
  }

  wasGranted(granted: boolean): boolean {
    const changed = granted && !this.#granted;
    this.#granted = granted;
    return changed;
  }

  tick(): void {
    if (!this.alive) return;
    if (!this.#frozen) this.feed({ type: "tick" });
    this.browser.at(TICK_MS, () => this.tick());
  }

  feed(input: ElectionInput): void {
    if (!this.alive) return;
    if (this.#frozen) void this.#missed.push(input);
    else for (const effect of this.election.handle(input, this.browser.now)) this.#carryOut(effect);
  }

  #carryOut(effect: ElectionEffect): void {
    switch (effect.type) {
      case "send":
        return this.browser.broadcast(this, effect.message);
      case "request-lock":
        return this.browser.request(this);
      case "steal-lock":
        return this.browser.steal(this);
      case "lead":
        this.leads = true;
        this.follows = undefined;
        return;
      case "follow":
        this.follows = effect.leader;
        return;
      case "wait":
        this.follows = undefined;
        return;
      case "superseded":
        this.leads = false;
        this.supersededBecause = effect.reason;
        return this.close();
      case "hand-over":
        this.leads = false;
        this.outdated = true;
        this.browser.broadcast(this, { type: "leaving", from: this.id });
        return this.close();
      case "outdated":
        this.outdated = true;
        return;
    }
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    for (const input of this.#missed.splice(0)) this.feed(input);
  }

  /** Ends without a word, as a terminated worker does. */
  close(): void {
    this.alive = false;
    this.leads = false;
    this.browser.release(this);
  }
}

describe.each(["lock", "claim"] as const)("by %s", (by) => {
  test("one leads, the others follow it", () => {
    const browser = new Browser();
    const [a, b, c] = [browser.open("a", by), browser.open("b", by), browser.open("c", by)];
    browser.run(2_000);
    expect(browser.leaders).toEqual(["a"]);
    expect([a?.follows, b?.follows, c?.follows]).toEqual([undefined, "a", "a"]);
  });

  test("a tab opened later follows within a tenth of a second", () => {
    const browser = new Browser();
    browser.open("z", by);
    browser.run(2_000);
    const late = browser.open("a", by);
    browser.run(100);
    expect(late.follows).toBe("z");
    browser.run(5_000);
    expect(browser.leaders).toEqual(["z"]);
  });

  test.each([[1], [5], [40]])("a hung leader is replaced in time by exactly one (messages take %i ms)", (delay) => {
    const browser = new Browser(() => delay);
    const leader = browser.open("a", by);
    const [b, c, d] = [browser.open("b", by), browser.open("c", by), browser.open("d", by)];
    browser.run(5_000);
    leader.freeze();
    browser.run(TAKEOVER_MAX_MS - 500);
    expect(browser.leaders.filter((id) => id !== "a")).toEqual(["b"]);
    expect([c.follows, d.follows]).toEqual(["b", "b"]);
    expect(b.leads).toBe(true);
    leader.thaw();
    browser.run(500);
    expect(leader.supersededBecause).toBeDefined();
    expect(browser.leaders).toEqual(["b"]);
  });

  test("whoever was frozen itself does not take the silence for the leader's", () => {
    const browser = new Browser();
    browser.open("a", by);
    const sleeper = browser.open("b", by);
    browser.run(3_000);
    sleeper.freeze();
    browser.run(60_000);
    sleeper.thaw();
    browser.run(5_000);
    expect(browser.leaders).toEqual(["a"]);
    expect(sleeper.follows).toBe("a");
  });

  test("all frozen together (sleep of the machine): the leader stays", () => {
    const browser = new Browser();
    const all = [browser.open("a", by), browser.open("b", by), browser.open("c", by)];
    browser.run(3_000);
    for (const member of all) member.freeze();
    browser.run(600_000);
    for (const member of all.reverse()) member.thaw();
    browser.run(5_000);
    expect(browser.leaders).toEqual(["a"]);
  });

  test("a leader that says goodbye is replaced at once", () => {
    const browser = new Browser();
    const leader = browser.open("a", by);
    const next = browser.open("b", by);
    browser.run(3_000);
    browser.broadcast(leader, { type: "leaving", from: "a" });
    leader.close();
    browser.run(300);
    expect(next.leads).toBe(true);
  });

  test("a leader that vanishes without a word is replaced in time", () => {
    const browser = new Browser();
    const leader = browser.open("a", by);
    const [next, other] = [browser.open("b", by), browser.open("c", by)];
    browser.run(3_000);
    leader.close();
    browser.run(TAKEOVER_MAX_MS - 500);
    expect(browser.leaders).toEqual(["b"]);
    expect([next.leads, other.follows]).toEqual([true, "b"]);
  });

  test("a newer build makes the older leader hand over, an older one does not", () => {
    const browser = new Browser();
    const leader = browser.open("a", by, 2);
    browser.run(3_000);
    const older = browser.open("b", by, 1);
    browser.run(3_000);
    expect(browser.leaders).toEqual(["a"]);
    expect(older.outdated).toBe(true);
    older.close();
    const newer = browser.open("c", by, 3);
    browser.run(1_000);
    expect(browser.leaders).toEqual(["c"]);
    expect(leader.outdated).toBe(true);
    expect(newer.outdated).toBe(false);
  });

  test("a service worker finds the leader, loses it, and never leads", () => {
    const browser = new Browser();
    const leader = browser.open("b", by);
    browser.run(1_000);
    const watcher = browser.open("a", "never");
    browser.run(100);
    expect(watcher.follows).toBe("b");
    leader.close();
    browser.run(WATCHER_SILENCE_MAX_MS + TICK_MS);
    expect(watcher.follows).toBeUndefined();
    browser.run(60_000);
    expect(browser.leaders).toEqual([]);
    browser.open("c", by);
    browser.run(1_000);
    expect(watcher.follows).toBe("c");
  });
});

test("a lock held by a page frozen with it (bfcache) is stolen by a tab that never saw it lead", () => {
  const browser = new Browser();
  const frozen = browser.open("a");
  browser.run(3_000);
  frozen.freeze();
  const fresh = browser.open("b");
  browser.run(TAKEOVER_MAX_MS - 500);
  expect(fresh.leads).toBe(true);
});

test.each(["lock", "claim"] as const)("by %s: after any storm of openings, freezes, thaws and ends there is one leader", (by) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = generator(seed);
    const browser = new Browser(() => 1 + Math.floor(random() * 30));
    let opened = 0;
    for (let round = 0; round < 40; round++) {
      const member = browser.members[Math.floor(random() * browser.members.length)];
      const dice = random();
      if (dice < 0.3 || !member) browser.open(`w${Math.floor(random() * 1e9)}-${opened++}`, by);
      else if (dice < 0.5) member.freeze();
      else if (dice < 0.8) member.thaw();
      else member.close();
      browser.run(random() * 1_500);
    }
    for (const member of browser.members) member.thaw();
    browser.open("the last", by);
    browser.run(10_000);
    const leaders = browser.leaders;
    expect(leaders, `seed ${seed}`).toHaveLength(1);
    for (const member of browser.members) {
      if (member.alive && !member.leads) expect(member.follows, `seed ${seed}: ${member.id}`).toBe(leaders[0]);
    }
  }
});

function generator(seed: number): () => number {
  let state = seed * 2654435761;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}
