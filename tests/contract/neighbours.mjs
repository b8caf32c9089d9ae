// What the cases of the federation contract find prepared: a node with people and a room, and a homeserver elsewhere whose
// users join it as the specification says.
import { World } from "./world.mjs";
import { eventId, referenceHash, unpadded } from "./signing.mjs";

/** Of the rooms the cases make, unless they say otherwise. */
export const VERSION = "11";

export class Neighbours {
  /**
   * @param {{ url: string, serverName: string }} node
   * @param {import("./elsewhere.mjs").Elsewhere} elsewhere
   */
  constructor(node, elsewhere) {
    this.here = new World(node.url);
    this.elsewhere = elsewhere;
    this.serverName = node.serverName;
  }

  /** Ada has a public room, in which she said something and zoe of elsewhere is. */
  async prepare() {
    this.ada = await this.here.user();
    this.zoe = `@zoe:${this.elsewhere.name}`;
    this.room = await this.newRoom();
    this.said = await this.here.say(this.ada, this.room, "hello");
    this.state = await this.join(this.room, this.zoe);
    return this;
  }

  newRoom(options = {}) {
    return this.here.newRoom(this.ada, { room_version: VERSION, ...options });
  }

  /** Somebody of elsewhere. */
  stranger() {
    return `@${this.here.fresh("zed")}:${this.elsewhere.name}`;
  }

  /** Joins as the handshake goes; resolves with the state of the room, the join included. */
  async join(room, user) {
    const event = await this.template("make_join", room, user, { ver: VERSION });
    const { body } = await this.asked("PUT", `/v2/send_join/${encodeURIComponent(room)}/${encodeURIComponent(eventId(event, VERSION))}`, event);
    return [...body.state, event];
  }

  /** The signed event of a template that the node gives. */
  async template(operation, room, user, query = {}) {
    const parameters = Object.entries(query).map(([name, value]) => `?${name}=${value}`);
    const { body } = await this.asked("GET", `/v1/${operation}/${encodeURIComponent(room)}/${encodeURIComponent(user)}${parameters}`);
    return this.signed({ ...body.event, origin_server_ts: Date.now() });
  }

  signed(event, version = VERSION) {
    return this.elsewhere.key.signedEvent(this.elsewhere.name, event, version);
  }

  /** An event of zoe's in the room that was prepared, after all that is there. */
  async pdu(fields) {
    const { body } = await this.asked("GET", `/v1/make_leave/${encodeURIComponent(this.room)}/${encodeURIComponent(this.zoe)}`);
    const { prev_events, depth } = body.event;
    const auth = [["m.room.create", ""], ["m.room.power_levels", ""], ["m.room.member", this.zoe]];
    const auth_events = auth.map(([type, key]) => eventId(this.state.find((event) => event.type === type && event.state_key === key), VERSION));
    return this.signed({ room_id: this.room, sender: this.zoe, origin_server_ts: Date.now(), depth, prev_events, auth_events, ...fields });
  }

  /** An invite of Ada to a room of elsewhere that nobody here knows, with how that was made. */
  invite(version, fields = {}) {
    const room_id = `!${this.here.fresh("room")}:${this.elsewhere.name}`;
    const common = { room_id, sender: this.zoe, origin: this.elsewhere.name, origin_server_ts: Date.now() };
    // Versions 1 and 2 have ids of the server's choice, and cite events with their hashes.
    const isOld = Number(version) < 3;
    const made = (number, event) => this.signed({ ...common, depth: number, ...(isOld && { event_id: `$${number}${room_id.slice(1)}` }), ...event }, version);
    const idOf = (event) => event.event_id ?? eventId(event, version);
    const cite = (event) => (isOld ? [idOf(event), { sha256: unpadded(referenceHash(event, version)) }] : idOf(event));
    const creation = { room_version: version, ...(Number(version) < 11 && { creator: this.zoe }) };
    const create = made(1, { type: "m.room.create", state_key: "", content: creation, prev_events: [], auth_events: [] });
    const member = made(2, { type: "m.room.member", state_key: this.zoe, content: { membership: "join" }, prev_events: [cite(create)], auth_events: [cite(create)] });
    const before = [create, member].map(cite);
    const event = made(3, { type: "m.room.member", state_key: this.ada.id, content: { membership: "invite" }, prev_events: before.slice(1), auth_events: before, ...fields });
    return { room: room_id, id: idOf(event), event, shown: [create, member] };
  }

  /** A signed request below `/_matrix/federation` that prepares something: it has to succeed. */
  async asked(method, path, body) {
    const answer = await this.ask({ method, url: `/_matrix/federation${path}`, body });
    if (answer.status !== 200) throw new Error(`cannot prepare: ${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer;
  }

  /** A request of elsewhere's, signed unless it says otherwise. */
  ask(request) {
    return this.elsewhere.ask(this.serverName, request);
  }
}
