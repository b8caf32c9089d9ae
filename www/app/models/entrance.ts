// The way in: decides between welcome and rooms, registers, remembers, and notices when the homeserver no longer knows us.

import { HttpApiEvent } from "matrix-js-sdk";
import { Account } from "./account.ts";
import { explainError, failureOf } from "./explain-error.ts";
import type { KeptValues } from "./kept-values.ts";
import { plainName } from "./names.ts";
import { Observable, type Readable } from "./observable.ts";
import { forgetSession, loadSession, saveSession, type Session } from "./session.ts";
import { NoFreeName, register, renew, type Homeserver } from "./sign-in.ts";
import { strings } from "../strings.ts";

export const DISPLAY_NAME_MAX_CHARS = 64;

export type Phase =
  | { at: "welcome"; identityGone: boolean; busy: boolean; error?: string }
  | { at: "inside"; account: Account };

export interface EntranceOptions {
  homeserver: Homeserver;
  profile: string;
  kept: KeptValues;
  /** Calls back when the homeserver begins to answer again; returns the way to stop. */
  onHomeserverBack: (back: () => void) => () => void;
}

export class Entrance {
  readonly #options: EntranceOptions;
  readonly #phase: Observable<Phase>;
  readonly phase: Readable<Phase>;

  constructor(options: EntranceOptions) {
    this.#options = options;
    this.#phase = new Observable<Phase>({ at: "welcome", identityGone: false, busy: false });
    this.phase = this.#phase;
    this.resume();
  }

  /** Goes inside if a session is kept. Called again when another tab of the profile may have made one. */
  resume(): void {
    if (this.#phase.get().at === "inside") return;
    const session = loadSession(this.#options.kept, this.#options.profile);
    if (session) this.#goInside(session);
  }

  /** Registers somebody who wants to be called `name`. Problems end up in the phase. */
  async enter(name: string): Promise<void> {
    const { homeserver, kept, profile } = this.#options;
    const problem = nameProblem(name);
    if (problem !== undefined) return this.#welcome({ error: problem });
    this.#welcome({ busy: true });
    try {
      const session = await register(homeserver, plainName(name));
      // Another tab of the profile may have been quicker; one profile has one account.
      if (loadSession(kept, profile)) return this.resume();
      saveSession(kept, profile, session);
      this.#goInside(session);
    } catch (error) {
      this.#welcome({ error: error instanceof NoFreeName ? strings.problem.nameTaken : explainError(error) });
    }
  }

  #welcome(change: { identityGone?: boolean; busy?: boolean; error?: string }): void {
    const phase = this.#phase.get();
    const identityGone = change.identityGone ?? (phase.at === "welcome" && phase.identityGone);
    this.#phase.set({ at: "welcome", identityGone, busy: change.busy ?? false, error: change.error });
  }

  #goInside(session: Session): void {
    const account = new Account(this.#options, session);
    account.client.once(HttpApiEvent.SessionLoggedOut, () => void this.#tokenRefused(account, session));
    this.#phase.set({ at: "inside", account });
    void account.start();
  }

  async #tokenRefused(account: Account, refused: Session): Promise<void> {
    const { homeserver, kept, profile } = this.#options;
    account.stop();
    // Another tab may have renewed it already.
    const current = loadSession(kept, profile);
    if (current && current.accessToken !== refused.accessToken) return this.#goInside(current);
    try {
      const session = await renew(homeserver, refused);
      saveSession(kept, profile, session);
      this.#goInside(session);
    } catch (error) {
      const { errcode } = failureOf(error);
      const unknown = errcode === "M_FORBIDDEN" || errcode === "M_UNKNOWN_TOKEN" || errcode === "M_USER_DEACTIVATED";
      // Only a refusal means that the identity is gone; anything else may pass, and a reload tries again.
      if (unknown) forgetSession(kept, profile);
      this.#welcome({ identityGone: unknown, error: unknown ? undefined : explainError(error) });
    }
  }
}

/** What is wrong with a display name; undefined when nothing is. */
export function nameProblem(name: string): string | undefined {
  const plain = plainName(name);
  if (plain === "") return strings.welcome.nameMissing;
  return [...plain].length > DISPLAY_NAME_MAX_CHARS ? strings.welcome.nameTooLong(DISPLAY_NAME_MAX_CHARS) : undefined;
}
