// Small values kept across reloads. Browsers may refuse storage (blocked cookies, quota); then a value lives as long as the page.

/** The part of the DOM's Storage that is needed, so that models run without a DOM. */
export interface KeyValueStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Wraps a storage that may throw on any call, or be absent. What it refuses is kept in memory. */
export class KeptValues {
  readonly #storage: KeyValueStorage | undefined;
  readonly #refused = new Map<string, string>();

  constructor(storage: KeyValueStorage | undefined) {
    this.#storage = storage;
  }

  get(key: string): string | undefined {
    const refused = this.#refused.get(key);
    if (refused !== undefined) return refused;
    try {
      return this.#storage?.getItem(key) ?? undefined;
    } catch {
      return undefined;
    }
  }

  set(key: string, value: string): void {
    try {
      if (!this.#storage) throw new Error("no storage");
      this.#storage.setItem(key, value);
      this.#refused.delete(key);
    } catch {
      this.#refused.set(key, value);
    }
  }

  remove(key: string): void {
    this.#refused.delete(key);
    try {
      this.#storage?.removeItem(key);
    } catch {
      // What cannot be written cannot have been kept.
    }
  }
}
