// Joins a room by its link, step by step, so that the page can say what is going on and why it did not work.

import { explainError, joinFailure } from "./explain-error.ts";
import type { JoinLink } from "./join-link.ts";
import { Observable, type Readable } from "./observable.ts";
import { strings } from "../strings.ts";

export type JoinStep =
  | { at: "waiting-for-relay" | "asking" }
  | { at: "joined"; roomId: string }
  /** `forGood`: trying again would not help, and `title` does not say that it might. */
  | { at: "failed"; title: string; why: string; forGood: boolean };

export type RelayState = "none" | "connecting" | "connected" | "offline" | undefined;

/** A page that just opened is not connected yet; asking at once would fail for no reason. */
export const RELAY_WAIT_MAX_MS = 10_000;

/** What joining needs of an account. */
export interface JoiningAccount {
  joinByLink(roomId: string, via: string[]): Promise<void>;
  giveAddressHints(server: string, addresses: string[]): Promise<void>;
}

export class Joining {
  readonly #account: JoiningAccount;
  readonly #link: JoinLink;
  readonly #relay: Readable<RelayState>;
  readonly #step = new Observable<JoinStep>({ at: "asking" });
  #running = false;
  #stopWaiting: (() => void) | undefined;

  readonly step: Readable<JoinStep> = this.#step;

  constructor(account: JoiningAccount, link: JoinLink, relay: Readable<RelayState>) {
    this.#account = account;
    this.#link = link;
    this.#relay = relay;
  }

  /** Begins, or begins again after a failure. Does nothing while it runs. */
  async start(): Promise<void> {
    if (this.#running || this.#step.get().at === "joined") return;
    this.#running = true;
    this.stop();
    try {
      await this.#run();
    } catch (error) {
      const failure = joinFailure(error, this.#relay.get() === "offline");
      if (failure === "offline") this.#startWhenBack();
      const why = failure === "other" || failure === "apart" ? explainError(error) : strings.join.failed[failure];
      const forGood = failure === "apart";
      this.#step.set({ at: "failed", title: forGood ? strings.join.neverTitle : strings.join.failedTitle, why, forGood });
    } finally {
      this.#running = false;
    }
  }

  /** Does not try again by itself any more. */
  stop(): void {
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
  }

  #startWhenBack(): void {
    this.#stopWaiting = this.#relay.subscribe(() => {
      if (this.#relay.get() === "connected") void this.start();
    });
  }

  async #run(): Promise<void> {
    const { roomId, via, addresses } = this.#link;
    if (this.#relay.get() === "connecting" || this.#relay.get() === undefined) {
      this.#step.set({ at: "waiting-for-relay" });
      await settled(this.#relay, RELAY_WAIT_MAX_MS);
    }
    this.#step.set({ at: "asking" });
    const [maker] = via;
    if (maker !== undefined && addresses.length > 0) await this.#giveHints(maker, addresses);
    await this.#account.joinByLink(roomId, via);
    this.#step.set({ at: "joined", roomId });
  }

  /** Hints help, but the homeserver may know the way without them: their refusal does not end the join. */
  async #giveHints(server: string, addresses: string[]): Promise<void> {
    try {
      await this.#account.giveAddressHints(server, addresses);
    } catch (error) {
      console.warn("the homeserver refused the address hints of a link", error);
    }
  }
}

/** Resolves when the relay is neither unknown nor being connected to, or after `maxMs`. */
function settled(relay: Readable<RelayState>, maxMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      stop();
      resolve();
    };
    const timer = setTimeout(done, maxMs);
    const stop = relay.subscribe(() => {
      const state = relay.get();
      if (state !== "connecting" && state !== undefined) done();
    });
  });
}
