// The names of the people in one room, as the room shows them.

import { EventType, type Room, type RoomMember } from "matrix-js-sdk";
import type { NameOf } from "./change-words.ts";
import { localpartOf, tellApart } from "./names.ts";

/** Names of everybody known in the room; somebody unknown is called by their localpart. */
export function roomNames(room: Room): NameOf {
  const members = room.getMembers();
  const gone = members.some((member) => ownName(member) === undefined) ? earlierNames(room) : undefined;
  const names = tellApart(members.map((member) => ({ userId: member.userId, displayName: ownName(member) ?? gone?.get(member.userId) })));
  return (userId) => names.get(userId) ?? localpartOf(userId);
}

/** Whoever was removed has no name in the event that says so; what they were called before is more use than their id. */
function earlierNames(room: Room): Map<string, string> {
  const names = new Map<string, string>();
  for (const event of room.getLiveTimeline().getEvents()) {
    if (event.getType() !== EventType.RoomMember) continue;
    const userId = event.getStateKey();
    const { displayname } = { ...event.getUnsigned().prev_content, ...event.getContent() };
    if (userId !== undefined && typeof displayname === "string") names.set(userId, displayname);
  }
  return names;
}

/** The display name a member has in the room now. */
export function ownName(member: RoomMember): string | undefined {
  // matrix-js-sdk shows the user id of those who have no name.
  return member.rawDisplayName === member.userId ? undefined : member.rawDisplayName;
}
