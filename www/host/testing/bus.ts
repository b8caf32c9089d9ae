// BroadcastChannels in one process, for tests: asynchronous, cloned, and with a wire that can be cut.
import type { Channel, OpenChannel } from "../channel.ts";

interface End {
  owner: string;
  channel: Channel<unknown, unknown>;
}

export class Bus {
  readonly #ends = new Map<string, Set<End>>();
  readonly #dead = new Set<string>();

  /** What `owner` opens channels with. */
  opener(owner: string): OpenChannel {
    const open = (name: string): Channel<unknown, unknown> => {
      const ends = this.#ends.get(name) ?? new Set();
      this.#ends.set(name, ends);
      const end: End = { owner, channel: { post: (message) => this.#post(ends, end, message), close: () => ends.delete(end), onMessage: () => undefined } };
      ends.add(end);
      return end.channel;
    };
    return open as OpenChannel;
  }

  /** From now on `owner` neither hears nor says anything, as a terminated or frozen worker. */
  kill(owner: string): void {
    this.#dead.add(owner);
  }

  get openEnds(): number {
    return [...this.#ends.values()].reduce((sum, ends) => sum + ends.size, 0);
  }

  #post(ends: Set<End>, from: End, message: unknown): void {
    if (!ends.has(from) || this.#dead.has(from.owner)) return;
    const copy: unknown = structuredClone(message);
    for (const end of [...ends]) {
      if (end === from) continue;
      queueMicrotask(() => {
        if (ends.has(end) && !this.#dead.has(end.owner)) end.channel.onMessage(copy);
      });
    }
  }
}

/** Lets everything that is queued in microtasks happen. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
}
