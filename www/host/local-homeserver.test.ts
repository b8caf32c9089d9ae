// Starting the homeserver, falling back to memory, fences and traps, on a stand-in for the wasm.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LocalHomeserver, type LoadHost } from "./local-homeserver.ts";
import { reasonOf } from "./persistence.ts";
import type { HostStatus, Hosting, WireRequest } from "../protocol/messages.ts";

type Handle = (method: string, url: string) => Promise<{ status: number; headers: []; body: Uint8Array }>;

const ok: Handle = () => Promise.resolve({ status: 200, headers: [], body: new Uint8Array() });
const never: Handle = () => new Promise(() => undefined);
const request = (id: string, url = "/_matrix/x", method = "POST"): WireRequest => ({ id, method, url, headers: [] });

beforeEach(() => {
  vi.stubGlobal("indexedDB", { open: () => { throw new DOMException("no", "SecurityError"); } });
});
afterEach(() => void vi.unstubAllGlobals());

interface StandIn {
  handle?: Handle;
  /** What starting on IndexedDB rejects with. */
  refuses?: { code: string; message: string };
  load?: LoadHost;
}

function start({ handle = ok, refuses, load }: StandIn = {}) {
  const seen = { hosting: [] as Hosting[], storages: [] as string[], fenced: 0, faults: [] as string[], status: (_: HostStatus): void => undefined };
  const Host = {
    start: (config: { storage: string }, onStatus: (status: HostStatus) => void) => {
      seen.storages.push(config.storage);
      seen.status = onStatus;
      // As wasm-bindgen rejects: with whatever the Rust side made, not with an Error.
      if (refuses && config.storage === "indexeddb") return Promise.reject(refuses);
      return Promise.resolve({ handle, stop: () => Promise.resolve() } as never);
    },
  };
  const homeserver = new LocalHomeserver({
    profile: "p",
    config: { version: 1, relays: [], iceServers: [], serverNameSuffix: "alt", publicUrl: "" },
    load: load ?? (() => Promise.resolve({ Host })),
    nowMs: Date.now,
    isAlive: () => Promise.resolve(false),
    onHosting: (hosting) => seen.hosting.push(hosting),
    onFenced: () => (seen.fenced += 1),
    onFault: (message) => void seen.faults.push(message),
  });
  return { homeserver, seen };
}

const errorOf = (body: Uint8Array) => (JSON.parse(new TextDecoder().decode(body)) as { error: string }).error;

test("requests made while it starts are answered once it runs", async () => {
  const { homeserver, seen } = start();
  expect(await homeserver.serve(request("1"))).toMatchObject({ id: "1", status: 200 });
  expect(seen.hosting.at(-1)?.phase).toBe("running");
  expect(seen.storages).toEqual(["indexeddb"]);
});

test("a browser that keeps no databases: it runs in memory and says why", async () => {
  const { homeserver, seen } = start({ refuses: { code: "storage_unavailable", message: "no" } });
  expect((await homeserver.serve(request("1"))).status).toBe(200);
  expect(seen.storages).toEqual(["indexeddb", "memory"]);
  expect(seen.hosting.at(-1)).toMatchObject({ phase: "running", storage: { kind: "memory", reason: "blocked" } });
});

test.each(["storage_full", "newer_schema", "internal"])("%s: it refuses, and does not show an empty house instead", async (code) => {
  const { homeserver, seen } = start({ refuses: { code, message: "the reason" } });
  const answer = await homeserver.serve(request("1"));
  expect(answer.status).toBe(503);
  expect(errorOf(answer.body)).toContain("the reason");
  expect(seen.storages).toEqual(["indexeddb"]);
  expect(seen.hosting.at(-1)).toMatchObject({ phase: "failed", error: { code, message: "the reason" } });
});

test("a wasm that cannot be loaded is an internal error in words", async () => {
  const { homeserver, seen } = start({ load: () => Promise.reject(new TypeError("Failed to fetch")) });
  expect((await homeserver.serve(request("1"))).status).toBe(503);
  expect(seen.hosting.at(-1)?.error).toEqual({ code: "internal", message: "Failed to fetch" });
});

test("fenced by another leader: told, not shown", async () => {
  const { homeserver, seen } = start();
  await homeserver.serve(request("1"));
  seen.status({ storage: { kind: "indexeddb", error: "fenced" } } as HostStatus);
  expect(seen.fenced).toBe(1);
  expect(seen.hosting.at(-1)?.status).toBeUndefined();
});

test("a trap: what was in hand is answered 503, what comes after too, and it is reported once", async () => {
  const { homeserver, seen } = start({ handle: never });
  const inHand = homeserver.serve(request("1"));
  await Promise.resolve();
  homeserver.trapped("unreachable");
  homeserver.trapped("again");
  expect(await inHand).toMatchObject({ id: "1", status: 503 });
  expect(await homeserver.serve(request("2"))).toMatchObject({ id: "2", status: 503 });
  await vi.waitFor(() => expect(seen.faults).toEqual(["unreachable"]));
});

test("a trap: what may safely be asked again of the next is left to it", async () => {
  const { homeserver, seen } = start({ handle: never });
  const named: WireRequest = { ...request("1", "/_matrix/client/v3/createRoom"), headers: [["warren-request-id", "1"]] };
  const settled = vi.fn();
  void homeserver.serve(named).then(settled);
  void homeserver.serve(request("2", "/_matrix/client/v3/sync", "GET")).then(settled);
  await Promise.resolve();
  homeserver.trapped("unreachable");
  void homeserver.serve({ ...named, id: "3" }).then(settled);
  await vi.waitFor(() => expect(seen.faults).toEqual(["unreachable"]));
  expect(settled).not.toHaveBeenCalled();
});

test("a trap seen only as a rejected call counts", async () => {
  const { homeserver, seen } = start({ handle: () => Promise.reject(new Error("unreachable executed")) });
  expect((await homeserver.serve(request("1"))).status).toBe(503);
  await vi.waitFor(() => expect(seen.faults).toEqual(["unreachable executed"]));
});

test("calls rejected by an ordered stop are no trap", async () => {
  let reject: (error: Error) => void = () => undefined;
  const { homeserver, seen } = start({ handle: () => new Promise((_, refuse) => (reject = refuse)) });
  void homeserver.serve(request("1"));
  await new Promise((resolve) => setTimeout(resolve));
  await homeserver.stop();
  reject(new Error("stopped"));
  await new Promise((resolve) => setTimeout(resolve));
  expect(seen.faults).toEqual([]);
});

test("the reason for which nothing is kept", () => {
  expect(reasonOf(new DOMException("", "QuotaExceededError"))).toBe("full");
  expect(reasonOf(new DOMException("", "InvalidStateError"))).toBe("private");
  expect(reasonOf(new DOMException("", "SecurityError"))).toBe("blocked");
  expect(reasonOf(undefined)).toBe("blocked");
});
