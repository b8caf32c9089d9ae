// The leader's end of the channels to followers and service worker: takes their requests, gives answers and status.
import { linkChannelName, type LinkServerChannel, type OpenChannel } from "./channel.ts";
import { jsonAnswer } from "./wire.ts";
import type { ElectionMessage, Hosting, LinkRequest, WireAnswer, WireRequest } from "../protocol/messages.ts";

/** Tabs and service worker instances of one profile; the longest silent one makes room. */
export const LINKS_MAX = 64;
/** Requests of one client that may be in flight at once. */
export const LINK_REQUESTS_MAX = 256;
/** A client that said nothing for this long is asked whether it is there, and let go if it stays silent as long again. */
export const LINK_SILENCE_MAX_MS = 30_000;
/** How long a client has to say that it is alive. */
export const ALIVE_WAIT_MS = 250;

interface Link {
  client: string;
  isServiceWorker: boolean;
  channel: LinkServerChannel;
  inFlight: Set<string>;
  /** When the oldest request in flight came. */
  busySinceMs: number;
  heardMs: number;
  askedMs?: number;
  alive: (() => void)[];
}

export interface LinkServerOptions {
  profile: string;
  self: string;
  open: OpenChannel;
  nowMs: () => number;
  /** May never settle: then the request is lost with this leader. */
  serve: (request: WireRequest) => Promise<WireAnswer>;
  acknowledged: (id: string) => void;
  hosting: () => Hosting;
}

export class LinkServer {
  readonly #links = new Map<string, Link>();

  constructor(private readonly options: LinkServerOptions) {}

  /** Opens our end for a client that called. */
  accept({ from, client }: ElectionMessage & { type: "link" }): void {
    const link = this.#links.get(from) ?? this.#open(from, client === "service-worker");
    link.channel.post({ type: "opened", hosting: this.options.hosting() });
  }

  /** Tells every tab; the service worker does not care. */
  tell(hosting: Hosting): void {
    for (const link of this.#links.values()) if (!link.isServiceWorker) link.channel.post({ type: "hosting", hosting });
  }

  /** Whether `client` has a link and answers on it. */
  isAlive(client: string): Promise<boolean> {
    const link = this.#links.get(client);
    if (!link) return Promise.resolve(false);
    return new Promise((resolve) => {
      link.alive.push(() => resolve(true));
      setTimeout(() => resolve(false), ALIVE_WAIT_MS);
      link.channel.post({ type: "alive?" });
    });
  }

  /** How long the service worker has been waiting for its oldest answer, in ms; 0 when for none. */
  get serviceWorkerWaitsMs(): number {
    const waits = [...this.#links.values()]
      .filter(({ isServiceWorker, inFlight }) => isServiceWorker && inFlight.size > 0)
      .map(({ busySinceMs }) => this.options.nowMs() - busySinceMs);
    return Math.max(0, ...waits);
  }

  /** To be called every TICK_MS. */
  tick(): void {
    const nowMs = this.options.nowMs();
    for (const link of [...this.#links.values()]) {
      const silentMs = nowMs - link.heardMs;
      if (silentMs < LINK_SILENCE_MAX_MS) continue;
      if (link.askedMs === undefined || link.askedMs < link.heardMs) {
        link.askedMs = nowMs;
        link.channel.post({ type: "alive?" });
      } else if (nowMs - link.askedMs >= LINK_SILENCE_MAX_MS) {
        this.#drop(link);
      }
    }
  }

  /** Tells all clients to look for another leader. */
  close(): void {
    for (const link of this.#links.values()) {
      link.channel.post({ type: "closed" });
      link.channel.close();
    }
    this.#links.clear();
  }

  #open(client: string, isServiceWorker: boolean): Link {
    if (this.#links.size >= LINKS_MAX) this.#drop([...this.#links.values()].reduce((a, b) => (a.heardMs <= b.heardMs ? a : b)));
    const { profile, self, open, nowMs } = this.options;
    const channel: LinkServerChannel = open(linkChannelName(profile, self, client));
    const link: Link = { client, isServiceWorker, channel, inFlight: new Set(), busySinceMs: 0, heardMs: nowMs(), alive: [] };
    channel.onMessage = (message) => this.#received(link, message);
    this.#links.set(client, link);
    return link;
  }

  #drop(link: Link): void {
    link.channel.close();
    this.#links.delete(link.client);
  }

  #received(link: Link, message: LinkRequest): void {
    link.heardMs = this.options.nowMs();
    switch (message.type) {
      case "request":
        return void this.#serve(link, message.request);
      case "cancel":
        // The homeserver finishes what it began; only the answer is not wanted.
        link.inFlight.delete(message.id);
        return this.options.acknowledged(message.id);
      case "acknowledge":
        return this.options.acknowledged(message.id);
      case "alive":
        for (const resolve of link.alive.splice(0)) resolve();
        return;
      case "close":
        return this.#drop(link);
    }
  }

  async #serve(link: Link, request: WireRequest): Promise<void> {
    if (link.inFlight.size >= LINK_REQUESTS_MAX) {
      const content = { errcode: "M_LIMIT_EXCEEDED", error: "Too many requests at once.", retry_after_ms: 1_000 };
      return link.channel.post({ type: "answer", answer: jsonAnswer(request.id, 429, content) });
    }
    if (link.inFlight.size === 0) link.busySinceMs = this.options.nowMs();
    link.inFlight.add(request.id);
    const answer = await this.options.serve(request);
    if (link.inFlight.delete(request.id)) link.channel.post({ type: "answer", answer });
  }
}
