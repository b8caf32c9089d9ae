// The tab's end of `--expose-tabs`: what it says, answers, and does when the connection is lost.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { decodeRequest, encodeAnswer, ExposedTab } from "./exposed-tab.ts";
import type { WireAnswer, WireRequest } from "../protocol/messages.ts";

class Socket extends EventTarget {
  binaryType = "blob";
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  readonly sent: (string | Uint8Array)[] = [];

  send(data: string | Uint8Array): void {
    this.sent.push(data);
  }

  close(): void {
    this.readyState = 3;
    this.dispatchEvent(new Event("close"));
  }

  async receive(data: unknown): Promise<void> {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
    await vi.advanceTimersByTimeAsync(0);
  }
}

const sockets: Socket[] = [];
const asked: WireRequest[] = [];

function expose(): ExposedTab {
  const serve = (request: WireRequest): Promise<WireAnswer> => {
    asked.push(request);
    return Promise.resolve({ id: request.id, status: 200, headers: [["content-type", "application/json"]], body: new TextEncoder().encode("{}") });
  };
  const connect = () => {
    const socket = new Socket();
    sockets.push(socket);
    return socket as unknown as WebSocket;
  };
  return new ExposedTab({ url: "ws://localhost/tabs", serverName: "a.alt", serve, connect });
}

function request(head: string, body = ""): ArrayBuffer {
  const bytes = new TextEncoder().encode(head + body);
  const message = new Uint8Array(4 + bytes.byteLength);
  new DataView(message.buffer).setUint32(0, new TextEncoder().encode(head).byteLength);
  message.set(bytes, 4);
  return message.buffer;
}

beforeEach(() => {
  vi.useFakeTimers();
  sockets.length = 0;
  asked.length = 0;
});
afterEach(() => void vi.useRealTimers());

it("says its name, passes requests on and answers under their numbers", async () => {
  expose();
  const [socket] = sockets;
  socket!.dispatchEvent(new Event("open"));
  await socket!.receive(request('{"id":7,"method":"PUT","url":"/_matrix/x","headers":[["a","b"]]}', '{"é":1}'));
  expect(asked[0]).toMatchObject({ method: "PUT", url: "/_matrix/x", headers: [["a", "b"]] });
  expect(new TextDecoder().decode(asked[0]!.body)).toBe('{"é":1}');
  const [name, answer] = socket!.sent;
  expect(name).toBe("a.alt");
  expect(answer).toEqual(encodeAnswer(7, { status: 200, headers: [["content-type", "application/json"]], body: new TextEncoder().encode("{}") }));
});

it("comes back after the connection was lost, and not after it was closed", async () => {
  const tab = expose();
  sockets[0]!.close();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(sockets).toHaveLength(2);
  tab.close();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(sockets).toHaveLength(2);
});

it("closes on what is no request", async () => {
  expose();
  await sockets[0]!.receive("text");
  expect(sockets[0]!.readyState).toBe(3);
  for (const bad of [new ArrayBuffer(0), request("not json"), new Uint8Array([255, 255, 255, 255, 1]).buffer]) {
    expect(decodeRequest(bad)).toBeUndefined();
  }
});

it("sends nothing when the connection ended before the answer", async () => {
  expose();
  const receiving = sockets[0]!.receive(request('{"id":7,"method":"GET","url":"/_matrix/x","headers":[]}'));
  sockets[0]!.readyState = 3;
  await receiving;
  expect(sockets[0]!.sent).toEqual([]);
});
