// The names of the people in one room, as the room shows them.

import type { Room } from "matrix-js-sdk";
import type { NameOf } from "./change-words.ts";
import { localpartOf, tellApart } from "./names.ts";

/** Names of everybody known in the room; somebody unknown is called by their localpart. */
export function roomNames(room: Room): NameOf {
  const people = room.getMembers().map((member) => ({ userId: member.userId, displayName: member.rawDisplayName }));
  const names = tellApart(people);
  return (userId) => names.get(userId) ?? localpartOf(userId);
}
