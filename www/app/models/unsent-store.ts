// matrix-js-sdk's memory store, except that messages not sent yet survive a reload: nobody else has them.
// Everything else comes back from the homeserver, which is in this browser.

import { MemoryStore, type IEvent } from "matrix-js-sdk";
import type { KeptValues } from "./kept-values.ts";
import { storageKey } from "./profile.ts";

/** Older unsent messages of a room beyond this many are not kept across a reload. */
const UNSENT_MAX_PER_ROOM = 100;

export class UnsentStore extends MemoryStore {
  readonly #kept: KeptValues;
  readonly #profile: string;

  constructor(kept: KeptValues, profile: string) {
    super();
    this.#kept = kept;
    this.#profile = profile;
  }

  override async getPendingEvents(roomId: string): Promise<Partial<IEvent>[]> {
    try {
      const events: unknown = JSON.parse(this.#kept.get(this.#key(roomId)) ?? "[]");
      return Array.isArray(events) ? (events as Partial<IEvent>[]) : [];
    } catch {
      return [];
    }
  }

  override async setPendingEvents(roomId: string, events: Partial<IEvent>[]): Promise<void> {
    if (events.length === 0) this.#kept.remove(this.#key(roomId));
    else this.#kept.set(this.#key(roomId), JSON.stringify(events.slice(-UNSENT_MAX_PER_ROOM)));
  }

  #key(roomId: string): string {
    return storageKey(this.#profile, `unsent:${roomId}`);
  }
}
