// Every request gets exactly one answer, whatever becomes of whoever had it.
import { expect, test } from "vitest";
import { PENDING_MAX, PendingRequests, SENT_AGAIN_MAX, type Carrier } from "./pending-requests.ts";
import { settle } from "./testing/bus.ts";
import { isNamed, toWire } from "./wire.ts";
import type { WireAnswer, WireRequest } from "../protocol/messages.ts";

const WAIT_MAX_MS = 1_000;

class Way implements Carrier {
  sent: string[] = [];
  cancelled: string[] = [];
  send(request: WireRequest): void {
    this.sent.push(request.id);
  }
  cancel(id: string): void {
    this.cancelled.push(id);
  }
}

function setUp() {
  const clock = { nowMs: 0 };
  const pending = new PendingRequests({ nowMs: () => clock.nowMs, waitMaxMs: WAIT_MAX_MS });
  const statuses: Record<string, number> = {};
  const ask = (id: string, method: string) =>
    void pending.ask({ id, method, url: "/_matrix/x", headers: [] }).then(({ status }) => (statuses[id] = status));
  return { clock, pending, statuses, ask };
}

const answer = (id: string): WireAnswer => ({ id, status: 200, headers: [], body: new Uint8Array() });

test("requests wait for somebody who hosts, and go out in order", async () => {
  const { pending, ask, statuses } = setUp();
  const way = new Way();
  ask("1", "POST");
  ask("2", "GET");
  pending.connect(way);
  ask("3", "GET");
  expect(way.sent).toEqual(["1", "2", "3"]);
  for (const id of way.sent) expect(pending.answered(answer(id))).toBe(true);
  await settle();
  expect(statuses).toEqual({ 1: 200, 2: 200, 3: 200 });
  expect(pending.answered(answer("1"))).toBe(false);
});

test("with the host gone, reads and PUTs are asked again of the next, a POST is answered 503 at once", async () => {
  const { pending, ask, statuses } = setUp();
  const [first, second] = [new Way(), new Way()];
  pending.connect(first);
  ask("get", "GET");
  ask("put", "PUT");
  ask("post", "POST");
  pending.disconnect();
  await settle();
  expect(statuses).toEqual({ post: 503 });
  ask("late post", "POST");
  pending.connect(second);
  expect(second.sent).toEqual(["get", "put", "late post"]);
});

test("a POST that the homeserver knows again by its name is asked again too, under the same name", async () => {
  const { pending } = setUp();
  const sent: WireRequest[] = [];
  const way = (): Carrier => ({ send: (request) => void sent.push(request), cancel: () => undefined });
  const url = "/_matrix/client/v3/createRoom";
  const created = pending.ask(await toWire(new Request(`http://localhost${url}`, { method: "POST", body: "{}" }), url, "abc"));
  pending.connect(way());
  pending.connect(way());
  expect(sent.length).toBe(2);
  expect(sent[1]?.headers).toEqual(sent[0]?.headers);
  expect(sent[0]?.headers).toContainEqual(["warren-request-id", "abc"]);
  pending.answered(answer("abc"));
  expect((await created).status).toBe(200);
});

test("an answer of the old host that still arrives counts", async () => {
  const { pending, ask, statuses } = setUp();
  pending.connect(new Way());
  ask("get", "GET");
  pending.disconnect();
  pending.answered(answer("get"));
  await settle();
  expect(statuses).toEqual({ get: 200 });
});

test("what keeps driving hosts away is not asked for ever", async () => {
  const { pending, ask, statuses } = setUp();
  ask("poison", "GET");
  for (let n = 0; n <= SENT_AGAIN_MAX; n++) {
    const way = new Way();
    pending.connect(way);
    expect(way.sent).toEqual(["poison"]);
    pending.disconnect();
  }
  await settle();
  expect(statuses).toEqual({ poison: 503 });
});

test("nobody who hosts: 503 after the wait, and not while somebody has the request", async () => {
  const { pending, ask, statuses, clock } = setUp();
  ask("1", "GET");
  clock.nowMs = WAIT_MAX_MS - 1;
  pending.expire();
  await settle();
  expect(statuses).toEqual({});
  clock.nowMs = WAIT_MAX_MS;
  pending.expire();
  pending.connect(new Way());
  ask("long", "GET");
  clock.nowMs = 100 * WAIT_MAX_MS;
  pending.expire();
  await settle();
  expect(statuses).toEqual({ 1: 503 });
});

test("a cancelled request is neither answered nor sent again", async () => {
  const { pending, ask, statuses } = setUp();
  const [first, second] = [new Way(), new Way()];
  pending.connect(first);
  ask("1", "GET");
  pending.cancel("1");
  expect(first.cancelled).toEqual(["1"]);
  pending.connect(second);
  pending.answered(answer("1"));
  await settle();
  expect(second.sent).toEqual([]);
  expect(statuses).toEqual({});
  expect(pending.size).toBe(0);
});

test("more than may wait are refused at once", async () => {
  const { ask, statuses } = setUp();
  for (let n = 0; n < PENDING_MAX; n++) ask(`${n}`, "GET");
  ask("one more", "GET");
  await settle();
  expect(statuses).toEqual({ "one more": 503 });
});

test("only what the homeserver knows by its name is named, and a name that the client gave stands", async () => {
  const wire = (url: string, method: string, headers = {}) => toWire(new Request(`http://localhost${url}`, { method, headers }), url, "ours");
  const create = "/_matrix/client/v3/createRoom";
  expect(isNamed(await wire(create, "POST"))).toBe(true);
  const named = await wire(create, "POST", { "Warren-Request-Id": "theirs" });
  expect(named.headers.filter(([name]) => name === "warren-request-id")).toEqual([["warren-request-id", "theirs"]]);
  for (const [url, method] of [[create, "PUT"], ["/_matrix/client/v3/join/!a", "POST"], [`${create}/x`, "POST"]] as const) {
    const other = await wire(url, method, { "warren-request-id": "x" });
    expect(isNamed(other)).toBe(false);
  }
});
