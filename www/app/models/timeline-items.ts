// Lays a room's events out as lines on screen: separators between days, messages grouped by sender, changes as sentences.

import { changeWords, type NameOf } from "./change-words.ts";
import { messageBody, type MessageBody } from "./message-body.ts";
import { isSameDay } from "./time-words.ts";

/** An event as the timeline needs it, free of matrix-js-sdk. */
export interface TimelineEvent {
  /** Stays the same from "sending" to "sent". */
  key: string;
  eventId: string;
  type: string;
  sender: string;
  atMs: number;
  content: Record<string, unknown>;
  previous?: Record<string, unknown>;
  /** Undefined when it is not a state event. */
  stateKey: string | undefined;
  redacted: boolean;
  edited: boolean;
  /** It changes another message (an edit, a reaction) and has no line of its own. */
  hidden: boolean;
  sending: Sending;
  /** Why it was not sent, when `sending` is "failed". */
  failure?: string;
}

/** "sent" means that our homeserver has it; on its way to others it is then the homeserver's. */
export type Sending = "sent" | "sending" | "queued" | "failed";

export type TimelineItem = DayItem | ChangeItem | MessageItem | UnreadItem;
export type DayItem = { kind: "day"; key: string; atMs: number };
/** Everything below has not been read yet. */
export type UnreadItem = { kind: "unread"; key: string };
export type ChangeItem = { kind: "change"; key: string; text: string; atMs: number };
export interface MessageItem {
  kind: "message";
  key: string;
  eventId: string;
  sender: string;
  senderName: string;
  own: boolean;
  atMs: number;
  body: MessageBody;
  sending: Sending;
  failure?: string;
  /** First and last of a run of messages by one sender. */
  first: boolean;
  last: boolean;
  mayDelete: boolean;
}

export interface TimelineContext {
  ownUserId: string;
  nameOf: NameOf;
  /** May this user delete other people's messages? */
  mayDeleteOthers: boolean;
  /** The newest event that was read when the room was opened; the "new" marker comes after it. */
  readUpTo?: string;
}

/** Messages of one sender further apart than this begin a new group. */
export const GROUP_GAP_MAX_MS = 5 * 60 * 1000;

/** Event types that are messages; other events without a state key have no line. */
const MESSAGE_TYPES: readonly string[] = ["m.room.message", "m.room.encrypted", "m.sticker"];

export function timelineItems(events: readonly TimelineEvent[], context: TimelineContext): TimelineItem[] {
  const items: TimelineItem[] = [];
  let day: number | undefined;
  let markerDue = false;
  let creator: string | undefined;
  const states = new Map<string, Record<string, unknown>>();
  for (const event of events) {
    const item = itemOf(withPrevious(event, states), context, creator);
    if (event.type === "m.room.create") creator = event.sender;
    if (item) {
      if (day === undefined || !isSameDay(day, item.atMs)) items.push({ kind: "day", key: `day ${item.key}`, atMs: item.atMs });
      day = item.atMs;
      if (item.kind === "message") {
        // Whoever answered has read what came before.
        if (markerDue && !item.own) items.push({ kind: "unread", key: "unread" });
        markerDue = false;
      }
      items.push(item);
    }
    if (context.readUpTo !== undefined && event.eventId === context.readUpTo) markerDue = true;
  }
  markGroups(items);
  return items;
}

/** The new items, but the old object wherever nothing about it changed, so that views can tell at a glance. */
export function keepUnchanged(before: readonly TimelineItem[], after: readonly TimelineItem[]): TimelineItem[] {
  const known = new Map(before.map((item) => [item.key, item]));
  return after.map((item) => {
    const old = known.get(item.key);
    return old && isSame(old, item) ? old : item;
  });
}

function isSame(one: TimelineItem, other: TimelineItem): boolean {
  if (one.kind === "message" && other.kind === "message") {
    return sameFields({ ...one, body: undefined }, { ...other, body: undefined }) && sameFields(one.body, other.body);
  }
  return sameFields(one, other);
}

function sameFields(one: object, other: object): boolean {
  const fields = Object.entries(other);
  return fields.length === Object.keys(one).length && fields.every(([name, value]) => one[name as keyof typeof one] === value);
}

/** Homeservers may leave out what a state event replaced; what was seen on the way stands in for it. */
function withPrevious(event: TimelineEvent, states: Map<string, Record<string, unknown>>): TimelineEvent {
  if (event.stateKey === undefined) return event;
  const key = `${event.type}\n${event.stateKey}`;
  const previous = event.previous ?? states.get(key);
  states.set(key, event.content);
  return { ...event, previous };
}

function itemOf(event: TimelineEvent, context: TimelineContext, creator: string | undefined): ChangeItem | MessageItem | undefined {
  if (event.hidden) return undefined;
  if (event.stateKey !== undefined) return changeItem(event, event.stateKey, context, creator);
  if (!MESSAGE_TYPES.includes(event.type)) return undefined;
  const own = event.sender === context.ownUserId;
  return {
    kind: "message",
    key: event.key,
    eventId: event.eventId,
    sender: event.sender,
    senderName: context.nameOf(event.sender),
    own,
    atMs: event.atMs,
    body: messageBody(event.type, event.content, event.redacted, event.edited),
    sending: event.sending,
    failure: event.failure,
    first: true,
    last: true,
    mayDelete: !event.redacted && event.sending === "sent" && (own || context.mayDeleteOthers),
  };
}

function changeItem(event: TimelineEvent, stateKey: string, context: TimelineContext, creator: string | undefined): ChangeItem | undefined {
  if (event.redacted || belongsToCreation(event, stateKey, creator)) return undefined;
  const { type, sender, content, previous } = event;
  const text = changeWords({ type, sender, stateKey, content, previous }, context.nameOf);
  return text === undefined ? undefined : { kind: "change", key: event.key, text, atMs: event.atMs };
}

/** Whoever creates a room joins it next and names it: one line is enough. */
function belongsToCreation({ type, sender, previous, content }: TimelineEvent, stateKey: string, creator: string | undefined): boolean {
  if (sender !== creator || previous) return false;
  return type === "m.room.name" || (type === "m.room.member" && stateKey === creator && content.membership === "join");
}

function markGroups(items: TimelineItem[]): void {
  for (let i = 1; i < items.length; i += 1) {
    const above = items[i - 1];
    const below = items[i];
    if (above?.kind !== "message" || below?.kind !== "message") continue;
    const together = above.sender === below.sender && Math.abs(below.atMs - above.atMs) <= GROUP_GAP_MAX_MS;
    if (!together) continue;
    above.last = false;
    below.first = false;
  }
}
