// Who is signed in to the homeserver of this profile. Kept in the browser, so that a reload goes straight to the rooms.

import type { KeptValues } from "./kept-values.ts";
import { storageKey } from "./profile.ts";
import { randomHex } from "./random-id.ts";

export interface Session {
  userId: string;
  deviceId: string;
  accessToken: string;
  /**
   * Made up by the page when it registered, never typed: it renews a lost access token, and lets other Matrix apps on this origin
   * sign in. It is worth no more than the access token beside it.
   */
  password: string;
  /** The display name that could not be set yet. */
  pendingName?: string;
}

const PASSWORD_BYTES = 24;

export function loadSession(kept: KeptValues, profile: string): Session | undefined {
  const text = kept.get(storageKey(profile, "session"));
  if (text === undefined) return undefined;
  try {
    return readSession(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export function saveSession(kept: KeptValues, profile: string, session: Session): void {
  kept.set(storageKey(profile, "session"), JSON.stringify(session));
}

export function forgetSession(kept: KeptValues, profile: string): void {
  kept.remove(storageKey(profile, "session"));
}

/** A password nobody has to remember. */
export function makePassword(): string {
  return randomHex(PASSWORD_BYTES);
}

function readSession(value: unknown): Session | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { userId, deviceId, accessToken, password, pendingName } = value as Record<string, unknown>;
  const whole = [userId, deviceId, accessToken, password].every((part) => typeof part === "string" && part !== "");
  if (!whole) return undefined;
  return {
    userId: userId as string,
    deviceId: deviceId as string,
    accessToken: accessToken as string,
    password: password as string,
    ...(typeof pendingName === "string" && { pendingName }),
  };
}
