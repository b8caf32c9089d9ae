// What the "New room" form asks of the homeserver.

import { EventType, Preset, Visibility, type ICreateRoomOpts } from "matrix-js-sdk";
import { strings } from "../strings.ts";
import { plainName } from "./names.ts";
import { randomHex } from "./random-id.ts";

export const ROOM_NAME_MAX_CHARS = 100;

export interface NewRoom {
  name: string;
  /** "link": anyone who has the link may join, and no list shows the room. */
  access: "link" | "invite";
  /** Asked again under the same id, the homeserver makes no second room. */
  requestId: string;
}

const REQUEST_ID_BYTES = 16;

/** What the form holds: each thing asked for has an id of its own, however often it is asked for. */
export function newRoom(name: string, access: NewRoom["access"]): NewRoom {
  return { name, access, requestId: randomHex(REQUEST_ID_BYTES) };
}

/** The body of createRoom. Its presets suffice; only guests are kept out, because a homeserver of one person has none. */
export function roomCreationRequest({ name, access }: Pick<NewRoom, "name" | "access">): ICreateRoomOpts {
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
