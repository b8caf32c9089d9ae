// Holds the room list and the timeline against real matrix-js-sdk objects, fed by syncs: counts, last lines, invitations, sending.

import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { MatrixClient, Room } from "matrix-js-sdk";
import { FakeHomeserver, ok, prepareForSdk, refuse } from "../testing/fake-homeserver.ts";
import { KeptValues } from "./kept-values.ts";
import { makeClient, sendRetryDelayMs, startSyncing } from "./matrix-client.ts";
import { roomFacts, viaServers, waitingServers } from "./room-facts.ts";
import { RoomList } from "./room-list.ts";
import { RoomPeople } from "./room-people.ts";
import { RoomTimeline } from "./room-timeline.ts";

const ADA = "@ada:a.example";
const BOB = "@bob:b.example";
const ROOM = "!room:a.example";
const session = { userId: ADA, deviceId: "D", accessToken: "T", password: "pw" };

let homeserver: FakeHomeserver;
let kept: KeptValues;
let client: MatrixClient;
let count = 0;
let stops: (() => void)[] = [];

const event = (type: string, sender: string, content: object, more: object = {}): object => {
  count += 1;
  return { type, sender, content, event_id: `$${count}`, origin_server_ts: 1_700_000_000_000 + count, ...more };
};
const state = (type: string, sender: string, stateKey: string, content: object): object => event(type, sender, content, { state_key: stateKey });
const message = (sender: string, body: string, more: object = {}): object => event("m.room.message", sender, { msgtype: "m.text", body }, more);
const member = (userId: string, displayname: string, membership = "join"): object => state("m.room.member", userId, userId, { membership, displayname });

const beginning = (): object[] => [
  state("m.room.create", ADA, "", { room_version: "12" }),
  member(ADA, "Ada"),
  state("m.room.power_levels", ADA, "", { users: {}, users_default: 0 }),
  state("m.room.join_rules", ADA, "", { join_rule: "public" }),
  state("m.room.name", ADA, "", { name: "Garden" }),
  member(BOB, "Bob"),
];

function joined(events: object[], more: object = {}): Record<string, unknown> {
  return { join: { [ROOM]: { timeline: { events, limited: false, prev_batch: "p" }, ...more } } };
}

function watch<T extends { subscribe(listener: () => void): () => void }>(readable: T): T {
  stops.push(readable.subscribe(() => undefined));
  return readable;
}

async function roomFrom(rooms: Record<string, unknown>): Promise<Room> {
  homeserver.sync(rooms);
  await startSyncing(client);
  return vi.waitFor(() => {
    const room = client.getRoom(ROOM);
    if (!room) throw new Error("no room yet");
    return room;
  });
}

beforeAll(prepareForSdk);

beforeEach(() => {
  homeserver = new FakeHomeserver();
  kept = new KeptValues(undefined);
  client = makeClient(homeserver, session, kept, "default");
});

afterEach(() => {
  for (const stop of stops) stop();
  stops = [];
  client.stopClient();
});

describe("the room list", () => {
  it("shows names, last lines and unread counts, newest first", async () => {
    const older = { timeline: { events: [...beginning().slice(0, 5), message(ADA, "mine")], prev_batch: "p" } };
    const newer = joined([...beginning(), message(BOB, "one\ntwo")], { unread_notifications: { notification_count: 2, highlight_count: 1 } });
    await roomFrom({ join: { "!old:a.example": older, ...(newer.join as object) } });
    const { rows } = new RoomList(client);
    expect(watch(rows).get()).toMatchObject({
      rooms: [
        { roomId: ROOM, name: "Garden", lastLine: "Bob: one two", unread: 2, mentioned: true },
        { name: "Garden", lastLine: "You: mine", unread: 0, mentioned: false },
      ],
      invites: [],
      unreadTotal: 2,
    });
  });

  it("shows invitations with their inviter, and joins through the inviter's server", async () => {
    const inviteState = { events: [state("m.room.name", BOB, "", { name: "Chess" }), state("m.room.member", BOB, ADA, { membership: "invite" }), member(BOB, "Bob")] };
    await roomFrom({ invite: { [ROOM]: { invite_state: inviteState } } });
    const list = new RoomList(client);
    expect(watch(list.rows).get()).toMatchObject({ rooms: [], invites: [{ roomId: ROOM, name: "Chess", inviter: "Bob" }], unreadTotal: 1 });
    homeserver.handlers.set("POST join", () => ok({ room_id: ROOM }));
    await list.accept(ROOM);
    expect(homeserver.asked("POST join")[0]?.query.getAll("via")).toEqual(["b.example"]);
  });
});

describe("the timeline", () => {
  async function timeline(): Promise<{ room: Room; model: RoomTimeline }> {
    const room = await roomFrom(joined([...beginning(), message(BOB, "hi")]));
    const model = new RoomTimeline(client, room);
    watch(model.view);
    return { room, model };
  }
  const messages = (model: RoomTimeline): [string, string][] =>
    model.view.get().items.flatMap((item) => (item.kind === "message" ? [[item.body.text, item.sending] as [string, string]] : []));

  it("shows a message while it is sent, and once when it comes back", async () => {
    const { model } = await timeline();
    let sent: string | undefined;
    homeserver.handlers.set("PUT send", ({ path }) => {
      sent = path.split("/").at(-1);
      return ok({ event_id: "$sent" });
    });
    model.send("hello");
    await vi.waitFor(() => expect(messages(model)).toEqual([["hi", "sent"], ["hello", "sent"]]));
    homeserver.sync(joined([message(ADA, "hello", { event_id: "$sent", unsigned: { transaction_id: sent } }), message(BOB, "again")]));
    await vi.waitFor(() => expect(messages(model)).toEqual([["hi", "sent"], ["hello", "sent"], ["again", "sent"]]));
  });

  it("keeps what was refused, says why, across a reload too, and sends or drops it", async () => {
    const { model } = await timeline();
    homeserver.handlers.set("PUT send", () => refuse(413, "M_TOO_LARGE"));
    model.send("big");
    const failed = await vi.waitFor(() => {
      const item = model.view.get().items.at(-1);
      if (item?.kind !== "message" || item.sending !== "failed") throw new Error("not failed yet");
      return item;
    });
    expect(failed.failure).toBe("That is too large.");

    const again = makeClient(homeserver, session, kept, "default");
    expect((await again.store.getPendingEvents(ROOM)).map((pending) => pending.content?.body)).toEqual(["big"]);

    homeserver.handlers.set("PUT send", () => ok({ event_id: "$sent" }));
    model.retry(failed.key);
    await vi.waitFor(() => expect(messages(model).at(-1)).toEqual(["big", "sent"]));
    expect(homeserver.asked("PUT send").map((request) => request.path)).toEqual(Array(2).fill(homeserver.asked("PUT send")[0]?.path));
  });

  it("drops what the writer discards", async () => {
    const { model } = await timeline();
    homeserver.handlers.set("PUT send", () => refuse(403, "M_FORBIDDEN"));
    model.send("no");
    await vi.waitFor(() => expect(messages(model).at(-1)).toEqual(["no", "failed"]));
    const item = model.view.get().items.at(-1);
    model.discard(item?.key ?? "");
    await vi.waitFor(() => expect(messages(model)).toEqual([["hi", "sent"]]));
    expect(await client.store.getPendingEvents(ROOM)).toEqual([]);
  });

  it("sends the messages of a room in the order they were written, though the first is slow", async () => {
    const { model } = await timeline();
    let answers = 0;
    homeserver.handlers.set("PUT send", () => {
      answers += 1;
      return answers === 1 ? refuse(503, "M_UNKNOWN") : ok({ event_id: `$s${answers}` });
    });
    for (const text of ["a", "b", "c"]) model.send(text);
    await vi.waitFor(() => expect(homeserver.asked("PUT send").map((request) => request.body.body)).toEqual(["a", "a", "b", "c"]), 5_000);
  });

  it("loads older messages until the beginning, and says when it cannot", async () => {
    const { model } = await timeline();
    homeserver.handlers.set("GET messages", () => refuse(502, "M_UNKNOWN"));
    await model.loadOlder();
    await vi.waitFor(() => expect(model.view.get().older).toBe("failed"));
    homeserver.handlers.set("GET messages", () => ok({ start: "p", chunk: [message(BOB, "earlier", { origin_server_ts: 1_600_000_000_000 })] }));
    await model.loadOlder();
    await vi.waitFor(() => expect(model.view.get().older).toBe("none"));
    expect(messages(model)[0]).toEqual(["earlier", "sent"]);
  });

  it("marks the newest event as read, once", async () => {
    const { room, model } = await timeline();
    homeserver.handlers.set("POST read_markers", () => ok());
    model.markRead();
    model.markRead();
    const newest = room.getLiveTimeline().getEvents().at(-1)?.getId();
    await vi.waitFor(() => expect(homeserver.asked("POST read_markers").map((request) => request.body)).toEqual([{ "m.fully_read": newest, "m.read": newest }]));
  });

  it("still calls by name who was removed or never had one", async () => {
    const { model } = await timeline();
    const gone = state("m.room.member", ADA, BOB, { membership: "leave" });
    homeserver.sync(joined([gone, state("m.room.member", "@c:c.example", "@c:c.example", { membership: "join" })]));
    const changes = (): string[] => model.view.get().items.flatMap((item) => (item.kind === "change" ? [item.text] : []));
    await vi.waitFor(() => expect(changes().slice(-2)).toEqual(["Ada removed Bob", "c joined"]));
  });

  it("marks what was new when the room was opened, not what comes while it is open", async () => {
    const room = await roomFrom(joined([...beginning(), message(BOB, "read", { event_id: "$read" })]));
    const receipt = { type: "m.receipt", content: { $read: { "m.read": { [ADA]: { ts: 1 } } } } };
    homeserver.sync(joined([], { ephemeral: { events: [receipt] } }));
    await vi.waitFor(() => expect(room.getEventReadUpTo(ADA)).toBe("$read"));
    const openedBefore = new RoomTimeline(client, room);
    watch(openedBefore.view);
    homeserver.sync(joined([message(BOB, "news")]));
    await vi.waitFor(() => expect(messages(openedBefore)).toContainEqual(["news", "sent"]));
    const openedAfter = new RoomTimeline(client, room);
    const marked = (model: RoomTimeline): boolean => model.view.get().items.some((item) => item.kind === "unread");
    expect([marked(openedBefore), marked(openedAfter)]).toEqual([false, true]);
  });

  it("says who types and who has seen our newest message", async () => {
    const { model } = await timeline();
    homeserver.sync(
      joined([message(ADA, "seen?", { event_id: "$mine" })], {
        ephemeral: {
          events: [
            { type: "m.typing", content: { user_ids: [ADA, BOB] } },
            { type: "m.receipt", content: { $mine: { "m.read": { [BOB]: { ts: 1 } } } } },
          ],
        },
      }),
    );
    await vi.waitFor(() => expect(model.view.get()).toMatchObject({ typing: ["Bob"], seenBy: ["Bob"] }));
  });
});

describe("people and facts", () => {
  it("knows who may do what to whom", async () => {
    const room = await roomFrom(joined(beginning()));
    const people = watch(new RoomPeople(client, room).people).get();
    expect(people.map(({ name, role, own, mayRemove, mayBan }) => ({ name, role, own, mayRemove, mayBan }))).toEqual([
      { name: "Ada", role: "creator", own: true, mayRemove: false, mayBan: false },
      { name: "Bob", role: "member", own: false, mayRemove: true, mayBan: true },
    ]);
    expect(watch(roomFacts(client, room)).get()).toMatchObject({ name: "Garden", access: "link", people: 2, mayWrite: true, mayInvite: true, arriving: false });
  });

  it("names our own server first, and what waits only for servers in the room", async () => {
    const room = await roomFrom(joined([...beginning(), member("@c:c.example", "C"), member("@d:c.example", "D")]));
    expect(viaServers(room, "a.example", 3)).toEqual(["a.example", "c.example", "b.example"]);
    expect(viaServers(room, "a.example", 2)).toHaveLength(2);
    const outbox = ["b.example", "elsewhere.example"].map((destination) => ({ destination, waiting: 1 }));
    expect(waitingServers(room, [...outbox, { destination: "c.example", waiting: 0 }])).toEqual(["b.example"]);
  });
});

it("tries again what may pass, not what was refused, and not for ever", () => {
  const failure = (httpStatus?: number): Parameters<typeof sendRetryDelayMs>[1] => ({ httpStatus }) as Parameters<typeof sendRetryDelayMs>[1];
  expect(sendRetryDelayMs(1, failure(503))).toBeGreaterThan(0);
  expect(sendRetryDelayMs(1, failure())).toBeGreaterThan(0);
  expect(sendRetryDelayMs(1, failure(403))).toBe(-1);
  expect(sendRetryDelayMs(9, failure(503))).toBe(-1);
});
