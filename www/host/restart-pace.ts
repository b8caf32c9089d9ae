// How soon a worker is replaced: at once, but not in a tight circle.

/** Pause before the first, second, ... restart after a fault; after the last of them the page gives up. */
export const PAUSES_AFTER_FAULT_MS = [0, 0, 1_000, 5_000, 20_000];
/** Pause before a restart that follows another one for a harmless reason this closely. */
export const PAUSE_AFTER_TAKE_OVER_MS = 1_000;
/** Faults older than this are forgiven. */
export const FORGIVEN_AFTER_MS = 5 * 60_000;

export class RestartPace {
  #faultsMs: number[] = [];
  #takenOverMs = -Infinity;

  /** The pause in ms before the restart after a fault at `nowMs`; undefined: it is no use any more. */
  afterFault(nowMs: number): number | undefined {
    this.#faultsMs = this.#faultsMs.filter((atMs) => nowMs - atMs < FORGIVEN_AFTER_MS);
    this.#faultsMs.push(nowMs);
    return PAUSES_AFTER_FAULT_MS[this.#faultsMs.length - 1];
  }

  /** The pause in ms before the restart after another tab took over at `nowMs`. */
  afterTakeOver(nowMs: number): number {
    const isSoon = nowMs - this.#takenOverMs < PAUSE_AFTER_TAKE_OVER_MS;
    this.#takenOverMs = nowMs;
    return isSoon ? PAUSE_AFTER_TAKE_OVER_MS : 0;
  }
}
