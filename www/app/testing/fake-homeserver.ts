// A homeserver for tests that answers as it is told, and hangs where it is told nothing, as a long poll does.

import { vi } from "vitest";

export interface FakeAnswer {
  status: number;
  body: unknown;
}

export interface FakeRequest {
  /** "GET sync", "PUT send": method and the part of the path that tells endpoints apart. */
  what: string;
  path: string;
  query: URLSearchParams;
  body: Record<string, unknown>;
  token: string | null;
}

type Handler = (request: FakeRequest) => FakeAnswer | undefined;

const ENDPOINTS = [
  "versions", "pushrules", "filter", "displayname", "profile", "register", "login", "sync", "capabilities",
  "send", "redact", "read_markers", "receipt", "messages", "typing", "members", "join", "leave", "createRoom",
];

export const ok = (body: unknown = {}): FakeAnswer => ({ status: 200, body });
export const refuse = (status: number, errcode: string, error = "?"): FakeAnswer => ({ status, body: { errcode, error } });

export class FakeHomeserver {
  readonly baseUrl = "http://page.example";
  readonly requests: FakeRequest[] = [];
  readonly handlers = new Map<string, Handler>([
    ["GET versions", () => ok({ versions: ["v1.11"] })],
    ["GET pushrules", () => ok({ global: {} })],
    ["POST filter", () => ok({ filter_id: "1" })],
    ["PUT displayname", () => ok()],
    ["GET profile", () => ok({ displayname: "Ada" })],
    ["GET sync", () => this.#nextSync()],
  ]);
  readonly #syncs: unknown[] = [];
  #wakeSync: (() => void) | undefined;

  /** Answers the next /sync with these joined and invited rooms. */
  sync(rooms: Record<string, unknown>): void {
    this.#syncs.push({ rooms });
    this.#wakeSync?.();
  }

  asked(what: string): FakeRequest[] {
    return this.requests.filter((request) => request.what === what);
  }

  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const { pathname, searchParams: query } = new URL(String(input));
    const parts = pathname.split("/").map(decodeURIComponent);
    const what = `${init?.method ?? "GET"} ${ENDPOINTS.find((name) => parts.includes(name)) ?? pathname}`;
    const body = init?.body ? (JSON.parse(String(init.body)) as Record<string, unknown>) : {};
    const request = { what, path: pathname, query, body, token: new Headers(init?.headers).get("authorization") };
    this.requests.push(request);
    if (what === "GET sync" && this.#syncs.length === 0) await this.#syncTold(init?.signal);
    const answer = this.handlers.get(what)?.(request);
    if (!answer) return aborted(init?.signal);
    return new Response(JSON.stringify(answer.body), { status: answer.status, headers: { "content-type": "application/json" } });
  };

  #nextSync(): FakeAnswer {
    return ok({ next_batch: `s${this.requests.length}`, ...(this.#syncs.shift() as object) });
  }

  #syncTold(signal: AbortSignal | null | undefined): Promise<void> {
    return Promise.race([new Promise<void>((resolve) => (this.#wakeSync = resolve)), aborted(signal)]);
  }
}

function aborted(signal: AbortSignal | null | undefined): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
}

/** matrix-js-sdk uses what browsers have had since 2023 and Node since version 22, and it talks a lot. */
export function prepareForSdk(): void {
  Promise.withResolvers ??= function withResolvers<T>() {
    let resolve!: (value: T | PromiseLike<T>) => void;
    let reject!: (reason?: unknown) => void;
    const promise = new Promise<T>((onResolve, onReject) => {
      resolve = onResolve;
      reject = onReject;
    });
    return { promise, resolve, reject };
  };
  for (const method of ["log", "debug", "info", "warn", "error", "trace"] as const) {
    vi.spyOn(console, method).mockImplementation(() => undefined);
  }
}
