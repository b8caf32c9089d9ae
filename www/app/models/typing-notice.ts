// Tells the others that we are typing, without a request for each key: one per few seconds, and one at the end.

import type { MatrixClient } from "matrix-js-sdk";

/** How long others show it unless it is said again. */
export const TYPING_LASTS_MS = 8_000;
const TYPING_SAY_AGAIN_MS = 5_000;

export class TypingNotice {
  readonly #client: Pick<MatrixClient, "sendTyping">;
  readonly #roomId: string;
  readonly #now: () => number;
  #saidAtMs: number | undefined;

  constructor(client: Pick<MatrixClient, "sendTyping">, roomId: string, now: () => number = Date.now) {
    this.#client = client;
    this.#roomId = roomId;
    this.#now = now;
  }

  /** Call at each change of the text. */
  changed(text: string): void {
    if (text === "") return this.stop();
    const now = this.#now();
    if (this.#saidAtMs !== undefined && now - this.#saidAtMs < TYPING_SAY_AGAIN_MS) return;
    this.#saidAtMs = now;
    this.#tell(true);
  }

  stop(): void {
    if (this.#saidAtMs === undefined) return;
    this.#saidAtMs = undefined;
    this.#tell(false);
  }

  #tell(typing: boolean): void {
    // Nothing is lost when this fails.
    this.#client.sendTyping(this.#roomId, typing, TYPING_LASTS_MS).catch(() => undefined);
  }
}
