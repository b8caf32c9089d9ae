// Holds how a room's events become lines: days, groups, changes, the "new" marker, and what has no line.

import { describe, expect, it } from "vitest";
import { GROUP_GAP_MAX_MS, keepUnchanged, timelineItems, type TimelineContext, type TimelineEvent } from "./timeline-items.ts";

const ADA = "@ada:a.example";
const BOB = "@bob:b.example";
const NOON = new Date(2026, 4, 3, 12).getTime();
const DAY = 24 * 60 * 60 * 1000;

const context: TimelineContext = {
  ownUserId: ADA,
  nameOf: (userId) => (userId === ADA ? "Ada" : "Bob"),
  mayDeleteOthers: false,
};

let count = 0;
function event(part: Partial<TimelineEvent>): TimelineEvent {
  count += 1;
  const id = `$${count}`;
  return {
    key: id,
    eventId: id,
    type: "m.room.message",
    sender: BOB,
    atMs: NOON + count,
    content: { msgtype: "m.text", body: id },
    stateKey: undefined,
    redacted: false,
    edited: false,
    hidden: false,
    sending: "sent",
    ...part,
  };
}

function state(type: string, sender: string, stateKey: string, content: Record<string, unknown>, previous?: Record<string, unknown>): TimelineEvent {
  return event({ type, sender, stateKey, content, previous });
}

const textOf = (events: TimelineEvent[], over: Partial<TimelineContext> = {}): string[] =>
  timelineItems(events, { ...context, ...over }).map((item) => {
    if (item.kind === "change") return item.text;
    if (item.kind === "message") return `${item.senderName}: ${item.body.text}`;
    return item.kind;
  });

describe("days and groups", () => {
  it("puts a separator before the first line of each day", () => {
    const events = [event({ atMs: NOON }), event({ atMs: NOON + 1 }), event({ atMs: NOON + DAY })];
    expect(timelineItems(events, context).map((item) => item.kind)).toEqual(["day", "message", "message", "day", "message"]);
  });

  it("groups messages of one sender unless time, another sender or a change lies between", () => {
    const events = [
      event({ atMs: NOON }),
      event({ atMs: NOON + 1 }),
      event({ atMs: NOON + 2 + GROUP_GAP_MAX_MS }),
      event({ atMs: NOON + 3 + GROUP_GAP_MAX_MS, sender: ADA }),
      state("m.room.topic", BOB, "", { topic: "x" }),
      event({ atMs: NOON + 4 + GROUP_GAP_MAX_MS, sender: ADA }),
    ];
    const groups = timelineItems(events, context).flatMap((item) => (item.kind === "message" ? [[item.first, item.last]] : []));
    expect(groups).toEqual([
      [true, false],
      [false, true],
      [true, true],
      [true, true],
      [true, true],
    ]);
  });

  it("keeps an event's key from sending to sent", () => {
    const sending = event({ sender: ADA, key: "m1", eventId: "~local", sending: "sending" });
    const sent = { ...sending, eventId: "$real", sending: "sent" as const };
    expect(timelineItems([sending], context).at(-1)?.key).toBe(timelineItems([sent], context).at(-1)?.key);
  });
});

describe("changes", () => {
  it("says in one line that a room was made", () => {
    const events = [
      state("m.room.create", ADA, "", {}),
      state("m.room.member", ADA, ADA, { membership: "join" }),
      state("m.room.power_levels", ADA, "", { users: {} }),
      state("m.room.join_rules", ADA, "", { join_rule: "public" }),
      state("m.room.history_visibility", ADA, "", { history_visibility: "shared" }),
      state("m.room.guest_access", ADA, "", { guest_access: "forbidden" }),
      state("m.room.name", ADA, "", { name: "Garden" }),
    ];
    expect(textOf(events)).toEqual(["day", "Ada created the room"]);
  });

  it("tells a new name from a new member even when the homeserver leaves out what was before", () => {
    const join = state("m.room.member", BOB, BOB, { membership: "join", displayname: "Bob" });
    const rename = state("m.room.member", BOB, BOB, { membership: "join", displayname: "Bobby" });
    expect(textOf([join, rename])).toEqual(["day", "Bob joined", "Bob is now called Bobby"]);
  });

  it("says later changes of the name and the rules", () => {
    const events = [
      state("m.room.name", BOB, "", { name: "Garden" }),
      state("m.room.join_rules", BOB, "", { join_rule: "public" }, { join_rule: "invite" }),
      state("m.room.power_levels", BOB, "", {}, {}),
    ];
    expect(textOf(events)).toEqual([
      "day",
      "Bob named the room “Garden”",
      "Bob opened the room to anyone with the link",
      "Bob changed who may do what",
    ]);
  });
});

describe("the marker of what is new", () => {
  const seen = event({ eventId: "$seen" });
  it("stands before the first message of somebody else", () => {
    const change = state("m.room.topic", BOB, "", { topic: "x" });
    expect(textOf([seen, change, event({ content: { msgtype: "m.text", body: "hi" } })], { readUpTo: "$seen" }).slice(-3)).toEqual([
      "Bob set the topic: “x”",
      "unread",
      "Bob: hi",
    ]);
  });

  it("is not shown when we answered, or when nothing came", () => {
    expect(textOf([seen, event({ sender: ADA }), event({})], { readUpTo: "$seen" })).not.toContain("unread");
    expect(textOf([seen], { readUpTo: "$seen" })).not.toContain("unread");
  });
});

it("keeps the objects of lines that did not change, and only those", () => {
  const events = [event({ content: { msgtype: "m.text", body: "a" } }), event({ content: { msgtype: "m.text", body: "b" } })];
  const before = timelineItems(events, context);
  const changed = { ...events[1]!, content: { msgtype: "m.text", body: "c" } };
  const after = keepUnchanged(before, timelineItems([events[0]!, changed], context));
  expect(after.map((item, index) => item === before[index])).toEqual([true, true, false]);
  expect(after[2]).toMatchObject({ body: { text: "c" } });
  expect(keepUnchanged(before, timelineItems(events, context))).toEqual(before);
});

describe("what may be done and what has no line", () => {
  it("offers to delete own messages, and those of others to whoever may", () => {
    const events = [event({}), event({ sender: ADA }), event({ sender: ADA, redacted: true }), event({ sender: ADA, sending: "sending" })];
    const mayDelete = (over: Partial<TimelineContext>): boolean[] =>
      timelineItems(events, { ...context, ...over }).flatMap((item) => (item.kind === "message" ? [item.mayDelete] : []));
    expect(mayDelete({})).toEqual([false, true, false, false]);
    expect(mayDelete({ mayDeleteOthers: true })).toEqual([true, true, false, false]);
  });

  it("leaves out edits, reactions and events it does not know", () => {
    expect(textOf([event({ hidden: true }), event({ type: "m.reaction" }), state("org.example.thing", BOB, "", {})])).toEqual([]);
  });

  it("survives content that is not what it should be", () => {
    const contents = [{}, { msgtype: 1 }, { msgtype: "m.text", body: 7 }, { msgtype: "m.image" }, { msgtype: "m.text", body: null }];
    expect(timelineItems(contents.map((content) => event({ content })), context)).toHaveLength(6);
    expect(textOf([state("m.room.member", BOB, BOB, { membership: 3 }), state("m.room.name", BOB, "", { name: {} })])).toEqual([
      "day",
      "Bob removed the room’s name",
    ]);
  });
});
