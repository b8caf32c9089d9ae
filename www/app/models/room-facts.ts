// What is known about a room apart from its messages: its name, who may come in, and what we may do in it.

import { EventType, JoinRule, KnownMembership, RoomEvent, RoomStateEvent, type MatrixClient, type Room } from "matrix-js-sdk";
import { serverOf } from "./names.ts";
import { Derived, type Readable } from "./observable.ts";
import { roomName } from "./room-list.ts";

export interface RoomFacts {
  roomId: string;
  name: string;
  topic: string;
  version: string;
  /** "link": the join rule is public. */
  access: "link" | "invite" | "other";
  membership: string;
  people: number;
  mayWrite: boolean;
  mayInvite: boolean;
  mayRename: boolean;
  mayOpenToLink: boolean;
  /** The state is not here yet: we have just joined. */
  arriving: boolean;
}

const CHANGES = [RoomEvent.Name, RoomEvent.MyMembership, RoomEvent.Summary, RoomEvent.CurrentStateUpdated] as const;
const STATE_CHANGES = [RoomStateEvent.Events, RoomStateEvent.Members, RoomStateEvent.Update] as const;

export function roomFacts(client: MatrixClient, room: Room): Readable<RoomFacts> {
  return new Derived(
    () => computeFacts(room, client.getSafeUserId()),
    (changed) => {
      for (const event of CHANGES) room.on(event, changed);
      for (const event of STATE_CHANGES) room.on(event, changed);
      return () => {
        for (const event of CHANGES) room.off(event, changed);
        for (const event of STATE_CHANGES) room.off(event, changed);
      };
    },
  );
}

/** Servers that can let a newcomer in: our own first, then those with most members. */
export function viaServers(room: Room, ownServer: string, max: number): string[] {
  const counts = new Map<string, number>();
  for (const member of room.getJoinedMembers()) {
    const server = serverOf(member.userId);
    if (server !== "" && server !== ownServer) counts.set(server, (counts.get(server) ?? 0) + 1);
  }
  const others = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([server]) => server);
  return [ownServer, ...others].slice(0, max);
}

/** The homeservers in this room for which something waits to be sent. */
export function waitingServers(room: Room, outbox: readonly { destination: string; waiting: number }[]): string[] {
  const inRoom = new Set(room.getMembers().map((member) => serverOf(member.userId)));
  return outbox.filter((row) => row.waiting > 0 && inRoom.has(row.destination)).map((row) => row.destination);
}

function computeFacts(room: Room, ownUserId: string): RoomFacts {
  const state = room.currentState;
  const joinRule = room.getJoinRule();
  const topic: unknown = state.getStateEvents(EventType.RoomTopic, "")?.getContent().topic;
  return {
    roomId: room.roomId,
    name: roomName(room),
    topic: typeof topic === "string" ? topic : "",
    version: room.getVersion(),
    access: joinRule === JoinRule.Public ? "link" : joinRule === JoinRule.Invite ? "invite" : "other",
    membership: room.getMyMembership(),
    people: room.getJoinedMemberCount(),
    mayWrite: room.getMyMembership() === KnownMembership.Join && state.maySendMessage(ownUserId),
    mayInvite: room.canInvite(ownUserId),
    mayRename: state.maySendStateEvent(EventType.RoomName, ownUserId),
    mayOpenToLink: state.maySendStateEvent(EventType.RoomJoinRules, ownUserId),
    arriving: room.getMyMembership() === KnownMembership.Join && state.getStateEvents(EventType.RoomCreate, "") === null,
  };
}
