// Which handler answers what, how long polls are capped, and what of the page is kept for when the server is away.
import { beforeEach, expect, test, vi } from "vitest";
import { AssetHandler, NETWORK_WAIT_MS } from "./asset-handler.ts";
import { chooseHandler, orderedHandlers } from "./handlers.ts";
import { capLongPoll, LONG_POLL_MAX_MS, MatrixHandler, redeliveryOf } from "./matrix-handler.ts";
import type { WireRequest } from "../protocol/messages.ts";

const ORIGIN = "http://localhost:8080";
const SHELL = { build: "two", shell: ["/", "/icon.svg", "/assets/app.1.js"] };

class FakeCaches {
  stores = new Map<string, Map<string, Response>>();
  keys = () => Promise.resolve([...this.stores.keys()]);
  delete = (name: string) => Promise.resolve(this.stores.delete(name));
  open = (name: string) => {
    const store = this.stores.get(name) ?? new Map<string, Response>();
    this.stores.set(name, store);
    return Promise.resolve({ put: (path: string, response: Response) => Promise.resolve(void store.set(path, response)) });
  };
  match = (path: string) => {
    for (const store of this.stores.values()) {
      const found = store.get(path);
      if (found) return Promise.resolve(found.clone());
    }
    return Promise.resolve(undefined);
  };
}

let asked: WireRequest[] = [];
let handedOver: string[] = [];
let network: (path: string) => Promise<Response>;
let fetched: string[] = [];
let caches: FakeCaches;
let assets: AssetHandler;

const html = (text: string) => new Response(text, { headers: { "Content-Type": "text/html; charset=utf-8" } });
const json = (text: string) => new Response(text, { headers: { "Content-Type": "application/json" } });

function newAssets(shell = SHELL): AssetHandler {
  const fetch = ({ url }: Request) => {
    fetched.push(new URL(url).pathname);
    return network(new URL(url).pathname);
  };
  return new AssetHandler({ origin: ORIGIN, shell, caches: caches as unknown as CacheStorage, fetch });
}

const matrix = new MatrixHandler({
  origin: ORIGIN,
  instance: "sw",
  hostPort: (profile) => ({
    ask: (request) => {
      asked.push(request);
      return Promise.resolve({ id: request.id, status: 200, headers: [["profile", profile]], body: new TextEncoder().encode("{}") });
    },
    cancel: () => undefined,
    handedOver: (id) => void handedOver.push(id),
  }),
});

beforeEach(() => {
  asked = [];
  handedOver = [];
  fetched = [];
  caches = new FakeCaches();
  network = (path) => Promise.resolve(path === "/config.json" ? json("{}") : html(`fresh ${path}`));
  // Node resolves no relative URLs; a service worker does, against its own.
  vi.stubGlobal("Request", class extends Request {
    constructor(input: RequestInfo | URL, init?: RequestInit) {
      super(typeof input === "string" ? new URL(input, ORIGIN) : input, { ...init, cache: undefined });
    }
  });
  assets = newAssets();
});

const handlerOf = (url: string, method = "GET") => chooseHandler(orderedHandlers(matrix, assets), new Request(url, { method }))?.name;

test.each([
  ["/_matrix/client/versions", "homeserver"],
  ["/p/anna/_matrix/client/versions", "homeserver"],
  ["/_matrix/assets/app.js", "homeserver"],
  ["/.well-known/matrix/client", "well-known"],
  ["/.well-known/matrix/server", "well-known"],
  ["/", "assets"],
  ["/?profile=anna", "assets"],
  ["/config.json", "assets"],
  ["/assets/anything.js", "assets"],
  ["/icon.svg", "assets"],
  ["/health", undefined],
  ["/service-worker.js", undefined],
  ["https://elsewhere.example/_matrix/client/versions", undefined],
  ["https://elsewhere.example/assets/app.js", undefined],
])("%s goes to %s", (url, name) => {
  expect(handlerOf(new URL(url, ORIGIN).href)).toBe(name);
});

test("every method of Matrix goes to the homeserver, only reads to the assets", () => {
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    expect(handlerOf(`${ORIGIN}/_matrix/x`, method)).toBe("homeserver");
    expect(handlerOf(`${ORIGIN}/`, method)).toBeUndefined();
  }
});

test("a request reaches its profile's homeserver and is acknowledged only when handed over", async () => {
  const body = JSON.stringify({ preset: "public_chat" });
  const request = new Request(`${ORIGIN}/p/anna/_matrix/client/v3/createRoom`, { method: "POST", body });
  const { response, handedOver: acknowledge } = await matrix.homeserver.handle(request, "page");
  expect(response.headers.get("profile")).toBe("anna");
  expect(asked[0]).toMatchObject({ method: "POST", url: "/_matrix/client/v3/createRoom", redelivery: { instance: "sw" } });
  expect(handedOver).toEqual([]);
  acknowledge?.();
  expect(handedOver).toEqual([asked[0]?.id]);
});

test("a read carries no mark of redelivery", async () => {
  await matrix.homeserver.handle(new Request(`${ORIGIN}/_matrix/client/v3/sync`), "page");
  expect(asked[0]?.redelivery).toBeUndefined();
});

test("the mark is the same for the same request of the same client, and for no other", async () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const request: WireRequest = { id: "1", method: "POST", url: "/_matrix/a", headers: [["authorization", "Bearer a"]], body: bytes("{}") };
  const key = async (change: Partial<WireRequest>, client = "page") => (await redeliveryOf({ ...request, ...change }, client, "sw")).key;
  const same = await key({});
  expect(await key({ id: "2" })).toBe(same);
  const others = [
    await key({}, "another page"), await key({ method: "PUT" }), await key({ url: "/_matrix/b" }),
    await key({ headers: [["authorization", "Bearer b"]] }), await key({ body: bytes("{} ") }), await key({ body: undefined }),
  ];
  expect(new Set([same, ...others]).size).toBe(others.length + 1);
});

test("a long poll never lasts longer than a service worker may live", () => {
  expect(capLongPoll("/_matrix/client/v3/sync?since=s1&timeout=600000")).toBe(`/_matrix/client/v3/sync?since=s1&timeout=${LONG_POLL_MAX_MS}`);
  for (const path of ["/_matrix/client/v3/sync?timeout=1000&filter=%7B%7D", "/_matrix/client/v3/sync", "/_matrix/x?timeout=soon"]) {
    expect(capLongPoll(path)).toBe(path);
  }
});

const textOf = async (path: string, handler = assets) => (await handler.handle(new Request(ORIGIN + path))).response.text();

test("once loaded, the page opens with its server away", async () => {
  await assets.precache();
  network = () => Promise.reject(new TypeError("Failed to fetch"));
  expect(await textOf("/?profile=anna")).toBe("fresh /");
  expect(await textOf("/index.html")).toBe("fresh /");
  expect(await textOf("/assets/app.1.js")).toBe("fresh /assets/app.1.js");
  expect(await textOf("/icon.svg")).toBe("fresh /icon.svg");
  expect(await textOf("/config.json")).toBe("{}");
});

test("with the server there, the page is the server's, and what has a digest for a name is not asked again", async () => {
  await assets.precache();
  network = (path) => Promise.resolve(html(`newer ${path}`));
  fetched = [];
  expect(await textOf("/")).toBe("newer /");
  expect(await textOf("/assets/app.1.js")).toBe("fresh /assets/app.1.js");
  expect(fetched).toEqual(["/"]);
});

test("a server that does not answer is not waited for long; one that complains is not believed", async () => {
  await assets.precache();
  vi.useFakeTimers();
  network = () => new Promise(() => undefined);
  const page = textOf("/");
  await vi.advanceTimersByTimeAsync(NETWORK_WAIT_MS);
  expect(await page).toBe("fresh /");
  vi.useRealTimers();
  network = () => Promise.resolve(new Response("bad gateway", { status: 502 }));
  expect(await textOf("/")).toBe("fresh /");
});

test("neither a complaint nor another kind of page takes the app's place", async () => {
  await assets.precache();
  network = () => Promise.resolve(json(`{"health":"ok"}`));
  await textOf("/");
  network = () => Promise.resolve(new Response("not here", { status: 404 }));
  await textOf("/");
  network = () => Promise.reject(new TypeError("Failed to fetch"));
  expect(await textOf("/")).toBe("fresh /");
});

test("a first visit with a part of the shell missing does not install half a page", async () => {
  network = (path) => Promise.resolve(path === "/icon.svg" ? new Response("", { status: 404 }) : html("x"));
  await expect(assets.precache()).rejects.toThrow("/icon.svg: 404");
});

test("the build before is kept for tabs that still run it, older ones are not, others' caches are left alone", async () => {
  for (const name of ["warren-page-zero", "warren-page-one", "someone else's"]) await caches.open(name);
  await assets.precache();
  await assets.forgetOldBuilds();
  expect([...caches.stores.keys()].sort()).toEqual(["someone else's", "warren-page-one", "warren-page-two"]);
});
