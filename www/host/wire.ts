// Turns the browser's Request and Response into what crosses threads, and makes the answers we give ourselves.
import type { Header, WireAnswer, WireRequest } from "../protocol/messages.ts";

/** Statuses for which a Response must have no body. */
const BODILESS = new Set([101, 204, 205, 304]);

const CORS_HEADERS: Header[] = [
  ["Access-Control-Allow-Origin", "*"],
  ["Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"],
  ["Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization"],
];

/** Names one deliberate request (docs/protocol.md): under the same name it takes effect once, however often it is sent. */
const REQUEST_NAME_HEADER = "warren-request-id";
/** The requests whose repetition the homeserver knows by that name. */
const NAMED_REQUEST = /^\/_matrix\/client\/[^/]+\/createRoom$/;

/** A name no other context makes; needs no secure context, as `crypto.randomUUID` does. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Reads `request` whole. `url` is the path and query under which the homeserver knows it. */
export async function toWire(request: Request, url: string, id: string): Promise<WireRequest> {
  const hasBody = request.method !== "GET" && request.method !== "HEAD";
  const bytes = hasBody ? new Uint8Array(await request.arrayBuffer()) : undefined;
  const body = bytes?.byteLength ? bytes : undefined;
  const wire: WireRequest = { id, method: request.method, url, headers: [...request.headers], body };
  if (isNameable(wire) && !isNamed(wire)) wire.headers.push([REQUEST_NAME_HEADER, id]);
  return wire;
}

export function toResponse({ status, headers, body }: Pick<WireAnswer, "status" | "headers" | "body">): Response {
  const bytes = body as Uint8Array<ArrayBuffer>;
  return new Response(BODILESS.has(status) ? null : bytes, { status, headers });
}

/** A Matrix answer in JSON, readable from any origin. */
export function jsonAnswer(id: string, status: number, content: object): WireAnswer {
  const headers: Header[] = [["Content-Type", "application/json"], ["Cache-Control", "no-store"], ...CORS_HEADERS];
  return { id, status, headers, body: new TextEncoder().encode(JSON.stringify(content)) };
}

/** 503: there is no homeserver to ask just now; `error` says why and what became of the request. */
export function unavailable(id: string, error: string): WireAnswer {
  return jsonAnswer(id, 503, { errcode: "M_UNKNOWN", error });
}

/** A /sync that waits for news: it can be asked again whenever it was lost, since it takes nothing away. */
export function isLongPoll({ method, url }: Pick<WireRequest, "method" | "url">): boolean {
  return method === "GET" && /^\/_matrix\/client\/[^/]+\/sync(\?|$)/.test(url);
}

/** A request that would be two if it were made twice, but that the homeserver knows again by its name. */
export function isNamed({ method, url, headers }: Pick<WireRequest, "method" | "url" | "headers">): boolean {
  return isNameable({ method, url }) && headers.some(([name]) => name.toLowerCase() === REQUEST_NAME_HEADER);
}

function isNameable({ method, url }: Pick<WireRequest, "method" | "url">): boolean {
  return method === "POST" && NAMED_REQUEST.test(url.split("?")[0] ?? "");
}
