// The names of the people in one room, as the room shows them.

import { EventType, type Room, type RoomMember } from "matrix-js-sdk";
import type { NameOf } from "./change-words.ts";
import { localpartOf, plainName, tellApart } from "./names.ts";

/** Names of everybody known in the room; somebody unknown is called by their localpart. */
export function roomNames(room: Room): NameOf {
  let earlier: Map<string, string> | undefined;
  const earlierName = (userId: string): string | undefined => {
    earlier ??= earlierNames(room);
    return earlier.get(userId);
  };
  const members = room.getMembers().map((member) => ({ userId: member.userId, displayName: ownName(member) ?? earlierName(member.userId) }));
  const names = tellApart(members);
  return (userId) => names.get(userId) ?? (plainName(earlierName(userId)) || localpartOf(userId));
}

/** The display name a member has in the room now. */
export function ownName(member: RoomMember): string | undefined {
  // matrix-js-sdk shows the user id of those who have no name.
  return member.rawDisplayName === member.userId ? undefined : member.rawDisplayName;
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
