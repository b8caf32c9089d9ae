// Keeps the page itself at hand, so that it opens when its server cannot be reached. Never keeps an answer of Matrix.
import type { Handled, Handler } from "./handlers.ts";

const CACHE_PREFIX = "warren-page-";
/** The present build and the one before: a tab of the old build may still load a part of it. */
const CACHES_KEPT = 2;
/** A server slower than this is treated as absent, if there is something to show instead. */
export const NETWORK_WAIT_MS = 3_000;
/** Their content changes under the same name: asked of the network first. */
const PAGE_PATHS = ["/", "/index.html"];
const CONFIG_PATH = "/config.json";
const HASHED_PATH = /^\/assets\//;

/** The list of what the app consists of; the build puts it in. */
export interface Shell {
  build: string;
  shell: string[];
}

export interface AssetHandlerOptions {
  origin: string;
  shell: Shell;
  caches: CacheStorage;
  fetch: (request: Request) => Promise<Response>;
}

export class AssetHandler implements Handler {
  readonly name = "assets";
  readonly #cacheName: string;

  constructor(private readonly options: AssetHandlerOptions) {
    this.#cacheName = CACHE_PREFIX + options.shell.build;
  }

  canHandle(request: Request): boolean {
    const { origin, pathname } = new URL(request.url);
    if (request.method !== "GET" || origin !== this.options.origin) return false;
    return [...PAGE_PATHS, CONFIG_PATH].includes(pathname) || this.#isOfShell(pathname);
  }

  async handle(request: Request): Promise<Handled> {
    const { pathname } = new URL(request.url);
    if (PAGE_PATHS.includes(pathname)) return { response: await this.#networkFirst(request, "/") };
    if (pathname === CONFIG_PATH) return { response: await this.#networkFirst(request, CONFIG_PATH) };
    return { response: await this.#cacheFirst(request) };
  }

  /** Fetches the whole shell; what a build calls by digest and an older cache has is not fetched again. */
  async precache(): Promise<void> {
    const store = await this.options.caches.open(this.#cacheName);
    await Promise.all(
      [...this.options.shell.shell, CONFIG_PATH].map(async (path) => {
        const isHashed = HASHED_PATH.test(path);
        const kept = isHashed ? await this.options.caches.match(path) : undefined;
        // What a digest names is what the page has just loaded; the rest may be stale in the browser's own cache.
        const cache = isHashed ? "default" : "reload";
        const response = kept ?? (await this.options.fetch(new Request(path, { cache })));
        if (response.ok) await store.put(path, response);
        else if (path !== CONFIG_PATH) throw new Error(`${path}: ${response.status}`);
      }),
    );
  }

  /** Drops the caches of builds long gone. */
  async forgetOldBuilds(): Promise<void> {
    const ours = (await this.options.caches.keys()).filter((name) => name.startsWith(CACHE_PREFIX) && name !== this.#cacheName);
    const surplus = ours.slice(0, Math.max(0, ours.length - (CACHES_KEPT - 1)));
    await Promise.all(surplus.map((name) => this.options.caches.delete(name)));
  }

  #isOfShell(pathname: string): boolean {
    return HASHED_PATH.test(pathname) || this.options.shell.shell.includes(pathname);
  }

  async #networkFirst(request: Request, keptAs: string): Promise<Response> {
    const kept = await this.options.caches.match(keptAs);
    const fresh = this.options.fetch(request).then((response) => this.#keepIfFresh(keptAs, response));
    if (!kept) return fresh;
    const late = new Promise<Response>((resolve) => setTimeout(() => resolve(kept), NETWORK_WAIT_MS));
    const first = await Promise.race([fresh.catch(() => kept), late]);
    // A proxy's complaint that the server behind it is down is no reason to show the complaint.
    return first.status >= 500 ? kept : first;
  }

  async #keepIfFresh(path: string, response: Response): Promise<Response> {
    const isKeepable = response.status === 200 && !response.redirected && isWhatItShouldBe(path, response);
    if (isKeepable) {
      const cache = await this.options.caches.open(this.#cacheName);
      await cache.put(path, response.clone());
    }
    return response;
  }

  async #cacheFirst(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const kept = await this.options.caches.match(pathname);
    if (kept) return kept;
    const response = await this.options.fetch(request);
    if (response.status === 200 && HASHED_PATH.test(pathname)) {
      const cache = await this.options.caches.open(this.#cacheName);
      await cache.put(pathname, response.clone());
    }
    return response;
  }
}

/** Keeps a login page of some hotel, or a page of the server that is not the app, from taking the app's place. */
function isWhatItShouldBe(path: string, response: Response): boolean {
  const type = response.headers.get("Content-Type") ?? "";
  return path === "/" ? type.startsWith("text/html") : type.startsWith("application/json");
}
