// Makes a request that a service worker delivers twice happen once.
//
// Chrome passes a request again, whatever its method, to a fresh service worker when the one that had it was stopped
// before it answered. The ids that the first one made died with it, so the second delivery looks like a new request.
// What tells the two apart from two deliberate requests:
//   - only a *different* instance of the service worker can deliver again; one instance passes each request once;
//   - only what the first instance did not acknowledge can come again: it acknowledges in the same turn in which it
//     hands the answer to the browser, and after that the browser has no reason to ask again;
//   - the first instance must be dead: while a service worker is being updated, two live ones serve side by side;
//   - client (the page or worker that fetched), method, URL, Authorization and body must be the same;
//   - each first delivery is used up by one second delivery.
// So two deliberate identical requests stay two: through one instance they are told apart by it, and when their
// instance dies with both unanswered, each second delivery takes up one of the two first ones.
// What remains: an instance killed between handing an answer over and acknowledging it, and the same client asking for
// the very same thing again within a minute. Firefox rejects instead of passing again; a client that then tries again
// gets the answer of its first attempt, which is what it wanted.
// Requests that do nothing (GET, HEAD) are simply done again and are not remembered.
import type { WireAnswer, WireRequest } from "../protocol/messages.ts";

/** How long an answer waits to be acknowledged or asked for again. */
export const REMEMBERED_MS = 60_000;
/** Beyond either, the oldest answers are forgotten first. */
export const REMEMBERED_MAX = 1_000;
export const REMEMBERED_MAX_BYTES = 16 * 1024 * 1024;

interface Delivery {
  /** Ids under which the request was delivered, the latest last. */
  ids: string[];
  instance?: string;
  key?: string;
  answer: Promise<WireAnswer>;
  /** Set once answered. */
  answeredMs?: number;
  bytes: number;
}

export interface AnswerMemoryOptions {
  nowMs: () => number;
  /** Whether that instance of the service worker still answers. */
  isAlive: (instance: string) => Promise<boolean>;
}

export class AnswerMemory {
  /** In order of first delivery. */
  readonly #deliveries = new Set<Delivery>();

  constructor(private readonly options: AnswerMemoryOptions) {}

  /** Answers `request` by `handle`, or by what an earlier delivery of the same request came to. */
  async deliver(request: WireRequest, handle: (request: WireRequest) => Promise<WireAnswer>): Promise<WireAnswer> {
    if (isRepeatable(request)) return handle(request);
    this.#forget();
    const known = this.#withId(request.id) ?? (await this.#earlier(request));
    const delivery = known ?? this.#remember(request, handle(request));
    const answer = await delivery.answer;
    return { ...answer, id: request.id };
  }

  /** The answer to `id` has reached whoever asked. */
  acknowledge(id: string): void {
    const delivery = this.#withId(id);
    if (delivery) this.#deliveries.delete(delivery);
  }

  get size(): number {
    return this.#deliveries.size;
  }

  #withId(id: string): Delivery | undefined {
    return this.#find((delivery) => delivery.ids.includes(id));
  }

  async #earlier(request: WireRequest): Promise<Delivery | undefined> {
    const { redelivery } = request;
    if (!redelivery) return undefined;
    const candidate = () =>
      this.#find(({ instance, key }) => key === redelivery.key && instance !== undefined && instance !== redelivery.instance);
    for (let found = candidate(); found?.instance !== undefined; found = candidate()) {
      const { instance } = found;
      if (await this.options.isAlive(instance)) return undefined;
      // Meanwhile it may have been acknowledged, or taken up by another second delivery.
      if (!this.#deliveries.has(found) || found.instance !== instance) continue;
      found.instance = redelivery.instance;
      found.ids.push(request.id);
      return found;
    }
    return undefined;
  }

  #remember(request: WireRequest, answer: Promise<WireAnswer>): Delivery {
    const { instance, key } = request.redelivery ?? {};
    const delivery: Delivery = { ids: [request.id], instance, key, answer, bytes: 0 };
    this.#deliveries.add(delivery);
    const answered = (bytes: number) => {
      delivery.answeredMs = this.options.nowMs();
      delivery.bytes = bytes;
    };
    answer.then(
      ({ body }) => answered(body.byteLength),
      () => this.#deliveries.delete(delivery),
    );
    return delivery;
  }

  /** What nobody came back for; an unanswered request is never forgotten. */
  #forget(): void {
    const answered = [...this.#deliveries].filter(({ answeredMs }) => answeredMs !== undefined);
    let count = answered.length;
    let bytes = answered.reduce((sum, delivery) => sum + delivery.bytes, 0);
    for (const delivery of answered) {
      const isStale = this.options.nowMs() - (delivery.answeredMs ?? 0) > REMEMBERED_MS;
      if (!isStale && count <= REMEMBERED_MAX && bytes <= REMEMBERED_MAX_BYTES) continue;
      this.#deliveries.delete(delivery);
      count -= 1;
      bytes -= delivery.bytes;
    }
  }

  #find(wanted: (delivery: Delivery) => boolean): Delivery | undefined {
    for (const delivery of this.#deliveries) if (wanted(delivery)) return delivery;
    return undefined;
  }
}

/** Whether doing it again changes nothing: then nothing has to be remembered, and it may be sent again when lost. */
export function isRepeatable({ method }: Pick<WireRequest, "method">): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS";
}
