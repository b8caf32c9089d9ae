// A signed-in user: the client, what was derived from it, and the requests that belong to no single room.

import { ClientEvent, Method, SyncState, type MatrixClient, type Room } from "matrix-js-sdk";
import type { EntranceOptions } from "./entrance.ts";
import { makeClient, startSyncing } from "./matrix-client.ts";
import { localpartOf, plainName, serverOf } from "./names.ts";
import { Observable, type Readable } from "./observable.ts";
import { RoomList } from "./room-list.ts";
import { ownName } from "./room-names.ts";
import { roomCreationRequest, type NewRoom } from "./new-room.ts";
import { saveSession, type Session } from "./session.ts";

export class Account {
  readonly client: MatrixClient;
  readonly userId: string;
  readonly rooms: RoomList;
  readonly #options: EntranceOptions;
  readonly #ready = new Observable(false);
  readonly #name: Observable<string>;
  readonly #expected = new Set<string>();
  #session: Session;
  #stopListening: (() => void) | undefined;

  /** True once the first sync is in: until then the room list is not known. */
  readonly ready: Readable<boolean> = this.#ready;
  readonly displayName: Readable<string>;

  constructor(options: EntranceOptions, session: Session) {
    this.#options = options;
    this.#session = session;
    this.userId = session.userId;
    this.client = makeClient(options.homeserver, session, options.kept, options.profile);
    this.rooms = new RoomList(this.client);
    this.#name = new Observable(session.pendingName ?? localpartOf(session.userId));
    this.displayName = this.#name;
  }

  /** The name of our homeserver. */
  get server(): string {
    return serverOf(this.userId);
  }

  get password(): string {
    return this.#session.password;
  }

  async start(): Promise<void> {
    this.client.on(ClientEvent.Sync, this.#synced);
    this.#stopListening = this.#options.onHomeserverBack(() => this.client.retryImmediately());
    await startSyncing(this.client);
    await this.#settleName();
  }

  stop(): void {
    this.#stopListening?.();
    this.client.off(ClientEvent.Sync, this.#synced);
    this.client.stopClient();
  }

  async setDisplayName(name: string): Promise<void> {
    const plain = plainName(name);
    await this.client.setDisplayName(plain);
    this.#name.set(plain);
  }

  /** Resolves to the new room's id. Asked again with the same request, after a fault say, it is the same room. */
  async createRoom(newRoom: NewRoom): Promise<string> {
    const body = roomCreationRequest(newRoom);
    const answer = await this.client.http.authedRequest<{ room_id: string }>(Method.Post, "/createRoom", undefined, body, {
      headers: { "warren-request-id": newRoom.requestId },
    });
    this.#expected.add(answer.room_id);
    return answer.room_id;
  }

  async joinByLink(roomId: string, via: string[]): Promise<void> {
    await this.client.joinRoom(roomId, { viaServers: via });
    this.#expected.add(roomId);
  }

  /** True for a room that we are in, but of which the sync has not told us yet. */
  isArriving(roomId: string): boolean {
    return !this.#ready.get() || this.#expected.has(roomId);
  }

  async leave(roomId: string, forget: boolean): Promise<void> {
    await this.client.leave(roomId);
    this.#expected.delete(roomId);
    if (forget) await this.client.forget(roomId);
  }

  /** Tells the homeserver where the servers named in a link can be reached. */
  async giveAddressHints(server: string, addresses: string[]): Promise<void> {
    await this.client.http.authedRequest(Method.Post, "/warren/address_hints", undefined, { servers: { [server]: addresses } }, {
      prefix: "/_matrix/client/unstable",
    });
  }

  /** Names of the people whose homeserver this is, ourselves left out. */
  peopleAt(serverName: string): string[] {
    const names = new Map<string, string>();
    for (const member of this.client.getRooms().flatMap((room) => room.getMembers())) {
      if (member.userId === this.userId || serverOf(member.userId) !== serverName) continue;
      const name = ownName(member);
      if (name !== undefined || !names.has(member.userId)) names.set(member.userId, plainName(name) || localpartOf(member.userId));
    }
    return [...new Set(names.values())];
  }

  room(roomId: string): Room | undefined {
    return this.client.getRoom(roomId) ?? undefined;
  }

  readonly #synced = (state: SyncState): void => {
    if (state === SyncState.Prepared || state === SyncState.Syncing) this.#ready.set(true);
  };

  /** Sets the name chosen at the welcome, or learns the one set before. */
  async #settleName(): Promise<void> {
    const { pendingName } = this.#session;
    try {
      if (pendingName === undefined) {
        const profile = await this.client.getProfileInfo(this.userId);
        this.#name.set(plainName(profile.displayname) || localpartOf(this.userId));
        return;
      }
      await this.client.setDisplayName(pendingName);
      this.#session = { ...this.#session, pendingName: undefined };
      saveSession(this.#options.kept, this.#options.profile, this.#session);
    } catch {
      // The name stays pending and is set at the next start.
    }
  }
}
