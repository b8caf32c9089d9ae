// Registers with the tab's own homeserver, and renews a lost access token: the requests behind "type a name and you are in".

import { AuthType, createClient, type LoginResponse, type MatrixClient, type RegisterResponse } from "matrix-js-sdk";
import { failureOf } from "./explain-error.ts";
import { localpartFrom, nthLocalpart } from "./localpart.ts";
import { makePassword, type Session } from "./session.ts";

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
  const client = anonymousClient(homeserver);
  const localpart = localpartFrom(displayName);
  const password = makePassword();
  for (let n = 0; n < LOCALPARTS_MAX_TRIED; n += 1) {
    try {
      const answer = await client.registerRequest({
        username: nthLocalpart(localpart, n),
        password,
        auth: { type: AuthType.Dummy },
        initial_device_display_name: DEVICE_NAME,
      });
      return sessionFrom(answer, password);
    } catch (error) {
      if (failureOf(error).errcode !== "M_USER_IN_USE") throw error;
    }
  }
  throw new NoFreeName(localpart);
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
