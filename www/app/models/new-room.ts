// What the "New room" form asks of the homeserver.

import { EventType, Preset, Visibility, type ICreateRoomOpts } from "matrix-js-sdk";
import { strings } from "../strings.ts";
import { plainName } from "./names.ts";

export const ROOM_NAME_MAX_CHARS = 100;

export interface NewRoom {
  name: string;
  /** "link": anyone who has the link may join, and no list shows the room. */
  access: "link" | "invite";
}

/** The body of createRoom. Its presets suffice; only guests are kept out, because a homeserver of one person has none. */
export function roomCreationRequest({ name, access }: NewRoom): ICreateRoomOpts {
  return {
    name: plainName(name),
    preset: access === "link" ? Preset.PublicChat : Preset.PrivateChat,
    visibility: Visibility.Private,
    initial_state: [{ type: EventType.RoomGuestAccess, state_key: "", content: { guest_access: "forbidden" } }],
  };
}

/** What is wrong with a room's name; undefined when nothing is. */
export function roomNameProblem(name: string): string | undefined {
  const plain = plainName(name);
  if (plain === "") return strings.newRoom.nameMissing;
  return [...plain].length > ROOM_NAME_MAX_CHARS ? strings.newRoom.nameTooLong(ROOM_NAME_MAX_CHARS) : undefined;
}
