// A value that can be watched: the one seam between models, which know no DOM, and React.

export interface Readable<T> {
  get(): T;
  /** Calls back after each change; returns the way to stop. */
  subscribe(listener: () => void): () => void;
}

/** A value set by its owner. Listeners run at once, in the order they came. */
export class Observable<T> implements Readable<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get = (): T => this.#value;

  set = (value: T): void => {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  };

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };
}

/**
 * A value computed from sources that announce changes. It listens to them only while somebody watches it, and computes at most
 * once per burst: a sync response with hundreds of events costs one computation, after the burst.
 */
export class Derived<T> implements Readable<T> {
  readonly #compute: () => T;
  readonly #connect: (changed: () => void) => () => void;
  readonly #listeners = new Set<() => void>();
  #disconnect: (() => void) | undefined;
  #cached: { value: T } | undefined;
  #scheduled = false;

  constructor(compute: () => T, connect: (changed: () => void) => () => void) {
    this.#compute = compute;
    this.#connect = connect;
  }

  get = (): T => {
    this.#cached ??= { value: this.#compute() };
    return this.#cached.value;
  };

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) {
      this.#cached = undefined; // Nobody told us of changes while nobody watched.
      this.#disconnect = this.#connect(this.#changed);
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#disconnect?.();
      this.#disconnect = undefined;
    };
  };

  readonly #changed = (): void => {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#cached = undefined;
      for (const listener of [...this.#listeners]) listener();
    });
  };
}
