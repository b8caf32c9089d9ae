// The page's door to its homeserver: a fetch for matrix-js-sdk and a status to show, whichever tab hosts.
import type { HostError } from "../protocol/messages.ts";
import type { HostView, Observable } from "./status.ts";

export type { HostView, HostNotice, Observable } from "./status.ts";
export type { HostError, HostStatus, PageConfig, StorageChoice } from "../protocol/messages.ts";

export interface ConnectOptions {
  /** Which identity of this browser; `DEFAULT_PROFILE` unless the page's address names another. */
  profile: string;
  /** Asked before the page reloads itself for a newer build; answer false while the user would lose something. */
  mayReload?: () => boolean;
  /** The homeserver cannot run and will not be tried again by itself. */
  onFatal?: (error: HostError) => void;
}

export interface HostConnection {
  /** Base URL to give matrix-js-sdk: the origin, followed by `/p/<profile>` for any but the default profile. */
  readonly baseUrl: string;
  /**
   * A `fetch` for `/_matrix/...` (with or without `baseUrl` in front) that never leaves the browser. Abortable by
   * `init.signal`. Never rejects for want of a homeserver: that is a 503 with a Matrix error body.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  readonly status: Observable<HostView>;
  /** Stops hosting in order and gives the profile up. */
  stop(): Promise<void>;
}

export const DEFAULT_PROFILE = "default";

/** Joins the tabs of `profile`: hosts it here, or reaches the tab that does. Call once a page. */
export function connectHost(_options: ConnectOptions): HostConnection {
  throw new Error("not built yet");
}
