// Answers the Client-Server API on this origin from the homeserver in a tab, so that any Matrix client can use it.
import { addressed, wellKnown } from "../host/address.ts";
import { jsonAnswer, newId, toResponse, toWire } from "../host/wire.ts";
import type { Redelivery, WireRequest } from "../protocol/messages.ts";
import type { Handler, Handled } from "./handlers.ts";
import type { HostPort } from "./host-port.ts";

/** Firefox gives a waiting request up after 60 s, Chrome after 300 s; clients simply ask again after this. */
export const LONG_POLL_MAX_MS = 30_000;

export interface MatrixHandlerOptions {
  origin: string;
  /** Names this run of the service worker. */
  instance: string;
  hostPort: (profile: string) => Pick<HostPort, "ask" | "cancel" | "handedOver">;
}

export class MatrixHandler {
  constructor(private readonly options: MatrixHandlerOptions) {}

  readonly wellKnown: Handler = {
    name: "well-known",
    canHandle: (request) => this.#target(request)?.path.startsWith("/.well-known/") ?? false,
    handle: (request) => {
      const { path = "", profile = "" } = this.#target(request) ?? {};
      const { status, content } = wellKnown(path, this.options.origin, profile);
      return Promise.resolve({ response: toResponse(jsonAnswer("", status, content)) });
    },
  };

  readonly homeserver: Handler = {
    name: "homeserver",
    canHandle: (request) => this.#target(request)?.path.startsWith("/_matrix/") ?? false,
    handle: (request, clientId) => this.#ask(request, clientId),
  };

  #target(request: Request) {
    return addressed(request.url, this.options.origin);
  }

  async #ask(request: Request, clientId: string): Promise<Handled> {
    const { path = "", profile = "" } = this.#target(request) ?? {};
    const wire = await toWire(request, capLongPoll(path), newId());
    const isRepeatable = wire.body === undefined && (wire.method === "GET" || wire.method === "HEAD");
    if (!isRepeatable) wire.redelivery = await redeliveryOf(wire, clientId, this.options.instance);
    const port = this.options.hostPort(profile);
    request.signal.addEventListener("abort", () => port.cancel(wire.id), { once: true });
    const answer = await port.ask(wire);
    return { response: toResponse(answer), handedOver: () => port.handedOver(wire.id) };
  }
}

/** The same path with its `timeout` no longer than a service worker lives. */
export function capLongPoll(path: string): string {
  const url = new URL(path, "http://host");
  const timeoutMs = Number(url.searchParams.get("timeout"));
  if (!(timeoutMs > LONG_POLL_MAX_MS)) return path;
  url.searchParams.set("timeout", String(LONG_POLL_MAX_MS));
  return url.pathname + url.search;
}

/** See answer-memory.ts: equal for the same request of the same client, and for nothing else. */
export async function redeliveryOf(request: WireRequest, clientId: string, instance: string): Promise<Redelivery> {
  const body = new Uint8Array(await crypto.subtle.digest("SHA-256", (request.body ?? new Uint8Array()) as Uint8Array<ArrayBuffer>));
  const authorization = request.headers.find(([name]) => name.toLowerCase() === "authorization")?.[1] ?? "";
  const digest = Array.from(body, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { instance, key: JSON.stringify([clientId, request.method, request.url, authorization, digest]) };
}
