// One client's end of the channel to the leader: a follower's worker, or the service worker.
import { linkChannelName, type ElectionChannel, type LinkClientChannel, type OpenChannel } from "./channel.ts";
import type { Carrier } from "./pending-requests.ts";
import type { Hosting, LinkAnswer, LinkClientKind, WireAnswer, WireRequest } from "../protocol/messages.ts";

/** An unanswered call to open the link is repeated this often. */
const CALL_AGAIN_MS = 500;

export interface LinkClientOptions {
  profile: string;
  self: string;
  leader: string;
  kind: LinkClientKind;
  election: Pick<ElectionChannel, "post">;
  open: OpenChannel;
  nowMs: () => number;
  /** From now on the leader listens. */
  onOpened: (carrier: Carrier) => void;
  onAnswer: (answer: WireAnswer) => void;
  onHosting: (hosting: Hosting) => void;
  /** The leader stopped in order. */
  onClosed: () => void;
}

export class LinkClient implements Carrier {
  readonly #channel: LinkClientChannel;
  #opened = false;
  #calledMs = 0;

  constructor(private readonly options: LinkClientOptions) {
    this.#channel = options.open(linkChannelName(options.profile, options.leader, options.self));
    this.#channel.onMessage = (message) => this.#received(message);
    this.#call();
  }

  send(request: WireRequest): void {
    this.#channel.post({ type: "request", request });
  }

  cancel(id: string): void {
    this.#channel.post({ type: "cancel", id });
  }

  acknowledge(id: string): void {
    this.#channel.post({ type: "acknowledge", id });
  }

  /** To be called every TICK_MS until closed. */
  tick(): void {
    if (!this.#opened && this.options.nowMs() - this.#calledMs >= CALL_AGAIN_MS) this.#call();
  }

  close(): void {
    this.#channel.post({ type: "close" });
    this.#channel.close();
  }

  #call(): void {
    const { self, leader, kind, election, nowMs } = this.options;
    this.#calledMs = nowMs();
    election.post({ type: "link", from: self, to: leader, client: kind });
  }

  #received(message: LinkAnswer): void {
    switch (message.type) {
      case "opened":
        this.options.onHosting(message.hosting);
        if (!this.#opened) {
          this.#opened = true;
          this.options.onOpened(this);
        }
        return;
      case "answer":
        return this.options.onAnswer(message.answer);
      case "hosting":
        return this.options.onHosting(message.hosting);
      case "alive?":
        return this.#channel.post({ type: "alive" });
      case "closed":
        return this.options.onClosed();
    }
  }
}
