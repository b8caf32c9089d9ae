// The list of rooms and invitations, newest first, with unread counts and the last line of each.

import {
  ClientEvent,
  KnownMembership,
  NotificationCountType,
  RoomEvent,
  RoomStateEvent,
  type MatrixClient,
  type MatrixEvent,
  type Room,
} from "matrix-js-sdk";
import { changeWords } from "./change-words.ts";
import { bodyLine, messageBody } from "./message-body.ts";
import { plainName } from "./names.ts";
import { Derived, type Readable } from "./observable.ts";
import { isHiddenEvent } from "./timeline-events.ts";
import { roomNames } from "./room-names.ts";
import { strings } from "../strings.ts";

export interface RoomRow {
  roomId: string;
  name: string;
  lastLine: string;
  lastAtMs: number;
  unread: number;
  /** Somebody mentioned us. */
  mentioned: boolean;
}

export interface InviteRow {
  roomId: string;
  name: string;
  inviter: string;
}

export interface RoomListRows {
  rooms: RoomRow[];
  invites: InviteRow[];
  unreadTotal: number;
}

const LAST_LINE_MAX_CHARS = 160;

// Sync: unread counts change without an event of their own that the client would pass on.
const CHANGES = [ClientEvent.Room, ClientEvent.DeleteRoom, ClientEvent.Sync] as const;
const ROOM_CHANGES = [
  RoomEvent.Timeline,
  RoomEvent.TimelineReset,
  RoomEvent.Name,
  RoomEvent.MyMembership,
  RoomEvent.Receipt,
  RoomEvent.Redaction,
  RoomEvent.LocalEchoUpdated,
] as const;

export class RoomList {
  readonly #client: MatrixClient;
  readonly rows: Readable<RoomListRows>;

  constructor(client: MatrixClient) {
    this.#client = client;
    this.rows = new Derived(this.#compute, this.#connect);
  }

  async accept(roomId: string): Promise<void> {
    const inviter = inviterOf(this.#client.getRoom(roomId));
    const server = inviter?.slice(inviter.indexOf(":") + 1);
    await this.#client.joinRoom(roomId, server ? { viaServers: [server] } : {});
  }

  async decline(roomId: string): Promise<void> {
    await this.#client.leave(roomId);
  }

  readonly #connect = (changed: () => void): (() => void) => {
    for (const event of CHANGES) this.#client.on(event, changed);
    for (const event of ROOM_CHANGES) this.#client.on(event, changed);
    this.#client.on(RoomStateEvent.Members, changed);
    return () => {
      for (const event of CHANGES) this.#client.off(event, changed);
      for (const event of ROOM_CHANGES) this.#client.off(event, changed);
      this.#client.off(RoomStateEvent.Members, changed);
    };
  };

  readonly #compute = (): RoomListRows => {
    const own = this.#client.getSafeUserId();
    const rooms: RoomRow[] = [];
    const invites: InviteRow[] = [];
    for (const room of this.#client.getRooms()) {
      const membership = room.getMyMembership();
      if (membership === KnownMembership.Join) rooms.push(roomRow(room, own));
      if (membership === KnownMembership.Invite) invites.push(inviteRow(room));
    }
    rooms.sort((a, b) => b.lastAtMs - a.lastAtMs || a.name.localeCompare(b.name));
    invites.sort((a, b) => a.name.localeCompare(b.name));
    const unreadTotal = rooms.reduce((sum, row) => sum + row.unread, invites.length);
    return { rooms, invites, unreadTotal };
  };
}

/** A room's name; a room without one is called by the people in it. */
export function roomName(room: Room): string {
  return plainName(room.name) || strings.rooms.unnamed;
}

function roomRow(room: Room, ownUserId: string): RoomRow {
  const { line, atMs } = lastLine(room, ownUserId);
  return {
    roomId: room.roomId,
    name: roomName(room),
    lastLine: line,
    lastAtMs: atMs,
    unread: room.getUnreadNotificationCount(NotificationCountType.Total),
    mentioned: room.getUnreadNotificationCount(NotificationCountType.Highlight) > 0,
  };
}

function inviteRow(room: Room): InviteRow {
  const inviter = inviterOf(room);
  return { roomId: room.roomId, name: roomName(room), inviter: inviter === undefined ? strings.change.someone : roomNames(room)(inviter) };
}

function inviterOf(room: Room | null): string | undefined {
  const own = room?.client.getUserId();
  return (own ? room?.getMember(own)?.events.member?.getSender() : undefined) ?? undefined;
}

function lastLine(room: Room, ownUserId: string): { line: string; atMs: number } {
  const events = [...room.getLiveTimeline().getEvents(), ...room.getPendingEvents()];
  const nameOf = roomNames(room);
  for (const event of events.reverse()) {
    const line = lineOf(event, ownUserId, nameOf);
    if (line !== undefined) return { line: line.slice(0, LAST_LINE_MAX_CHARS), atMs: event.getTs() };
  }
  return { line: strings.rooms.noMessages, atMs: events[0]?.getTs() ?? 0 };
}

function lineOf(event: MatrixEvent, ownUserId: string, nameOf: (userId: string) => string): string | undefined {
  const sender = event.getSender();
  if (sender === undefined || isHiddenEvent(event)) return undefined;
  const stateKey = event.getStateKey();
  if (stateKey !== undefined) {
    const previous = event.getUnsigned().prev_content;
    return changeWords({ type: event.getType(), sender, stateKey, content: event.getContent(), previous }, nameOf);
  }
  if (event.getType() !== "m.room.message" && event.getType() !== "m.room.encrypted") return undefined;
  const body = messageBody(event.getType(), event.getContent(), event.isRedacted(), false);
  const line = bodyLine(body, nameOf(sender));
  if (body.kind === "emote") return line;
  return sender === ownUserId ? `${strings.rooms.youPrefix}${line}` : `${nameOf(sender)}: ${line}`;
}
