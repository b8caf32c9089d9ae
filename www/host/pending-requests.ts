// Requests on their way to a homeserver that may go away and come back elsewhere: each gets exactly one answer.
import { isRepeatable } from "./answer-memory.ts";
import { isNamed, unavailable } from "./wire.ts";
import type { WireAnswer, WireRequest } from "../protocol/messages.ts";

/** How often one request is sent again because whoever had it went away; it may be what drove them away. */
export const SENT_AGAIN_MAX = 2;
/** More than this many at once are refused. */
export const PENDING_MAX = 1_000;

/** The present way to the homeserver. */
export interface Carrier {
  send(request: WireRequest): void;
  cancel(id: string): void;
}

interface Pending {
  request: WireRequest;
  answer: (answer: WireAnswer) => void;
  /** Undefined while it waits for a carrier. */
  sentBy?: Carrier;
  sentAgain: number;
  /** When it began to wait for a carrier. */
  sinceMs: number;
}

export interface PendingRequestsOptions {
  nowMs: () => number;
  /** How long a request waits for somebody to host before it is answered 503. */
  waitMaxMs: number;
}

export class PendingRequests {
  readonly #pending = new Map<string, Pending>();
  #carrier?: Carrier;

  constructor(private readonly options: PendingRequestsOptions) {}

  /** Never rejects: what cannot be answered is answered 503. */
  ask(request: WireRequest): Promise<WireAnswer> {
    if (this.#pending.size >= PENDING_MAX) {
      return Promise.resolve(unavailable(request.id, "Too many requests are waiting for the homeserver; this one was not made."));
    }
    return new Promise((answer) => {
      const pending: Pending = { request, answer, sentAgain: 0, sinceMs: this.options.nowMs() };
      this.#pending.set(request.id, pending);
      if (this.#carrier) this.#send(pending, this.#carrier);
    });
  }

  /** Returns whether anybody waited for it. */
  answered(answer: WireAnswer): boolean {
    const pending = this.#pending.get(answer.id);
    if (!pending) return false;
    this.#pending.delete(answer.id);
    pending.answer(answer);
    return true;
  }

  /** Whoever asked no longer wants the answer, and gets none. */
  cancel(id: string): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.sentBy?.cancel(id);
  }

  /** From now on requests go by `carrier`; what another one had is lost. */
  connect(carrier: Carrier): void {
    if (this.#carrier !== carrier) this.disconnect();
    this.#carrier = carrier;
    for (const pending of [...this.#pending.values()]) if (!pending.sentBy) this.#send(pending, carrier);
  }

  /** Whoever had our requests is gone: what may be done again waits for the next one, the rest is answered 503. */
  disconnect(): void {
    this.#carrier = undefined;
    for (const pending of [...this.#pending.values()]) if (pending.sentBy) this.#lost(pending);
  }

  /** To be called every now and then: answers what has waited too long for a carrier. */
  expire(): void {
    if (this.#carrier) return;
    for (const { request, sinceMs, sentAgain } of [...this.#pending.values()]) {
      if (this.options.nowMs() - sinceMs < this.options.waitMaxMs) continue;
      const effect = sentAgain > 0 ? "whether the request took effect is not known" : "the request was not made";
      this.answered(unavailable(request.id, `No tab of this browser is running the homeserver; ${effect}.`));
    }
  }

  /** Answers everything 503 for a reason that will not pass. */
  refuseAll(error: string): void {
    for (const id of [...this.#pending.keys()]) this.answered(unavailable(id, error));
  }

  get size(): number {
    return this.#pending.size;
  }

  #send(pending: Pending, carrier: Carrier): void {
    pending.sentBy = carrier;
    carrier.send(pending.request);
  }

  #lost(pending: Pending): void {
    if (mayBeSentAgain(pending.request) && pending.sentAgain < SENT_AGAIN_MAX) {
      pending.sentBy = undefined;
      pending.sentAgain += 1;
      pending.sinceMs = this.options.nowMs();
      return;
    }
    const error = "The tab that ran the homeserver went away; whether the request took effect is not known.";
    this.answered(unavailable(pending.request.id, error));
  }
}

/** Reading does nothing, Matrix gives every PUT a transaction id or a state to reach, and we name what else must happen once. */
export function mayBeSentAgain(request: Pick<WireRequest, "method" | "url" | "headers">): boolean {
  return isRepeatable(request) || request.method === "PUT" || isNamed(request);
}
