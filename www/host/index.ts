// The page's door to its homeserver: a fetch for matrix-js-sdk and a status to show, whichever tab hosts.
import { addressed, baseUrlOf, DEFAULT_PROFILE, PROFILE_PATTERN, wellKnown } from "./address.ts";
import { readIceSettings, withIceSettings } from "./ice-settings.ts";
import { loadConfig } from "./page-config.ts";
import { PageHost, type HostWorkerPort } from "./page-host.ts";
import { keepServiceWorkerAwake, registerServiceWorker } from "./page-service-worker.ts";
import { askToPersist } from "./persistence.ts";
import { reloadWhenIdle } from "./reload-when-idle.ts";
import type { HostView, Observable } from "./status.ts";
import { ViewState } from "./view-state.ts";
import { jsonAnswer, newId, toResponse, toWire, unavailable } from "./wire.ts";
import type { DirectPath, HostError, WireAnswer, WireRequest } from "../protocol/messages.ts";

export { DEFAULT_PROFILE, PROFILE_PATTERN } from "./address.ts";
export { DEFAULT_ICE_SETTINGS, ICE_SERVERS_MAX, keepIceSettings, parseIceServers, readIceSettings, type IceSettings } from "./ice-settings.ts";
export type { HostView, HostNotice, Observable } from "./status.ts";
export type { DirectPath, HostError, HostStatus, PageConfig, PathEnd, PeerStatus, StorageChoice } from "../protocol/messages.ts";

export interface ConnectOptions {
  /** Which identity of this browser; must match `PROFILE_PATTERN`. */
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
  /** Which addresses direct connections use, and how much went by them; undefined if the tab that hosts does not say. */
  directPaths(): Promise<DirectPath[] | undefined>;
  /** Stops hosting in order and gives the profile up. */
  stop(): Promise<void>;
}

/**
 * Joins the tabs of `profile`: hosts it here, or reaches the tab that does. Call once a page.
 * Throws RangeError for a profile name that may not stand in an address.
 */
export function connectHost({ profile, mayReload = () => true, onFatal = () => undefined }: ConnectOptions): HostConnection {
  if (!PROFILE_PATTERN.test(profile)) throw new RangeError(`not a profile name: ${profile}`);
  const view = new ViewState({
    role: "waiting",
    phase: "starting",
    storage: { kind: "indexeddb" },
    notices: [],
    secureContext: isSecureContext,
    serviceWorker: "starting",
    outdated: false,
  });
  view.subscribe(() => {
    // Says which tab hosts, for whoever looks into the page from outside: support, and the browser stories.
    document.documentElement.dataset.host = `${view.get().role} ${view.get().phase}`;
  });
  const door = new Door(profile, view);
  void registerServiceWorker(view);
  askToPersist();
  void open(door, view, { profile, mayReload, onFatal });
  return door;
}

async function open(door: Door, view: ViewState, { profile, mayReload, onFatal }: Required<ConnectOptions>): Promise<void> {
  // Its script loads while the configuration does.
  let first: HostWorkerPort | undefined = createWorker();
  const config = withIceSettings(await loadConfig(), readIceSettings(profile));
  view.set({ config });
  let reloads = false;
  const reloadOnce = () => {
    if (!reloads) reloadWhenIdle(mayReload);
    reloads = true;
  };
  const host = new PageHost({
    profile,
    build: WARREN_BUILD,
    config,
    view,
    createWorker: () => {
      const worker = first ?? createWorker();
      first = undefined;
      return worker;
    },
    onOutdated: reloadOnce,
    onNewerSchema: (error) => (reloadForSchema() ? undefined : onFatal(error)),
    onFatal,
    keepServiceWorkerAwake,
  });
  // A page in the back-forward cache, or a frozen one, would keep the lock and answer nobody.
  addEventListener("pagehide", () => host.putAway());
  addEventListener("pageshow", ({ persisted }) => persisted && host.takeOut());
  document.addEventListener("freeze", () => host.putAway());
  document.addEventListener("resume", () => host.takeOut());
  door.opened(host);
}

function createWorker(): HostWorkerPort {
  return new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "host-worker" }) as HostWorkerPort;
}

/** A newer page has changed the storage: the server has that page. Once for each build, or it would never end. */
function reloadForSchema(): boolean {
  const key = "warren.reloaded-for-schema";
  try {
    if (sessionStorage.getItem(key) === WARREN_BUILD.id) return false;
    sessionStorage.setItem(key, WARREN_BUILD.id);
  } catch {
    return false;
  }
  location.reload();
  return true;
}

class Door implements HostConnection {
  readonly baseUrl: string;
  #host?: PageHost;
  #stopped = false;
  readonly #waiting: (() => void)[] = [];

  constructor(
    private readonly profile: string,
    readonly status: ViewState,
  ) {
    this.baseUrl = baseUrlOf(location.origin, profile);
    this.fetch = this.fetch.bind(this);
  }

  opened(host: PageHost): void {
    this.#host = host;
    if (this.#stopped) void host.stop();
    for (const proceed of this.#waiting.splice(0)) proceed();
  }

  async fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init);
    const target = addressed(request.url, location.origin);
    const isAnothers = target && target.profile !== this.profile && target.profile !== DEFAULT_PROFILE;
    if (!target || isAnothers) return fetch(request);
    if (target.path.startsWith("/.well-known/")) {
      const { status, content } = wellKnown(target.path, location.origin, this.profile);
      return toResponse(jsonAnswer("", status, content));
    }
    request.signal.throwIfAborted();
    const wire = await toWire(request, target.path, newId());
    return toResponse(await this.#ask(wire, request.signal));
  }

  async directPaths(): Promise<DirectPath[] | undefined> {
    return this.#host?.directPaths();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#host?.stop();
  }

  async #ask(request: WireRequest, signal: AbortSignal): Promise<WireAnswer> {
    const aborted = new Promise<never>((_, reject) => {
      const abort = () => {
        this.#host?.pending.cancel(request.id);
        reject(signal.reason as Error);
      };
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
    return Promise.race([this.#answer(request, signal), aborted]);
  }

  async #answer(request: WireRequest, signal: AbortSignal): Promise<WireAnswer> {
    if (!this.#host) await new Promise<void>((proceed) => this.#waiting.push(proceed));
    const { phase, error } = this.status.get();
    if (!this.#host || phase === "failed") return unavailable(request.id, error?.message ?? "The homeserver could not start.");
    signal.throwIfAborted();
    return this.#host.pending.ask(request);
  }
}
