// Makes the MatrixClient of a session, with the choices this page has made about matrix-js-sdk.

import { createClient, MatrixScheduler, PendingEventOrdering, type MatrixClient, type MatrixError } from "matrix-js-sdk";
import type { KeptValues } from "./kept-values.ts";
import type { Session } from "./session.ts";
import type { Homeserver } from "./sign-in.ts";
import { UnsentStore } from "./unsent-store.ts";

const SYNC_POLL_MS = 30_000;
const INITIAL_SYNC_EVENTS = 30;
/** Waits between attempts to send one message; a homeserver that restarts after a fault is back within two seconds. */
const SEND_RETRY_DELAYS_MS = [400, 1_000, 2_000, 4_000];

export function makeClient(homeserver: Homeserver, session: Session, kept: KeptValues, profile: string): MatrixClient {
  return createClient({
    baseUrl: homeserver.baseUrl,
    fetchFn: homeserver.fetch,
    userId: session.userId,
    deviceId: session.deviceId,
    accessToken: session.accessToken,
    store: new UnsentStore(kept, profile),
    // Messages of one room go out one after the other, so that they arrive in the order they were written.
    scheduler: new MatrixScheduler(
      (_event, attempts, error) => sendRetryDelayMs(attempts, error),
      (event) => event.getRoomId() ?? null,
    ),
    disableVoip: true,
  });
}

export async function startSyncing(client: MatrixClient): Promise<void> {
  await client.startClient({
    initialSyncLimit: INITIAL_SYNC_EVENTS,
    lazyLoadMembers: true,
    pollTimeout: SYNC_POLL_MS,
    pendingEventOrdering: PendingEventOrdering.Detached,
    disablePresence: true,
  });
}

/** Milliseconds before the next attempt; -1 to give up. What the homeserver refused it will refuse again. */
export function sendRetryDelayMs(attempts: number, error: MatrixError): number {
  if (error.httpStatus !== undefined && error.httpStatus < 500) return -1;
  return SEND_RETRY_DELAYS_MS[attempts - 1] ?? -1;
}
