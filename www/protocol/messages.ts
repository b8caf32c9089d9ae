// The closed union of messages between page, host worker and service worker: one place to see everything that crosses a thread.

/** Raised whenever a message below changes its meaning; contexts that speak different versions do not talk. */
export const PROTOCOL_VERSION = 1;

/** Which build of the page a context runs. `time` (ms since 1970, of the build) decides which of two builds is newer. */
export interface Build {
  id: string;
  time: number;
}

// ---------------------------------------------------------------------------------------------------------------------
// Requests and answers

export type Header = [name: string, value: string];

/** One Client-Server request on its way to the homeserver. */
export interface WireRequest {
  /** Random, made where the request was made; an answer, a cancel and an acknowledgement name it. */
  id: string;
  method: string;
  /** Path and query, beginning with `/_matrix/`. */
  url: string;
  headers: Header[];
  body?: Uint8Array;
  /** Set by the service worker alone: what recognises the same request delivered again (see answer-memory.ts). */
  redelivery?: Redelivery;
}

export interface Redelivery {
  /** The service worker instance that passed the request on; its ids die with it. */
  instance: string;
  /** Client, method, URL, Authorization and body digest of the request. */
  key: string;
}

export interface WireAnswer {
  id: string;
  status: number;
  headers: Header[];
  body: Uint8Array;
}

// ---------------------------------------------------------------------------------------------------------------------
// What the homeserver says of itself

export type HostErrorCode = "storage_unavailable" | "storage_full" | "newer_schema" | "fenced" | "internal";

export interface HostError {
  code: HostErrorCode;
  message: string;
}

/** Pushed by the wasm homeserver whenever something in it changes. */
export interface HostStatus {
  serverName: string;
  peerId: string;
  storage: { kind: StorageKind; error?: "quota" | "fenced" | "failed" };
  /** "connected" means that the reservation is ready: others can reach us. */
  relay: { state: "none" | "connecting" | "connected" | "offline"; address?: string; error?: string };
  /** Our own dialable multiaddrs, for links. */
  addresses: string[];
  /** Homeservers met or looked for since the start. */
  peers: PeerStatus[];
  /** Destinations for which something waits to be sent. */
  outbox: { destination: string; waiting: number; retryAtMs?: number; error?: string }[];
}

export interface PeerStatus {
  serverName: string;
  peerId: string;
  state: "connected" | "connecting" | "away";
  /** What a live connection goes by. */
  path?: PeerPath;
  roundTripMs?: number;
  /** When it last showed that it is alive, in ms since 1970. */
  seenMs?: number;
  /** Why it was not reached last. */
  unreached?: PeerFailure;
  /** The last attempt at a direct path: what came of it, and numbers of addresses by kind. */
  direct?: { atMs: number; failure?: PeerFailure; ours: Record<string, number>; theirs: Record<string, number> };
}

/** A cause with a name that does not change, and the words of what failed. */
export interface PeerFailure {
  cause: string;
  detail: string;
}

/** "direct": from browser to browser, with no need of a relay any more. "browser": to another profile of this one. */
export type PeerPath = "browser" | "direct" | "relay";

export type StorageKind = "indexeddb" | "memory";

/** Why a profile is kept in memory only and is gone with its tab. */
export type MemoryReason = "blocked" | "private" | "full";

export interface StorageChoice {
  kind: StorageKind;
  reason?: MemoryReason;
}

/** What `/config.json` offers the page. */
export interface PageConfig {
  version: number;
  /** Multiaddrs of relays. */
  relays: string[];
  iceServers: { urls: string | string[]; username?: string; credential?: string }[];
  /** The person's own wish: nobody shall learn this device's addresses. */
  hideAddresses?: boolean;
  serverNameSuffix: string;
  /** Which of the relays carries requests to servers of the web and back, for homeservers whose name ends in its zone. */
  gateway?: { peer: string; zone: string };
  /** Where others reach this page; links begin with it. */
  publicUrl: string;
  /** Where tools of this machine reach the homeserver of this tab, if it connects to `/tabs` (`--expose-tabs`). */
  exposedTabs?: string;
  build?: string;
}

// ---------------------------------------------------------------------------------------------------------------------
// Election: broadcast on the channel `warren/<profile>` to every tab and to the service worker. `from` names a worker
// (a tab's host worker, or an instance of the service worker), never a tab: a restarted worker is another one.

export type ElectionMessage =
  /** Somebody wants to know who leads. */
  | { type: "hello"; from: string }
  /** The answer to "hello", "ping" and "claim", and said once by whoever begins to lead. */
  | { type: "leading"; from: string; term: number; build: Build; protocol: number }
  /** Wants to lead from `term` on because nobody answers; of two claims the smaller `from` goes first. */
  | { type: "claim"; from: string; term: number }
  /** Is there still a leader? Unanswered for too long, it is taken to hang. */
  | { type: "ping"; from: string }
  /** Stopped on purpose: the next one need not wait. */
  | { type: "leaving"; from: string }
  /** A newer build asks an older leader to hand over. */
  | { type: "hand-over"; from: string; to: string; build: Build }
  /** Asks the leader to open its end of the channel between the two; `from` has opened its own. */
  | { type: "link"; from: string; to: string; client: LinkClientKind };

export type LinkClientKind = "tab" | "service-worker";

// ---------------------------------------------------------------------------------------------------------------------
// Link: on the channel `warren/<profile>/<leader>/<client>` between the leader's worker and one client of it

export type LinkRequest =
  | { type: "request"; request: WireRequest }
  | { type: "cancel"; id: string }
  /** The answer has been handed on; the host may forget it. */
  | { type: "acknowledge"; id: string }
  /** The answer to "alive?". */
  | { type: "alive" }
  | { type: "close" };

export type LinkAnswer =
  /** The first message on a link: the leader listens. */
  | { type: "opened"; hosting: Hosting }
  | { type: "answer"; answer: WireAnswer }
  | { type: "hosting"; hosting: Hosting }
  /** Is the client still there? */
  | { type: "alive?" }
  /** The leader stops; what it has not answered, it will not answer. */
  | { type: "closed" };

/** What a leader tells its page and its followers about the homeserver. */
export interface Hosting {
  phase: "starting" | "running" | "failed";
  storage: StorageChoice;
  status?: HostStatus;
  error?: HostError;
}

// ---------------------------------------------------------------------------------------------------------------------
// Paths: broadcast on the channel `warren/<profile>/paths` between the pages of a profile

export type PathsMessage =
  /** Which paths do the direct connections take? */
  | { type: "paths?"; id: string }
  /** Said by the page that makes them. */
  | { type: "paths"; id: string; paths: DirectPath[] };

/** Of a peer connection, as the browser tells it. */
export interface DirectPath {
  /** Of the homeserver at the other end. */
  peerId: string;
  /** As RTCPeerConnection.connectionState. */
  state: string;
  /** Both ends of the pair in use; absent while there is none. */
  here?: PathEnd;
  there?: PathEnd;
  /** "udp" or "tcp", between the two ends. */
  protocol?: string;
  /** As the browser measures it; absent before it has. */
  roundTripMs?: number;
  bytesSent?: number;
  bytesReceived?: number;
}

export interface PathEnd {
  /** What ICE calls it: "host", "srflx", "prflx" or "relay". */
  kind: string;
  /** With its port. Absent where the browser keeps it to itself, or the person does. */
  address?: string;
}

// ---------------------------------------------------------------------------------------------------------------------
// Page and its own worker

export type HostRole = "leader" | "follower" | "waiting";

export type PageToWorker =
  /** At the other end of `rtc` the page makes peer connections (see rtc-broker.ts). */
  | { type: "begin"; worker: string; profile: string; build: Build; config: PageConfig; rtc: MessagePort }
  | { type: "request"; request: WireRequest }
  | { type: "cancel"; id: string }
  | { type: "ping"; nonce: number }
  /** Stop the homeserver in order and release the profile. */
  | { type: "stop" };

export type WorkerToPage =
  | { type: "answer"; answer: WireAnswer }
  | { type: "pong"; nonce: number }
  | { type: "role"; role: HostRole; term: number }
  /** Of the homeserver here or, in a follower, in the leader's tab. */
  | { type: "hosting"; hosting: Hosting }
  /** The wasm trapped: what was pending has been answered, this worker is of no more use. */
  | { type: "panicked"; message: string }
  /** Another tab took the profile over (steal, fence): this worker is of no more use, but nothing is wrong. */
  | { type: "superseded"; reason: string }
  /** A newer build of the page leads now: this page reloads when it is idle. */
  | { type: "outdated"; newer: Build }
  /** Work for the service worker takes long; it is put to sleep unless the page pings it. */
  | { type: "keep-service-worker-awake" }
  | { type: "stopped" };

// ---------------------------------------------------------------------------------------------------------------------
// Page and service worker

export type PageToServiceWorker =
  /** Take over this page now (first load, hard reload). */
  | { type: "claim" }
  /** Nothing to do: being told anything keeps a service worker awake. */
  | { type: "keep-awake" };
