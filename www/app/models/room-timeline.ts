// One open room: its lines, and what its reader does with them: load older ones, write, try again, delete, mark as read.

import {
  MatrixEventEvent,
  MsgType,
  NotificationCountType,
  RoomEvent,
  RoomMemberEvent,
  RoomStateEvent,
  type MatrixClient,
  type MatrixEvent,
  type Room,
  type RoomMember,
} from "matrix-js-sdk";
import { Derived, Observable, type Readable } from "./observable.ts";
import { roomNames } from "./room-names.ts";
import { timelineEvent } from "./timeline-events.ts";
import { keepUnchanged, timelineItems, type TimelineItem } from "./timeline-items.ts";

export interface TimelineView {
  items: TimelineItem[];
  /** "some": older messages can be loaded. "none": this is the beginning. */
  older: "some" | "loading" | "failed" | "none";
  /** Names of people who are typing now, ourselves left out. */
  typing: string[];
  /** Who has seen the newest message, when it is our own. */
  seenBy: string[];
}

const OLDER_EVENTS_PER_PAGE = 40;
/** In bigger rooms it is not worth asking of each member what they have seen. */
const SEEN_BY_MAX_MEMBERS = 30;

const ROOM_CHANGES = [
  RoomEvent.Timeline,
  RoomEvent.TimelineReset,
  RoomEvent.Redaction,
  RoomEvent.RedactionCancelled,
  RoomEvent.LocalEchoUpdated,
  RoomEvent.Receipt,
  RoomEvent.MyMembership,
] as const;
const STATE_CHANGES = [RoomStateEvent.Members, RoomStateEvent.Events] as const;

export class RoomTimeline {
  readonly view: Readable<TimelineView>;
  readonly #client: MatrixClient;
  readonly #room: Room;
  readonly #readUpTo: string | undefined;
  readonly #older = new Observable<"idle" | "loading" | "failed">("idle");
  #items: TimelineItem[] = [];
  #markedRead: string | undefined;

  constructor(client: MatrixClient, room: Room) {
    this.#client = client;
    this.#room = room;
    this.#readUpTo = readBeforeNews(room, client.getSafeUserId());
    this.view = new Derived(this.#compute, this.#connect);
  }

  /** Gets the members who have said nothing since the room was loaded: older messages are theirs, and mention them. */
  async loadMembers(): Promise<void> {
    await this.#room.loadMembersIfNeeded();
  }

  /** Loads a page of older messages. The view says how it goes. */
  async loadOlder(): Promise<void> {
    if (this.#older.get() === "loading" || !this.#hasOlder()) return;
    this.#older.set("loading");
    try {
      await this.#client.scrollback(this.#room, OLDER_EVENTS_PER_PAGE);
      this.#older.set("idle");
    } catch {
      this.#older.set("failed");
    }
  }

  send(text: string): void {
    // A failure is the message's own state ("failed", with a reason), so there is nothing to await.
    this.#client.sendMessage(this.#room.roomId, { msgtype: MsgType.Text, body: text }).catch(() => undefined);
  }

  retry(key: string): void {
    const event = this.#pending(key);
    if (event) this.#client.resendEvent(event, this.#room).catch(() => undefined);
  }

  discard(key: string): void {
    const event = this.#pending(key);
    if (event) this.#client.cancelPendingEvent(event);
  }

  async remove(eventId: string): Promise<void> {
    await this.#client.redactEvent(this.#room.roomId, eventId);
  }

  /** Tells the homeserver that everything shown has been read. Call while the end is in sight. */
  markRead(): void {
    const newest = this.#room.getLiveTimeline().getEvents().findLast((event) => event.getId()?.startsWith("$") && event.status === null);
    const eventId = newest?.getId();
    if (!newest || !eventId || eventId === this.#markedRead) return;
    this.#markedRead = eventId;
    this.#room.setUnreadNotificationCount(NotificationCountType.Total, 0);
    this.#room.setUnreadNotificationCount(NotificationCountType.Highlight, 0);
    this.#client.setRoomReadMarkers(this.#room.roomId, eventId, newest).catch(() => {
      this.#markedRead = undefined;
    });
  }

  readonly #connect = (changed: () => void): (() => void) => {
    const room = this.#room;
    for (const event of ROOM_CHANGES) room.on(event, changed);
    for (const event of STATE_CHANGES) room.on(event, changed);
    const typed = (_event: MatrixEvent, member: RoomMember): void => {
      if (member.roomId === room.roomId) changed();
    };
    const replaced = (event: MatrixEvent): void => {
      if (event.getRoomId() === room.roomId) changed();
    };
    this.#client.on(RoomMemberEvent.Typing, typed);
    this.#client.on(MatrixEventEvent.Replaced, replaced);
    const stopOlder = this.#older.subscribe(changed);
    return () => {
      for (const event of ROOM_CHANGES) room.off(event, changed);
      for (const event of STATE_CHANGES) room.off(event, changed);
      this.#client.off(RoomMemberEvent.Typing, typed);
      this.#client.off(MatrixEventEvent.Replaced, replaced);
      stopOlder();
    };
  };

  readonly #compute = (): TimelineView => {
    const room = this.#room;
    const ownUserId = this.#client.getSafeUserId();
    const nameOf = roomNames(room);
    const events = [...room.getLiveTimeline().getEvents(), ...room.getPendingEvents()]
      .map(timelineEvent)
      .filter((event) => event !== undefined);
    const own = room.getMember(ownUserId);
    const mayDeleteOthers = own !== null && room.currentState.hasSufficientPowerLevelFor("redact", own.powerLevel);
    const older = this.#older.get();
    const context = { ownUserId, nameOf, mayDeleteOthers, readUpTo: this.#readUpTo };
    this.#items = keepUnchanged(this.#items, timelineItems(events, context));
    return {
      items: this.#items,
      older: this.#hasOlder() ? (older === "idle" ? "some" : older) : "none",
      typing: room
        .getMembers()
        .filter((member) => member.typing && member.userId !== ownUserId)
        .map((member) => nameOf(member.userId)),
      seenBy: this.#seenBy(ownUserId).map(nameOf),
    };
  };

  #hasOlder(): boolean {
    return this.#room.oldState.paginationToken !== null;
  }

  #pending(key: string): MatrixEvent | undefined {
    return this.#room.getPendingEvents().find((event) => timelineEvent(event)?.key === key);
  }

  #seenBy(ownUserId: string): string[] {
    const newest = this.#room.getLiveTimeline().getEvents().findLast((event) => event.getType() === "m.room.message");
    const eventId = newest?.getId();
    if (!eventId || newest?.getSender() !== ownUserId) return [];
    const others = this.#room.getJoinedMembers().filter((member) => member.userId !== ownUserId);
    if (others.length > SEEN_BY_MAX_MEMBERS) return [];
    return others.map((member) => member.userId).filter((userId) => this.#room.hasUserReadEvent(userId, eventId));
  }
}

/** The newest event we have read, if others have written since: what comes while the room is open is not news of that kind. */
function readBeforeNews(room: Room, ownUserId: string): string | undefined {
  const readUpTo = room.getEventReadUpTo(ownUserId);
  const events = room.getLiveTimeline().getEvents();
  const read = events.findIndex((event) => event.getId() === readUpTo);
  const news = read >= 0 && events.slice(read + 1).some((event) => event.getType() === "m.room.message" && event.getSender() !== ownUserId);
  return news ? (readUpTo ?? undefined) : undefined;
}
