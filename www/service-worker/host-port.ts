// The service worker's way to the tab that hosts a profile. It keeps no state: whatever it knows it asks again on waking.
import { electionChannelName, openBroadcast, type ElectionChannel, type OpenChannel } from "../host/channel.ts";
import { Election, TICK_MS, type ElectionEffect, type ElectionInput } from "../host/election.ts";
import { LinkClient } from "../host/link-client.ts";
import { PendingRequests } from "../host/pending-requests.ts";
import { unavailable } from "../host/wire.ts";
import type { Build, WireAnswer, WireRequest } from "../protocol/messages.ts";

/** How long a request waits while there are tabs but none hosts: one may be starting, or taking over. */
export const NO_HOST_WAIT_MS = 6_000;
/** The browser ends a service worker's request after some 300 s; ours says why before that. */
export const REQUEST_MAX_MS = 280_000;

export interface HostPortOptions {
  profile: string;
  /** Names this run of the service worker. */
  instance: string;
  build: Build;
  /** Whether any tab of this origin is open at all. */
  hasTabs: () => Promise<boolean>;
  open?: OpenChannel;
  nowMs?: () => number;
}

export class HostPort {
  readonly #pending: PendingRequests;
  readonly #election: Election;
  readonly #channel: ElectionChannel;
  readonly #open: OpenChannel;
  readonly #nowMs: () => number;
  #link?: LinkClient;
  #ticking?: ReturnType<typeof setInterval>;

  constructor(private readonly options: HostPortOptions) {
    const { profile, instance, build, open = openBroadcast, nowMs = Date.now } = options;
    this.#open = open;
    this.#nowMs = nowMs;
    this.#pending = new PendingRequests({ nowMs, waitMaxMs: NO_HOST_WAIT_MS });
    this.#election = new Election({ id: instance, build, by: "never" });
    this.#channel = open(electionChannelName(profile));
    this.#channel.onMessage = (message) => this.#feed({ type: "message", message });
  }

  /** Never rejects: 503 when no tab hosts, or the one that did took an unrepeatable request with it. */
  async ask(request: WireRequest): Promise<WireAnswer> {
    this.#tick(true);
    const late = setTimeout(() => this.#giveUp(request.id), REQUEST_MAX_MS);
    const answer = this.#pending.ask(request);
    if (!this.#link && !(await this.options.hasTabs())) {
      const error = "No tab of this browser is running the homeserver: open Warren in a tab.";
      this.#pending.answered(unavailable(request.id, error));
    }
    try {
      return await answer;
    } finally {
      clearTimeout(late);
      if (this.#pending.size === 0) this.#tick(false);
    }
  }

  cancel(id: string): void {
    this.#pending.cancel(id);
    if (this.#pending.size === 0) this.#tick(false);
  }

  /** The answer is the browser's now: it will not pass this request again. */
  handedOver(id: string): void {
    this.#link?.acknowledge(id);
  }

  #giveUp(id: string): void {
    this.#link?.cancel(id);
    this.#pending.answered(unavailable(id, "The homeserver took too long; whether the request took effect is not known."));
  }

  /** Watches the leader only while somebody waits for it; the rest of the time this worker sleeps or is gone. */
  #tick(on: boolean): void {
    if (!on) {
      clearInterval(this.#ticking);
      this.#ticking = undefined;
    } else if (this.#ticking === undefined) {
      this.#ticking = setInterval(() => {
        this.#feed({ type: "tick" });
        this.#link?.tick();
        this.#pending.expire();
      }, TICK_MS);
      this.#feed({ type: "start" });
    }
  }

  #feed(input: ElectionInput): void {
    for (const effect of this.#election.handle(input, this.#nowMs())) this.#carryOut(effect);
  }

  #carryOut(effect: ElectionEffect): void {
    switch (effect.type) {
      case "send":
        return this.#channel.post(effect.message);
      case "follow":
        return this.#follow(effect.leader);
      case "wait":
        return this.#lost();
      case "outdated":
        // The browser updates a service worker by itself.
        return;
      case "lead":
      case "request-lock":
      case "steal-lock":
      case "superseded":
      case "hand-over":
        throw new Error(`a service worker never leads: ${effect.type}`);
    }
  }

  #follow(leader: string): void {
    this.#lost();
    const { profile, instance } = this.options;
    this.#link = new LinkClient({
      profile,
      self: instance,
      leader,
      kind: "service-worker",
      election: this.#channel,
      open: this.#open,
      nowMs: this.#nowMs,
      onOpened: (carrier) => this.#pending.connect(carrier),
      // Acknowledged when it has been handed over; one that nobody waits for any more, now.
      onAnswer: (answer) => void (this.#pending.answered(answer) || this.handedOver(answer.id)),
      onHosting: () => undefined,
      onClosed: () => this.#lost(),
    });
  }

  #lost(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#pending.disconnect();
  }
}
