// What the page can know about its homeserver at any moment, in one immutable value the views subscribe to.
import type { HostError, HostRole, HostStatus, PageConfig, StorageChoice } from "../protocol/messages.ts";

export interface HostView {
  /** "leader": the homeserver runs in this tab. "follower": in another tab. "waiting": not known yet. */
  role: HostRole;
  /**
   * "starting": requests wait. "running": requests are answered. "restarting": a fault is being recovered from.
   * "failed": `error` says why, requests get 503. "stopped": stop() was called or the page is being put away.
   */
  phase: "starting" | "running" | "restarting" | "failed" | "stopped";
  storage: StorageChoice;
  /** The homeserver's own report; absent until it has started once. */
  homeserver?: HostStatus;
  error?: HostError;
  /** Things that happened and that the user may want to know, newest last, at most `NOTICES_KEPT`. */
  notices: HostNotice[];
  /** False on plain http other than localhost: no service worker, no Web Locks, no storage promise. */
  secureContext: boolean;
  /** Whether other clients of this origin are answered: needs a service worker in control of the origin. */
  serviceWorker: "starting" | "active" | "unavailable";
  /** A newer build of the page leads; this one reloads when `mayReload` allows. */
  outdated: boolean;
  config?: PageConfig;
}

export interface HostNotice {
  atMs: number;
  kind: "restarted-after-fault" | "taken-over" | "leader-lost" | "storage-in-memory";
  /** Plain English; for "restarted-after-fault" the report of the fault follows in `detail`. */
  message: string;
  detail?: string;
}

export const NOTICES_KEPT = 20;

/** Anything a view can subscribe to; `get` returns the same object until something changed. */
export interface Observable<T> {
  get(): T;
  /** Calls back after every change, until the returned function is called. */
  subscribe(changed: () => void): () => void;
}
