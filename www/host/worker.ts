// The host worker, one in every tab: leads or follows in its profile, and answers its page's requests either way.
import initialize, { Host } from "warren-browser";
import { openBroadcast } from "./channel.ts";
import { ExposedTab } from "./exposed-tab.ts";
import { LinkClient } from "./link-client.ts";
import { LinkServer } from "./link-server.ts";
import { LocalHomeserver } from "./local-homeserver.ts";
import { PendingRequests } from "./pending-requests.ts";
import { Tenure } from "./tenure.ts";
import type { Build, HostRole, Hosting, PageToWorker, WireAnswer, WireRequest, WorkerToPage } from "../protocol/messages.ts";

/** A request waits this long for some tab to host. */
const LEADER_WAIT_MAX_MS = 20_000;
/** How long an older build gets to finish before a newer one takes over. */
const HAND_OVER_MAX_MS = 1_500;
/** A service worker that waits without hearing anything is stopped after 30 s (Firefox); it is pinged well before. */
const SERVICE_WORKER_PING_MS = 8_000;

declare const self: {
  readonly location: Location;
  postMessage(message: WorkerToPage, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<PageToWorker>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "unhandledrejection", listener: (event: PromiseRejectionEvent) => void): void;
  /** Called by the panic hook of the wasm. */
  warrenPanicked: (message: string) => void;
};

type Begin = PageToWorker & { type: "begin" };

class HostWorker {
  readonly #pending = new PendingRequests({ nowMs: Date.now, waitMaxMs: LEADER_WAIT_MAX_MS });
  readonly #tenure: Tenure;
  #homeserver?: LocalHomeserver;
  #server?: LinkServer;
  #link?: LinkClient;
  #exposed?: ExposedTab;
  #pingedServiceWorkerMs = 0;
  #over = false;

  constructor(private readonly begin: Begin) {
    // The page gives up on a worker that says nothing.
    this.#role("waiting", 0);
    this.#tenure = new Tenure({
      profile: begin.profile,
      id: begin.worker,
      build: begin.build,
      locks: navigator.locks as LockManager | undefined,
      open: openBroadcast,
      onLead: (term) => this.#lead(term),
      onFollow: (leader, term) => this.#follow(leader, term),
      onWait: () => this.#wait(),
      onSuperseded: (reason) => this.#superseded(reason),
      onHandOver: (newer) => void this.#handOver(newer),
      onOutdated: (newer) => self.postMessage({ type: "outdated", newer }),
      onLink: (message) => this.#server?.accept(message),
      onTick: () => this.#tick(),
    });
  }

  async request(request: WireRequest): Promise<void> {
    const answer = await this.#pending.ask(request);
    const { buffer } = answer.body;
    const isAllOfIt = answer.body.byteLength === buffer.byteLength;
    self.postMessage({ type: "answer", answer }, isAllOfIt ? [buffer as ArrayBuffer] : []);
  }

  cancel(id: string): void {
    this.#pending.cancel(id);
  }

  trapped(message: string): void {
    this.#homeserver?.trapped(message);
  }

  async stop(): Promise<void> {
    await this.#end();
    self.postMessage({ type: "stopped" });
  }

  #lead(term: number): void {
    this.#dropLink();
    const homeserver: LocalHomeserver = new LocalHomeserver({
      profile: this.begin.profile,
      config: this.begin.config,
      rtc: this.begin.rtc,
      nowMs: Date.now,
      load: loadWasm,
      isAlive: (client) => this.#server?.isAlive(client) ?? Promise.resolve(false),
      onHosting: (hosting) => {
        this.#hosting(hosting);
        if (!this.#over) this.#expose(homeserver);
      },
      onFenced: () => this.#superseded("another tab writes to the profile's storage"),
      onFault: (message) => this.#fault(message),
    });
    this.#homeserver = homeserver;
    this.#server = new LinkServer({
      profile: this.begin.profile,
      self: this.begin.worker,
      open: openBroadcast,
      nowMs: Date.now,
      serve: (request) => homeserver.serve(request),
      acknowledged: (id) => homeserver.acknowledge(id),
      hosting: () => homeserver.hosting,
    });
    this.#role("leader", term);
    this.#hosting(homeserver.hosting);
    this.#pending.connect({
      send: (request) => void this.#serveOwnPage(homeserver, request),
      cancel: (id) => homeserver.acknowledge(id),
    });
  }

  async #serveOwnPage(homeserver: LocalHomeserver, request: WireRequest): Promise<void> {
    this.#pending.answered(await serveOnce(homeserver, request));
  }

  /** Tools of this machine may ask, where the page's server says so. */
  #expose(homeserver: LocalHomeserver): void {
    const serverName = homeserver.hosting.status?.serverName;
    if (this.#exposed || !this.begin.config.exposedTabs || !serverName) return;
    const url = new URL("/tabs", self.location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#exposed = new ExposedTab({ url: url.href, serverName, serve: (request) => serveOnce(homeserver, request) });
  }

  #follow(leader: string, term: number): void {
    this.#dropLink();
    const link: LinkClient = new LinkClient({
      profile: this.begin.profile,
      self: this.begin.worker,
      leader,
      kind: "tab",
      election: this.#tenure.channel,
      open: openBroadcast,
      nowMs: Date.now,
      onOpened: (carrier) => this.#pending.connect(carrier),
      onAnswer: (answer) => {
        this.#pending.answered(answer);
        link.acknowledge(answer.id);
      },
      onHosting: (hosting) => self.postMessage({ type: "hosting", hosting }),
      onClosed: () => this.#wait(),
    });
    this.#link = link;
    this.#role("follower", term);
  }

  #wait(): void {
    this.#dropLink();
    this.#role("waiting", 0);
  }

  /** What the leader had of ours is lost: asked again of the next, or answered 503. */
  #dropLink(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#pending.disconnect();
  }

  #hosting(hosting: Hosting): void {
    if (this.#over) return;
    self.postMessage({ type: "hosting", hosting });
    this.#server?.tell(hosting);
  }

  #role(role: HostRole, term: number): void {
    if (!this.#over) self.postMessage({ type: "role", role, term });
  }

  /** The page ends this worker when it hears of it, and with it the lock; until then it must not write. */
  #superseded(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#exposed?.close();
    this.#server?.close();
    void this.#homeserver?.stop();
    this.#tenure.leave();
    self.postMessage({ type: "superseded", reason });
  }

  #fault(message: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#exposed?.close();
    this.#server?.close();
    this.#tenure.leave();
    self.postMessage({ type: "panicked", message });
  }

  async #handOver(newer: Build): Promise<void> {
    await this.#end();
    self.postMessage({ type: "outdated", newer });
    self.postMessage({ type: "superseded", reason: "a newer version of Warren is open in another tab" });
  }

  async #end(): Promise<void> {
    this.#over = true;
    this.#exposed?.close();
    const patience = new Promise((resolve) => setTimeout(resolve, HAND_OVER_MAX_MS));
    await Promise.race([this.#homeserver?.stop(), patience]);
    this.#server?.close();
    this.#dropLink();
    this.#tenure.leave();
  }

  #tick(): void {
    this.#link?.tick();
    this.#server?.tick();
    this.#pending.expire();
    const isDue = Date.now() - this.#pingedServiceWorkerMs >= SERVICE_WORKER_PING_MS;
    if (isDue && (this.#server?.serviceWorkerWaitsMs ?? 0) >= SERVICE_WORKER_PING_MS) {
      this.#pingedServiceWorkerMs = Date.now();
      self.postMessage({ type: "keep-service-worker-awake" });
    }
  }
}

/** For askers that end together with this worker: nobody will ask for the same answer again. */
async function serveOnce(homeserver: LocalHomeserver, request: WireRequest): Promise<WireAnswer> {
  const answer = await homeserver.serve(request);
  homeserver.acknowledge(request.id);
  return answer;
}

async function loadWasm() {
  await initialize();
  return { Host };
}

let worker: HostWorker | undefined;

self.warrenPanicked = (message) => worker?.trapped(message);
// A trap without a panic (out of memory, stack overflow), in a task of the wasm that no request waits for.
self.addEventListener("error", ({ error, message }) => {
  if (error instanceof WebAssembly.RuntimeError) worker?.trapped(message);
});
self.addEventListener("unhandledrejection", ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) worker?.trapped(reason.message);
});

self.addEventListener("message", ({ data }) => {
  switch (data.type) {
    case "begin":
      worker ??= new HostWorker(data);
      return;
    case "request":
      return void worker?.request(data.request);
    case "cancel":
      return worker?.cancel(data.id);
    case "ping":
      return self.postMessage({ type: "pong", nonce: data.nonce });
    case "stop":
      return void worker?.stop();
  }
});
