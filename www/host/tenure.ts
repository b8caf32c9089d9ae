// Connects the election to the browser: Web Lock, broadcast channel and clock. One of them a worker.
import { electionChannelName, type ElectionChannel, type OpenChannel } from "./channel.ts";
import { Election, TICK_MS, type ElectionEffect, type ElectionInput } from "./election.ts";
import type { Build, ElectionMessage } from "../protocol/messages.ts";

export interface TenureOptions {
  profile: string;
  /** This worker. */
  id: string;
  build: Build;
  /** Absent where the browser has none: not a secure context. */
  locks: LockManager | undefined;
  open: OpenChannel;
  onLead: (term: number) => void;
  onFollow: (leader: string, term: number) => void;
  onWait: () => void;
  onSuperseded: (reason: string) => void;
  /** Stop in order; then call `leave`. */
  onHandOver: (newer: Build) => void;
  onOutdated: (newer: Build) => void;
  onLink: (message: ElectionMessage & { type: "link" }) => void;
  onTick: () => void;
}

export class Tenure {
  readonly channel: ElectionChannel;
  #election: Election;
  readonly #timer: ReturnType<typeof setInterval>;
  #queued?: AbortController;
  #release?: () => void;
  #left = false;

  constructor(private readonly options: TenureOptions) {
    const { profile, id, build, locks, open } = options;
    this.#election = new Election({ id, build, by: locks ? "lock" : "claim" });
    this.channel = open(electionChannelName(profile));
    this.channel.onMessage = (message) => {
      if (message.type === "link" && message.to === id) options.onLink(message);
      this.#feed({ type: "message", message });
    };
    this.#timer = setInterval(() => {
      this.#feed({ type: "tick" });
      options.onTick();
    }, TICK_MS);
    this.#feed({ type: "start" });
  }

  /** Gives the profile up; says so to the others. Nothing is called back afterwards. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    clearInterval(this.#timer);
    this.#queued?.abort();
    this.channel.post({ type: "leaving", from: this.options.id });
    this.#release?.();
    this.channel.close();
  }

  #feed(input: ElectionInput): void {
    if (this.#left) return;
    for (const effect of this.#election.handle(input, Date.now())) this.#carryOut(effect);
  }

  #carryOut(effect: ElectionEffect): void {
    switch (effect.type) {
      case "send":
        return this.channel.post(effect.message);
      case "request-lock":
        return this.#requestLock(false);
      case "steal-lock":
        return this.#requestLock(true);
      case "lead":
        return this.options.onLead(effect.term);
      case "follow":
        return this.options.onFollow(effect.leader, effect.term);
      case "wait":
        return this.options.onWait();
      case "superseded":
        return this.options.onSuperseded(effect.reason);
      case "hand-over":
        return this.options.onHandOver(effect.newer);
      case "outdated":
        return this.options.onOutdated(effect.newer);
    }
  }

  /** The browser has locks and refuses them: storage is blocked. */
  #goOnWithoutLocks(): void {
    const { id, build } = this.options;
    this.#election = new Election({ id, build, by: "claim" });
    this.#feed({ type: "start" });
  }

  #requestLock(steal: boolean): void {
    const { locks, profile } = this.options;
    if (!locks) return;
    this.#queued?.abort();
    this.#queued = new AbortController();
    const { signal } = this.#queued;
    const held = () =>
      new Promise<void>((release) => {
        this.#release = release;
        if (this.#left) release();
        else this.#feed({ type: "lock-granted" });
      });
    // A request may either steal or be aborted.
    const options: LockOptions = steal ? { steal } : { signal };
    locks.request(`warren/${profile}`, options, held).catch((error: unknown) => {
      if (signal.aborted) return;
      const isStolen = error instanceof DOMException && error.name === "AbortError";
      if (isStolen) this.#feed({ type: "lock-lost" });
      else this.#goOnWithoutLocks();
    });
  }
}
