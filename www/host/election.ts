// Decides which worker of a profile hosts: a pure state machine over messages, ticks and lock events, so that every
// order of them can be tried in a test. tenure.ts connects it to the browser.
//
// With Web Locks the lock decides and the messages only find out who holds it and whether it still breathes; a holder
// that is silent (hung, or frozen by the browser with its lock) is robbed of it. Without Web Locks (plain http, other
// than localhost) the messages decide. Two leaders at once are possible for a moment either way: the store's fencing
// epoch makes that harmless, the term makes it short.
import { PROTOCOL_VERSION, type Build, type ElectionMessage } from "../protocol/messages.ts";

/** How often the machine wants to be told the time. */
export const TICK_MS = 250;
/** A tick this late means that we were frozen ourselves, and that silence proves nothing. */
export const FROZEN_AFTER_MS = 1_000;
/** Silence after which the leader is asked whether it is there. */
export const PING_AFTER_MS = 500;
/** Silence after which the leader is taken to hang. */
export const SILENCE_MAX_MS = 1_700;
/**
 * The same for one that only wants to find the leader: it cannot take over, and what it asked for may be in hand. A
 * leader that was replaced is known by its successor or its farewell, long before.
 */
export const WATCHER_SILENCE_MAX_MS = 6_000;
/** How long a claim waits for a better one, or for a leader to object. */
export const CLAIM_WAIT_MS = 200;
/** The same for the first claim of a worker that has no Web Locks: a busy leader needs time to object. */
export const FIRST_CLAIM_WAIT_MS = 500;
/** Not asked again sooner: handing over takes a moment. */
export const HAND_OVER_AGAIN_AFTER_MS = 3_000;

export type ElectionInput =
  | { type: "start" }
  | { type: "tick" }
  | { type: "message"; message: ElectionMessage }
  | { type: "lock-granted" }
  | { type: "lock-lost" };

export type ElectionEffect =
  | { type: "send"; message: ElectionMessage }
  /** Queue for the lock. */
  | { type: "request-lock" }
  /** Leave the queue and take the lock from whoever holds it. */
  | { type: "steal-lock" }
  | { type: "lead"; term: number }
  | { type: "follow"; leader: string; term: number }
  /** Nobody leads, as far as we know. */
  | { type: "wait" }
  /** We led, and another does now: this worker must write no more. */
  | { type: "superseded"; reason: string }
  /** We lead with an older build than `newer`: stop in order and leave. */
  | { type: "hand-over"; newer: Build }
  /** We follow a leader of a newer build. */
  | { type: "outdated"; newer: Build };

export interface Candidacy {
  /** Unique to this worker; of two claims the smaller id wins. */
  id: string;
  build: Build;
  /** "lock": Web Locks decide. "claim": there are none. "never": only wants to find the leader (service worker). */
  by: "lock" | "claim" | "never";
}

type Standing = "waiting" | "claiming" | "stealing" | "following" | "leading" | "over";

export class Election {
  #standing: Standing = "waiting";
  #leader?: { id: string; term: number };
  #highestTerm = 0;
  #heardMs = 0;
  #askedMs = 0;
  #tickedMs = 0;
  #handOverAskedMs = -Infinity;
  #claim?: { term: number; sinceMs: number; waitMs: number };
  #effects: ElectionEffect[] = [];

  constructor(private readonly self: Candidacy) {}

  get leader(): string | undefined {
    return this.#leader?.id;
  }

  /** Feeds one event at time `nowMs` (any monotonic-enough clock; terms use it too, so prefer wall time). */
  handle(input: ElectionInput, nowMs: number): ElectionEffect[] {
    this.#effects = [];
    if (this.#standing !== "over") this.#dispatch(input, nowMs);
    return this.#effects;
  }

  #dispatch(input: ElectionInput, nowMs: number): void {
    switch (input.type) {
      case "start":
        return this.#start(nowMs);
      case "tick":
        return this.#tick(nowMs);
      case "message":
        return this.#message(input.message, nowMs);
      case "lock-granted":
        return this.#lead(nowMs);
      case "lock-lost":
        return this.#lockLost(nowMs);
    }
  }

  #start(nowMs: number): void {
    this.#heardMs = this.#tickedMs = this.#askedMs = nowMs;
    this.#send({ type: "hello", from: this.self.id });
    if (this.self.by === "lock") this.#effects.push({ type: "request-lock" });
    if (this.self.by === "claim") this.#startClaim(nowMs, FIRST_CLAIM_WAIT_MS);
  }

  #tick(nowMs: number): void {
    const wasFrozen = nowMs - this.#tickedMs > FROZEN_AFTER_MS;
    this.#tickedMs = nowMs;
    if (this.#standing === "leading") {
      // Somebody may lead in our place by now; saying so makes them, or us, step down.
      if (wasFrozen) this.#announce();
      return;
    }
    if (wasFrozen) {
      this.#heardMs = nowMs;
      if (this.#standing === "claiming") this.#startClaim(nowMs, CLAIM_WAIT_MS);
    }
    if (this.#standing === "claiming" && this.#claim) {
      if (nowMs - this.#claim.sinceMs >= this.#claim.waitMs) this.#claimStood(nowMs);
      return;
    }
    const silenceMs = nowMs - this.#heardMs;
    const silenceMaxMs = this.self.by === "never" ? WATCHER_SILENCE_MAX_MS : SILENCE_MAX_MS;
    if (silenceMs >= silenceMaxMs) return this.#leaderIsSilent(nowMs);
    const isQuiet = silenceMs >= PING_AFTER_MS && nowMs - this.#askedMs >= PING_AFTER_MS;
    if (isQuiet || wasFrozen) this.#ask(nowMs);
  }

  #ask(nowMs: number): void {
    this.#askedMs = nowMs;
    this.#send({ type: this.#leader ? "ping" : "hello", from: this.self.id });
  }

  #leaderIsSilent(nowMs: number): void {
    if (this.self.by === "never") {
      this.#forgetLeader();
      this.#heardMs = nowMs;
      this.#ask(nowMs);
    } else {
      this.#startClaim(nowMs, CLAIM_WAIT_MS);
    }
  }

  #startClaim(nowMs: number, waitMs: number): void {
    this.#standing = "claiming";
    this.#claim = { term: this.#nextTerm(nowMs), sinceMs: nowMs, waitMs };
    this.#send({ type: "claim", from: this.self.id, term: this.#claim.term });
  }

  #claimStood(nowMs: number): void {
    if (this.self.by === "claim") return this.#lead(nowMs);
    this.#standing = "stealing";
    // Should the steal not come through either, the silence starts over.
    this.#heardMs = nowMs;
    this.#effects.push({ type: "steal-lock" });
  }

  #lead(nowMs: number): void {
    if (this.#standing === "leading") return;
    const term = this.#nextTerm(nowMs);
    this.#standing = "leading";
    this.#highestTerm = term;
    this.#leader = { id: this.self.id, term };
    this.#announce();
    this.#effects.push({ type: "lead", term });
  }

  #lockLost(nowMs: number): void {
    if (this.#standing === "leading") return this.#superseded("another tab took the profile over");
    // Stolen back from us before we began: whoever did it will say so.
    this.#standing = "waiting";
    this.#heardMs = nowMs;
    this.#effects.push({ type: "request-lock" });
  }

  #message(message: ElectionMessage, nowMs: number): void {
    if (message.from === this.self.id) return;
    switch (message.type) {
      case "hello":
      case "ping":
        if (this.#standing === "leading") this.#announce();
        // One question is enough for all who wait for its answer.
        else this.#askedMs = nowMs;
        return;
      case "leading":
        return this.#standing === "leading" ? this.#rival(message) : this.#follow(message, nowMs);
      case "claim":
        if (this.#standing === "leading") this.#announce();
        else if (this.#standing === "claiming") this.#compareClaims(message.from, nowMs);
        return;
      case "leaving":
        if (message.from === this.#leader?.id) this.#leaderLeft(nowMs);
        return;
      case "hand-over":
        if (message.to === this.self.id && this.#standing === "leading" && isNewer(message.build, this.self.build)) {
          this.#standing = "over";
          this.#effects.push({ type: "hand-over", newer: message.build });
        }
        return;
      case "link":
        return;
    }
  }

  /** Two say that they lead: the later term does; of equal terms the smaller id. */
  #rival(message: ElectionMessage & { type: "leading" }): void {
    const ours = this.#leader?.term ?? 0;
    if (message.term > ours || (message.term === ours && message.from < this.self.id)) {
      this.#superseded("another tab leads since then");
    } else {
      this.#announce();
    }
  }

  #follow(message: ElectionMessage & { type: "leading" }, nowMs: number): void {
    if (message.term < this.#highestTerm && message.from !== this.#leader?.id) return;
    this.#heardMs = nowMs;
    this.#highestTerm = Math.max(this.#highestTerm, message.term);
    const isNews = this.#leader?.id !== message.from;
    if (this.#standing !== "stealing") {
      this.#standing = "following";
      this.#claim = undefined;
    }
    this.#leader = { id: message.from, term: message.term };
    const speaksOurs = message.protocol === PROTOCOL_VERSION;
    if (isNewer(this.self.build, message.build) && this.self.by !== "never") this.#askToHandOver(message.from, nowMs);
    if (isNews && isNewer(message.build, this.self.build)) {
      this.#effects.push({ type: "outdated", newer: message.build });
    }
    if (isNews && speaksOurs) this.#effects.push({ type: "follow", leader: message.from, term: message.term });
  }

  #askToHandOver(leader: string, nowMs: number): void {
    if (nowMs - this.#handOverAskedMs < HAND_OVER_AGAIN_AFTER_MS) return;
    this.#handOverAskedMs = nowMs;
    this.#send({ type: "hand-over", from: this.self.id, to: leader, build: this.self.build });
  }

  #compareClaims(other: string, nowMs: number): void {
    if (other > this.self.id) {
      // It may have begun to listen after our claim was said.
      if (this.#claim) this.#send({ type: "claim", from: this.self.id, term: this.#claim.term });
      return;
    }
    this.#standing = "waiting";
    this.#claim = undefined;
    this.#heardMs = nowMs;
    this.#forgetLeader();
  }

  #leaderLeft(nowMs: number): void {
    this.#forgetLeader();
    this.#heardMs = nowMs;
    if (this.self.by === "claim") this.#startClaim(nowMs, CLAIM_WAIT_MS);
  }

  #forgetLeader(): void {
    if (this.#standing === "following") this.#standing = "waiting";
    if (!this.#leader) return;
    this.#leader = undefined;
    this.#effects.push({ type: "wait" });
  }

  #superseded(reason: string): void {
    this.#standing = "over";
    this.#effects.push({ type: "superseded", reason });
  }

  #announce(): void {
    if (!this.#leader) return;
    const { build } = this.self;
    this.#send({ type: "leading", from: this.self.id, term: this.#leader.term, build, protocol: PROTOCOL_VERSION });
  }

  /** Later than every term seen, and, since it is the time, than those not seen. */
  #nextTerm(nowMs: number): number {
    return Math.max(this.#highestTerm + 1, Math.floor(nowMs));
  }

  #send(message: ElectionMessage): void {
    this.#effects.push({ type: "send", message });
  }
}

function isNewer(a: Build, b: Build): boolean {
  return a.time > b.time;
}
