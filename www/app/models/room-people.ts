// The people of a room: who they are, what they may do, and what we may do to them.

import { KnownMembership, RoomStateEvent, type MatrixClient, type Room, type RoomMember } from "matrix-js-sdk";
import { serverOf } from "./names.ts";
import { Derived, type Readable } from "./observable.ts";
import { roomNames } from "./room-names.ts";

export type Role = "creator" | "admin" | "moderator" | "member" | "muted";

export interface Person {
  userId: string;
  name: string;
  server: string;
  role: Role;
  membership: "join" | "invite" | "ban";
  own: boolean;
  mayRemove: boolean;
  mayBan: boolean;
  mayUnban: boolean;
}

/** The powers a role begins at, as Matrix clients commonly name them. */
const ADMIN_POWER = 100;
const MODERATOR_POWER = 50;

export class RoomPeople {
  readonly people: Readable<Person[]>;
  readonly #client: MatrixClient;
  readonly #room: Room;

  constructor(client: MatrixClient, room: Room) {
    this.#client = client;
    this.#room = room;
    this.people = new Derived(this.#compute, this.#connect);
  }

  /** Members are loaded lazily; this gets all of them. */
  async load(): Promise<void> {
    await this.#room.loadMembersIfNeeded();
  }

  async invite(userId: string): Promise<void> {
    await this.#client.invite(this.#room.roomId, userId);
  }

  /** Removes a member, or withdraws an invitation. */
  async remove(userId: string, reason: string): Promise<void> {
    await this.#client.kick(this.#room.roomId, userId, reason || undefined);
  }

  async ban(userId: string, reason: string): Promise<void> {
    await this.#client.ban(this.#room.roomId, userId, reason || undefined);
  }

  async unban(userId: string): Promise<void> {
    await this.#client.unban(this.#room.roomId, userId);
  }

  readonly #connect = (changed: () => void): (() => void) => {
    const events = [RoomStateEvent.Members, RoomStateEvent.Events, RoomStateEvent.Update] as const;
    for (const event of events) this.#room.on(event, changed);
    return () => {
      for (const event of events) this.#room.off(event, changed);
    };
  };

  readonly #compute = (): Person[] => {
    const room = this.#room;
    const nameOf = roomNames(room);
    const own = room.getMember(this.#client.getSafeUserId());
    const people = room
      .getMembers()
      .map((member) => person(room, member, own, nameOf))
      .filter((found) => found !== undefined);
    return people.sort(byStanding);
  };
}

/** True for something that looks like a Matrix user id: `@name:server`. */
export function isUserId(text: string): boolean {
  return text.length <= 255 && /^@[!-9;-~]+:[A-Za-z0-9.[\]:-]+$/.test(text);
}

export function roleOf(power: number, defaultPower: number): Role {
  if (!Number.isFinite(power)) return "creator";
  if (power >= ADMIN_POWER) return "admin";
  if (power >= MODERATOR_POWER) return "moderator";
  return power < defaultPower ? "muted" : "member";
}

function person(room: Room, member: RoomMember, own: RoomMember | null, nameOf: (userId: string) => string): Person | undefined {
  const { userId, membership } = member;
  if (membership !== KnownMembership.Join && membership !== KnownMembership.Invite && membership !== KnownMembership.Ban) return undefined;
  const state = room.currentState;
  const isOwn = userId === own?.userId;
  const joined = own?.membership === KnownMembership.Join;
  const may = (action: "kick" | "ban"): boolean =>
    joined && !isOwn && own.powerLevel > member.powerLevel && state.hasSufficientPowerLevelFor(action, own.powerLevel);
  return {
    userId,
    name: nameOf(userId),
    server: serverOf(userId),
    role: roleOf(member.powerLevel, usersDefault(room)),
    membership,
    own: isOwn,
    mayRemove: membership !== KnownMembership.Ban && may("kick"),
    mayBan: membership !== KnownMembership.Ban && may("ban"),
    mayUnban: membership === KnownMembership.Ban && may("ban") && may("kick"),
  };
}

function usersDefault(room: Room): number {
  const value: unknown = room.currentState.getStateEvents("m.room.power_levels", "")?.getContent().users_default;
  return typeof value === "number" ? value : 0;
}

const ROLE_ORDER: Role[] = ["creator", "admin", "moderator", "member", "muted"];

function byStanding(a: Person, b: Person): number {
  return ROLE_ORDER.indexOf(a.role) - ROLE_ORDER.indexOf(b.role) || a.name.localeCompare(b.name);
}
