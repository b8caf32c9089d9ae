// Registers with the tab's own homeserver, and renews a lost access token: the requests behind "type a name and you are in".

import { AuthType, createClient, type LoginResponse, type MatrixClient, type RegisterResponse } from "matrix-js-sdk";
import { failureOf } from "./explain-error.ts";
import { localpartFrom, nthLocalpart } from "./localpart.ts";
import { makePassword, type Session } from "./session.ts";

/** Waits between attempts to register; a homeserver that restarts after a fault is back within seconds. */
const REGISTER_RETRY_DELAYS_MS = [500, 1_500, 4_000];
/** How many variations of a user name are tried before giving up. */
const LOCALPARTS_MAX_TRIED = 20;
const DEVICE_NAME = "Warren page";

export interface Homeserver {
  baseUrl: string;
  fetch: typeof globalThis.fetch;
}

export class NoFreeName extends Error {}

/** Makes an account for somebody who calls themselves `displayName`, and sets that name before they join a room without it. */
export async function register(homeserver: Homeserver, displayName: string): Promise<Session> {
  const session = await registerLocalpart(homeserver, displayName);
  try {
    const { userId, accessToken } = session;
    await createClient({ baseUrl: homeserver.baseUrl, fetchFn: homeserver.fetch, userId, accessToken, disableVoip: true }).setDisplayName(displayName);
    return session;
  } catch {
    // The account exists all the same; the name is set at the next start.
    return { ...session, pendingName: displayName };
  }
}

async function registerLocalpart(homeserver: Homeserver, displayName: string): Promise<Session> {
  const localpart = localpartFrom(displayName);
  const password = makePassword();
  for (let n = 0; n < LOCALPARTS_MAX_TRIED; n += 1) {
    try {
      return await registerPatiently(homeserver, nthLocalpart(localpart, n), password);
    } catch (error) {
      if (failureOf(error).errcode !== "M_USER_IN_USE") throw error;
    }
  }
  throw new NoFreeName(localpart);
}

/** Registers, also when the homeserver is restarted meanwhile: what it did before it stopped is found by the password. */
async function registerPatiently(homeserver: Homeserver, username: string, password: string): Promise<Session> {
  const client = anonymousClient(homeserver);
  const request = { username, password, auth: { type: AuthType.Dummy }, initial_device_display_name: DEVICE_NAME };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return sessionFrom(await client.registerRequest(request), password);
    } catch (error) {
      const { errcode, httpStatus } = failureOf(error);
      if (errcode === "M_USER_IN_USE" && attempt > 0) return logIn(homeserver, username, password, error);
      const delayMs = REGISTER_RETRY_DELAYS_MS[attempt];
      if (httpStatus !== 503 || delayMs === undefined) throw error;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

/** Logs in to what may be our own account; rejects with `taken` when it is somebody else's. */
async function logIn(homeserver: Homeserver, user: string, password: string, taken: unknown): Promise<Session> {
  const identifier = { type: "m.id.user", user };
  const request = { type: "m.login.password", identifier, password, initial_device_display_name: DEVICE_NAME };
  try {
    return sessionFrom(await anonymousClient(homeserver).loginRequest(request), password);
  } catch (error) {
    throw failureOf(error).errcode === "M_FORBIDDEN" ? taken : error;
  }
}

/** Gets a new access token for the same user and device. Rejects with M_FORBIDDEN when the homeserver does not know them. */
export async function renew(homeserver: Homeserver, session: Session): Promise<Session> {
  const answer = await anonymousClient(homeserver).loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: session.userId },
    password: session.password,
    device_id: session.deviceId,
    initial_device_display_name: DEVICE_NAME,
  });
  return { ...sessionFrom(answer, session.password), ...(session.pendingName && { pendingName: session.pendingName }) };
}

function anonymousClient({ baseUrl, fetch }: Homeserver): MatrixClient {
  return createClient({ baseUrl, fetchFn: fetch, disableVoip: true });
}

function sessionFrom(answer: RegisterResponse | LoginResponse, password: string): Session {
  const { user_id: userId, device_id: deviceId, access_token: accessToken } = answer;
  if (!userId || !deviceId || !accessToken) throw new Error("the homeserver's answer lacks user, device or token");
  return { userId, deviceId, accessToken, password };
}
