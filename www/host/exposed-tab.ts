// Connects the homeserver of this tab to `warren serve --expose-tabs`, which passes requests of tools on this machine to it.
// A message is a length (4 bytes, big-endian), so many bytes of JSON, and the body (see crates/native/src/exposed_tabs).
import { newId } from "./wire.ts";
import type { Header, WireAnswer, WireRequest } from "../protocol/messages.ts";

const LENGTH_BYTES = 4;
const TRY_AGAIN_AFTER_MS = 2_000;
/** What waits to be sent beyond this ends the connection: whoever asked so much does not read. */
const UNSENT_MAX_BYTES = 64 * 1024 * 1024;

interface RequestHead {
  id: number;
  method: string;
  url: string;
  headers: Header[];
}

export interface ExposedTabOptions {
  /** `ws://.../tabs` on the server of the page. */
  url: string;
  serverName: string;
  serve: (request: WireRequest) => Promise<WireAnswer>;
  /** A test puts something else in its place. */
  connect?: (url: string) => WebSocket;
}

/** Answers what comes through the socket, and connects again whenever it is lost, until closed. */
export class ExposedTab {
  #socket?: WebSocket;
  #again?: ReturnType<typeof setTimeout>;
  #closed = false;

  constructor(private readonly options: ExposedTabOptions) {
    this.#open();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#again);
    this.#socket?.close();
  }

  #open(): void {
    const { url, serverName, connect = (to) => new WebSocket(to) } = this.options;
    const socket = connect(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => socket.send(serverName));
    socket.addEventListener("message", ({ data }) => void this.#answer(socket, data));
    socket.addEventListener("close", () => {
      if (!this.#closed) this.#again = setTimeout(() => this.#open(), TRY_AGAIN_AFTER_MS);
    });
  }

  async #answer(socket: WebSocket, data: unknown): Promise<void> {
    const asked = data instanceof ArrayBuffer ? decodeRequest(data) : undefined;
    if (!asked) return socket.close();
    const { id, method, url, headers, body } = asked;
    const answer = await this.options.serve({ id: newId(), method, url, headers, body });
    if (socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > UNSENT_MAX_BYTES) return socket.close();
    socket.send(encodeAnswer(id, answer));
  }
}

/** Undefined for what is no request. */
export function decodeRequest(message: ArrayBuffer): (RequestHead & { body?: Uint8Array }) | undefined {
  try {
    const bodyAt = LENGTH_BYTES + new DataView(message).getUint32(0);
    const head = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(message, LENGTH_BYTES, bodyAt - LENGTH_BYTES)));
    return { ...head, body: message.byteLength > bodyAt ? new Uint8Array(message.slice(bodyAt)) : undefined };
  } catch {
    return undefined;
  }
}

export function encodeAnswer(id: number, { status, headers, body }: Pick<WireAnswer, "status" | "headers" | "body">): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(JSON.stringify({ id, status, headers }));
  const message = new Uint8Array(LENGTH_BYTES + head.byteLength + body.byteLength);
  new DataView(message.buffer).setUint32(0, head.byteLength);
  message.set(head, LENGTH_BYTES);
  message.set(body, LENGTH_BYTES + head.byteLength);
  return message;
}
