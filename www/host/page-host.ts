// Keeps this tab's host worker alive: starts it, watches it, ends and replaces it when it faulted, hung or was overtaken.
import { electionChannelName, openBroadcast, type ElectionChannel } from "./channel.ts";
import { PendingRequests, type Carrier } from "./pending-requests.ts";
import { RestartPace } from "./restart-pace.ts";
import { pathOf } from "./direct-path.ts";
import { RtcBroker } from "./rtc-broker.ts";
import { SharedPaths } from "./shared-paths.ts";
import { newId } from "./wire.ts";
import type { ViewState } from "./view-state.ts";
import type { Build, DirectPath, HostError, HostRole, Hosting, PageConfig, PageToWorker, WorkerToPage } from "../protocol/messages.ts";

/** The worker answers each of these; three in a row unanswered mean that it hangs. */
const WATCH_EVERY_MS = 1_000;
const UNANSWERED_MAX = 3;
/** So many while it starts: a weak machine takes its time over the wasm, and from the beginning each time it is hurried. */
const UNANSWERED_AT_START_MAX = 20;
/** Its first word, after its script has been fetched, may take this long. */
const LOAD_MAX_MS = 20_000;
/** A turn of the watch this late means that the page itself stood still. */
const STOOD_STILL_AFTER_MS = 2_500;
/** Longer than the worker waits for a leader: the worker's own answer comes first. */
const WORKER_WAIT_MAX_MS = 60_000;
const STOP_WAIT_MAX_MS = 2_000;

/** What of a Worker is used; a test puts something else in its place. */
export interface HostWorkerPort {
  postMessage(message: PageToWorker, transfer?: Transferable[]): void;
  terminate(): void;
  onmessage: ((event: MessageEvent<WorkerToPage>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

export interface PageHostOptions {
  profile: string;
  build: Build;
  config: PageConfig;
  view: ViewState;
  createWorker: () => HostWorkerPort;
  onOutdated: () => void;
  onNewerSchema: (error: HostError) => void;
  onFatal: (error: HostError) => void;
  keepServiceWorkerAwake: () => void;
}

interface Running {
  id: string;
  port: HostWorkerPort;
  /** Makes this worker's peer connections; they end with it. */
  rtc: RtcBroker;
  role: HostRole;
  term: number;
  startedMs: number;
  /** Its homeserver has started, or not been able to. */
  started: boolean;
  /** Undefined until the worker has spoken: loading it may take long. */
  watched?: { sent: number; answered: number; unanswered: number; turnMs: number };
  stopped?: () => void;
}

export class PageHost {
  readonly pending = new PendingRequests({ nowMs: Date.now, waitMaxMs: WORKER_WAIT_MAX_MS });
  readonly #channel: ElectionChannel;
  readonly #paths: SharedPaths;
  readonly #pace = new RestartPace();
  readonly #watch: ReturnType<typeof setInterval>;
  #running?: Running;
  #restart?: ReturnType<typeof setTimeout>;
  #put: "up" | "away" | "stopped" = "up";

  constructor(private readonly options: PageHostOptions) {
    this.#channel = openBroadcast(electionChannelName(options.profile));
    this.#channel.onMessage = (message) => {
      const running = this.#running;
      if (message.type !== "leading" || running?.role !== "leader" || message.from === running.id) return;
      // A worker that hangs, perhaps in the middle of a transaction, does not hear that it has been replaced.
      if (message.term > running.term) this.#replace("taken-over", "Another tab took over.");
    };
    this.#paths = new SharedPaths({ profile: options.profile, open: openBroadcast, own: () => this.#ownPaths() });
    this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    this.#start();
  }

  /** The page is being frozen or put into the browser's back-forward cache: whoever is left takes over. */
  putAway(): void {
    if (this.#put !== "up") return;
    this.#put = "away";
    this.#end();
    this.options.view.set({ phase: "stopped", role: "waiting" });
  }

  /** The page is shown again. */
  takeOut(): void {
    if (this.#put !== "away") return;
    this.#put = "up";
    this.options.view.set({ phase: "starting" });
    this.#start();
  }

  /** Stops in order and for good. */
  async stop(): Promise<void> {
    if (this.#put === "stopped") return;
    this.#put = "stopped";
    clearInterval(this.#watch);
    const running = this.#running;
    if (running) {
      const stopped = new Promise<void>((resolve) => (running.stopped = resolve));
      running.port.postMessage({ type: "stop" });
      await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, STOP_WAIT_MAX_MS))]);
    }
    this.#end();
    this.#channel.close();
    this.#paths.close();
    this.pending.refuseAll("The homeserver of this tab was stopped.");
    this.options.view.set({ phase: "stopped", role: "waiting" });
  }

  /** Of the hosting tab's peer connections, wherever that is; undefined if it does not answer. */
  directPaths(): Promise<DirectPath[] | undefined> {
    return this.#paths.get();
  }

  #ownPaths(): Promise<DirectPath[]> | undefined {
    if (this.#running?.role !== "leader") return undefined;
    const { hideAddresses = false } = this.options.config;
    const connections = this.#running.rtc.connections();
    return Promise.all(connections.map(({ peerId, peer }) => pathOf(peerId, peer, hideAddresses)));
  }

  #start(): void {
    const { profile, build, config, createWorker } = this.options;
    const { port1, port2 } = new MessageChannel();
    const running: Running = {
      id: newId(),
      port: createWorker(),
      rtc: new RtcBroker(port1),
      role: "waiting",
      term: 0,
      started: false,
      startedMs: performance.now(),
    };
    this.#running = running;
    running.port.onmessage = ({ data }) => {
      if (this.#running === running) this.#received(running, data);
    };
    running.port.onerror = (event) => {
      // Before its first word: the script could not be loaded. Later the worker reports for itself.
      if (this.#running === running && !running.watched) this.#faulted(event.message ?? "The worker could not be loaded.");
    };
    running.port.postMessage({ type: "begin", worker: running.id, profile, build, config, rtc: port2 }, [port2]);
    const carrier: Carrier = {
      send: (request) => running.port.postMessage({ type: "request", request }),
      cancel: (id) => running.port.postMessage({ type: "cancel", id }),
    };
    this.pending.connect(carrier);
  }

  /** Ends the worker, at once; what it had of ours is asked again of the next, or answered 503. */
  #end(): void {
    clearTimeout(this.#restart);
    const running = this.#running;
    if (!running) return;
    this.#running = undefined;
    running.port.terminate();
    running.rtc.close();
    // It cannot say so itself any more.
    this.#channel.post({ type: "leaving", from: running.id });
    this.pending.disconnect();
  }

  #replace(kind: "taken-over" | "restarted-after-fault", message: string, detail?: string): void {
    if (this.#put !== "up") return;
    this.#end();
    this.options.view.set({ role: "waiting", phase: "restarting" });
    this.options.view.note(kind, message, detail);
    const delayMs = kind === "taken-over" ? this.#pace.afterTakeOver(Date.now()) : this.#pace.afterFault(Date.now());
    if (delayMs === undefined) return this.#failed(detail ?? message);
    // In a hidden page even a timer of no time takes a second.
    if (delayMs === 0) this.#start();
    else this.#restart = setTimeout(() => this.#start(), delayMs);
  }

  #faulted(report: string): void {
    this.#replace("restarted-after-fault", "The homeserver stopped at a fault and was restarted. Nothing that was stored is lost.", report);
  }

  #failed(report: string): void {
    const error: HostError = { code: "internal", message: `The homeserver keeps failing: ${report}` };
    this.options.view.set({ phase: "failed", error });
    this.pending.refuseAll(error.message);
    this.options.onFatal(error);
  }

  #received(running: Running, message: WorkerToPage): void {
    running.watched ??= { sent: 0, answered: 0, unanswered: 0, turnMs: performance.now() };
    switch (message.type) {
      case "answer":
        return void this.pending.answered(message.answer);
      case "pong":
        running.watched.answered = message.nonce;
        return;
      case "role":
        return this.#roleIs(running, message.role, message.term);
      case "hosting":
        running.started = message.hosting.phase !== "starting";
        return this.#hosting(message.hosting);
      case "panicked":
        return this.#faulted(message.message);
      case "superseded":
        return this.#replace("taken-over", `This tab no longer runs the homeserver: ${message.reason}.`);
      case "outdated":
        this.options.view.set({ outdated: true });
        return this.options.onOutdated();
      case "keep-service-worker-awake":
        return this.options.keepServiceWorkerAwake();
      case "stopped":
        return running.stopped?.();
    }
  }

  #roleIs(running: Running, role: HostRole, term: number): void {
    Object.assign(running, { role, term });
    const { view } = this.options;
    const wasFollowing = view.get().role === "follower";
    view.set({ role });
    if (role !== "waiting") return;
    if (view.get().phase === "running") view.set({ phase: "restarting" });
    if (wasFollowing) view.note("leader-lost", "The tab that ran the homeserver is gone; another takes over.");
  }

  #hosting({ phase, storage, status, error }: Hosting): void {
    const { view } = this.options;
    const shown = phase === "starting" && view.get().phase === "restarting" ? "restarting" : phase;
    const isNewlyInMemory = storage.kind === "memory" && view.get().storage.kind !== "memory";
    view.set({ phase: shown, storage, error, homeserver: status ?? view.get().homeserver });
    if (isNewlyInMemory) {
      view.note("storage-in-memory", "This browser keeps nothing for this page: identity and rooms end with the tab.", storage.reason);
    }
    if (phase !== "failed" || !error) return;
    if (error.code === "newer_schema") this.options.onNewerSchema(error);
    else this.options.onFatal(error);
  }

  #look(): void {
    this.pending.expire();
    const running = this.#running;
    const watched = running?.watched;
    if (running && !watched && performance.now() - running.startedMs > LOAD_MAX_MS) {
      return this.#faulted("The worker did not start.");
    }
    if (!running || !watched) return;
    const stoodStill = performance.now() - watched.turnMs > STOOD_STILL_AFTER_MS;
    watched.turnMs = performance.now();
    watched.unanswered = watched.answered === watched.sent || stoodStill ? 0 : watched.unanswered + 1;
    const unansweredMax = running.started ? UNANSWERED_MAX : UNANSWERED_AT_START_MAX;
    if (watched.unanswered >= unansweredMax) return this.#faulted("The homeserver did not respond any more.");
    watched.sent += 1;
    running.port.postMessage({ type: "ping", nonce: watched.sent });
  }
}
