// What was typed but not sent, per room, kept while the tab lives.

import type { KeptValues } from "./kept-values.ts";
import { storageKey } from "./profile.ts";

const DRAFT_MAX_CHARS = 64 * 1024;

export class Drafts {
  readonly #kept: KeptValues;
  readonly #profile: string;

  constructor(kept: KeptValues, profile: string) {
    this.#kept = kept;
    this.#profile = profile;
  }

  get(roomId: string): string {
    return this.#kept.get(this.#key(roomId)) ?? "";
  }

  set(roomId: string, text: string): void {
    if (text === "" || text.length > DRAFT_MAX_CHARS) this.#kept.remove(this.#key(roomId));
    else this.#kept.set(this.#key(roomId), text);
  }

  #key(roomId: string): string {
    return storageKey(this.#profile, `draft:${roomId}`);
  }
}
