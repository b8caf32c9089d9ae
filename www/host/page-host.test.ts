// The page's side: workers that fault, hang, are overtaken or put away are replaced, and no request is left hanging.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PageHost, type HostWorkerPort } from "./page-host.ts";
import { FORGIVEN_AFTER_MS, PAUSES_AFTER_FAULT_MS, RestartPace } from "./restart-pace.ts";
import { electionChannelName } from "./channel.ts";
import { ViewState } from "./view-state.ts";
import type { ElectionMessage, HostError, HostStatus, PageToWorker, WireRequest, WorkerToPage } from "../protocol/messages.ts";

const RESTARTED_WITHIN_MS = 2_000;
let profiles = 0;
let page: Page;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance", "Date"] });
  page = new Page();
});
afterEach(async () => {
  const stopped = page.host.stop();
  await vi.advanceTimersByTimeAsync(10_000);
  await stopped;
  page.others.close();
  vi.useRealTimers();
});

class FakePeer {
  static open = 0;
  onicecandidate = null;
  onconnectionstatechange = null;
  ondatachannel = null;
  sctp = null;
  constructor() {
    FakePeer.open += 1;
  }
  close(): void {
    FakePeer.open -= 1;
  }
}

class FakeWorker implements HostWorkerPort {
  heard: PageToWorker[] = [];
  terminated = false;
  hangs = false;
  onmessage: HostWorkerPort["onmessage"] = null;
  onerror: HostWorkerPort["onerror"] = null;

  postMessage(message: PageToWorker): void {
    this.heard.push(message);
    if (this.hangs) return;
    if (message.type === "ping") this.say({ type: "pong", nonce: message.nonce });
    if (message.type === "stop") this.say({ type: "stopped" });
  }

  terminate(): void {
    this.terminated = true;
  }

  say(data: WorkerToPage): void {
    this.onmessage?.({ data } as MessageEvent<WorkerToPage>);
  }

  leads(): void {
    this.say({ type: "role", role: "leader", term: 100 });
    this.say({ type: "hosting", hosting: { phase: "running", storage: { kind: "indexeddb" }, status: {} as HostStatus } });
  }

  get requests(): string[] {
    return this.heard.flatMap((message) => (message.type === "request" ? [message.request.id] : []));
  }
}

class Page {
  workers: FakeWorker[] = [];
  fatal: HostError[] = [];
  awake = 0;
  outdated = 0;
  newerSchema = 0;
  statuses: Record<string, number> = {};
  heard: ElectionMessage[] = [];
  readonly view = new ViewState({
    role: "waiting", phase: "starting", storage: { kind: "indexeddb" }, notices: [],
    secureContext: true, serviceWorker: "starting", outdated: false,
  });
  readonly profile = `profile-${profiles++}`;
  readonly others = new BroadcastChannel(electionChannelName(this.profile));
  readonly host = new PageHost({
    profile: this.profile,
    build: { id: "test", time: 1 },
    config: { version: 1, relays: [], iceServers: [], serverNameSuffix: "alt", publicUrl: "" },
    view: this.view,
    createWorker: () => {
      const worker = new FakeWorker();
      this.workers.push(worker);
      return worker;
    },
    onOutdated: () => (this.outdated += 1),
    onNewerSchema: () => (this.newerSchema += 1),
    onFatal: (error) => void this.fatal.push(error),
    keepServiceWorkerAwake: () => (this.awake += 1),
  });

  constructor() {
    this.others.onmessage = ({ data }) => this.heard.push(data as ElectionMessage);
  }

  ask(id: string, method = "GET"): void {
    const request: WireRequest = { id, method, url: "/_matrix/x", headers: [] };
    void this.host.pending.ask(request).then(({ status }) => (this.statuses[id] = status));
  }

  get worker(): FakeWorker {
    const worker = this.workers.at(-1);
    if (!worker) throw new Error("no worker");
    return worker;
  }

  get notices(): string[] {
    return this.view.get().notices.map(({ kind }) => kind);
  }
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
/** For BroadcastChannel, which no fake timer moves. */
const realTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a worker that traps is replaced within two seconds; reads go on, the view says what happened", async () => {
  page.worker.leads();
  page.ask("read");
  page.ask("write", "POST");
  page.worker.say({ type: "panicked", message: "index out of bounds" });
  expect(page.workers[0]?.terminated).toBe(true);
  expect(page.view.get().phase).toBe("restarting");
  await pass(RESTARTED_WITHIN_MS);
  expect(page.workers).toHaveLength(2);
  expect(page.worker.requests).toEqual(["read"]);
  expect(page.statuses).toEqual({ write: 503 });
  page.worker.leads();
  expect(page.view.get().phase).toBe("running");
  expect(page.view.get().notices.at(-1)).toMatchObject({ kind: "restarted-after-fault", detail: "index out of bounds" });
});

test("a worker that hangs is replaced; one that is busy for a moment is not", async () => {
  page.worker.leads();
  await pass(5_000);
  page.worker.hangs = true;
  await pass(1_500);
  page.worker.hangs = false;
  page.worker.say({ type: "pong", nonce: page.worker.heard.filter(({ type }) => type === "ping").length });
  await pass(5_000);
  expect(page.workers).toHaveLength(1);
  page.worker.hangs = true;
  await pass(6_000);
  expect(page.workers).toHaveLength(2);
  expect(page.notices).toEqual(["restarted-after-fault"]);
});

test("a worker that is silent while it starts gets more time, and an end too", async () => {
  page.worker.say({ type: "role", role: "leader", term: 100 });
  page.worker.say({ type: "hosting", hosting: { phase: "starting", storage: { kind: "indexeddb" } } });
  page.worker.hangs = true;
  await pass(15_000);
  expect(page.workers).toHaveLength(1);
  await pass(10_000);
  expect(page.workers).toHaveLength(2);
});

test("a worker that keeps failing is given up, and everything is answered", async () => {
  for (let n = 0; n <= PAUSES_AFTER_FAULT_MS.length; n++) {
    page.worker.leads();
    page.worker.say({ type: "panicked", message: `fault ${n}` });
    page.ask(`after ${n}`);
    await pass(Math.max(...PAUSES_AFTER_FAULT_MS) + 1_000);
  }
  expect(page.fatal).toHaveLength(1);
  expect(page.view.get()).toMatchObject({ phase: "failed", error: { code: "internal" } });
  await pass(120_000);
  expect(Object.keys(page.statuses)).toHaveLength(PAUSES_AFTER_FAULT_MS.length + 1);
});

test("a script that cannot be loaded counts as a fault", async () => {
  page.worker.onerror?.({ message: undefined } as unknown as ErrorEvent);
  await pass(RESTARTED_WITHIN_MS);
  expect(page.workers).toHaveLength(2);
});

test("a worker that never says a word is replaced", async () => {
  await pass(15_000);
  expect(page.workers).toHaveLength(1);
  await pass(10_000);
  expect(page.workers).toHaveLength(2);
});

test("overtaken: replaced by one that follows, without an alarm", async () => {
  page.worker.leads();
  page.worker.say({ type: "superseded", reason: "another tab took over" });
  await pass(100);
  expect(page.workers).toHaveLength(2);
  expect(page.notices).toEqual(["taken-over"]);
});

test("a hung leader that another tab robbed is ended by its page, so that its open transactions end", async () => {
  page.worker.leads();
  page.worker.hangs = true;
  page.others.postMessage({ type: "leading", from: "other", term: 99, build: { id: "x", time: 1 }, protocol: 1 });
  await vi.waitFor(async () => (await realTurn(), expect(page.workers).toHaveLength(1)));
  page.others.postMessage({ type: "leading", from: "other", term: 101, build: { id: "x", time: 1 }, protocol: 1 });
  vi.useRealTimers();
  await vi.waitFor(() => expect(page.workers[0]?.terminated).toBe(true));
  vi.useFakeTimers();
});

test("a page put away gives the profile up and says so; taken out it starts anew", async () => {
  page.worker.leads();
  const first = page.workers[0]?.heard[0];
  page.ask("read");
  page.host.putAway();
  expect(page.worker.terminated).toBe(true);
  expect(page.view.get()).toMatchObject({ phase: "stopped", role: "waiting" });
  page.host.putAway();
  page.host.takeOut();
  expect(page.workers).toHaveLength(2);
  expect(page.worker.requests).toEqual(["read"]);
  vi.useRealTimers();
  await vi.waitFor(() => {
    expect(page.heard).toEqual([{ type: "leaving", from: first?.type === "begin" ? first.worker : "" }]);
  });
  vi.useFakeTimers();
});

test("peer connections made for a worker end with it", async () => {
  vi.stubGlobal("RTCPeerConnection", FakePeer);
  const begin = page.worker.heard[0];
  if (begin?.type !== "begin") throw new Error("the first word is another");
  begin.rtc.postMessage({ type: "connect", connection: 1, configuration: {} });
  vi.useRealTimers();
  await vi.waitFor(() => expect(FakePeer.open).toBe(1));
  vi.useFakeTimers();
  page.host.putAway();
  expect(FakePeer.open).toBe(0);
  vi.unstubAllGlobals();
});

test("what the worker says reaches the view and whoever is meant", () => {
  page.worker.say({ type: "role", role: "follower", term: 5 });
  page.worker.say({ type: "hosting", hosting: { phase: "running", storage: { kind: "memory", reason: "blocked" } } });
  expect(page.view.get()).toMatchObject({ role: "follower", phase: "running", storage: { kind: "memory", reason: "blocked" } });
  page.worker.say({ type: "role", role: "waiting", term: 0 });
  expect(page.view.get().phase).toBe("restarting");
  page.worker.say({ type: "keep-service-worker-awake" });
  page.worker.say({ type: "outdated", newer: { id: "y", time: 2 } });
  expect([page.awake, page.outdated, page.notices]).toEqual([1, 1, ["storage-in-memory", "leader-lost"]]);
  expect(page.view.get().outdated).toBe(true);
});

test("a homeserver that cannot start is told; a newer schema asks for the newer page", () => {
  const failed = (code: HostError["code"]) =>
    page.worker.say({ type: "hosting", hosting: { phase: "failed", storage: { kind: "indexeddb" }, error: { code, message: code } } });
  failed("newer_schema");
  expect([page.newerSchema, page.fatal.length]).toEqual([1, 0]);
  failed("storage_full");
  expect(page.fatal).toEqual([{ code: "storage_full", message: "storage_full" }]);
  expect(page.view.get().phase).toBe("failed");
});

test("the pace of restarts: two at once, then slower, then none; old faults are forgiven", () => {
  const pace = new RestartPace();
  const pauses = Array.from({ length: PAUSES_AFTER_FAULT_MS.length + 1 }, (_, n) => pace.afterFault(n * 1_000));
  expect(pauses).toEqual([...PAUSES_AFTER_FAULT_MS, undefined]);
  expect(pauses.slice(0, 2)).toEqual([0, 0]);
  expect(pace.afterFault(FORGIVEN_AFTER_MS + 10_000)).toBe(0);
  expect(pace.afterTakeOver(0)).toBe(0);
  expect(pace.afterTakeOver(10)).toBeGreaterThan(0);
  expect(pace.afterTakeOver(60_000)).toBe(0);
});
