// `warren node` beside Synapse: one client script, both on a disk, in turns.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { WARREN } from "../scripts/places.mjs";
import { freePort } from "../tests/synapse/cable.mjs";
import { startSynapse, synapseVersion } from "../tests/synapse/process.mjs";
import { residentBytes, startNode } from "../tests/warren-node.mjs";
import { Client } from "./node/client.mjs";
import { sendToSync } from "./node/send-to-sync.mjs";
import { median, quantile, timed } from "./summary.mjs";

/** Rounds; in each both are measured, and the other goes first in the next. */
const ROUNDS = { full: 5, quick: 2 };
const SENDS = { full: 200, quick: 50 };
const SYNCS = { full: 40, quick: 10 };
/** Rooms of messages for the initial sync, and how many in each. */
const HISTORY = { full: { rooms: 50, messages: 100 }, quick: { rooms: 10, messages: 20 } };
/** Of each kind a round, each as a device of its own. */
const INITIAL_SYNCS = 3;
/** Events that a room's timeline gets at least from either server if the filter says nothing. */
const TIMELINE_DEFAULT = 10;
const PASSWORD_LOGIN = { type: "m.login.password", password: "correct horse" };
/** Both give memory back some seconds after they needed it. */
const SETTLE_MS = 15_000;
const CLIENTS = 8;
const JOINERS = 10;
const TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.";
const CS = "/_matrix/client/v3";

/** How many times faster, or smaller, than Synapse: the aims of `docs/benchmarks.md`. */
const AIMS = { send: 25, together: 20, sendToSync: 15, roomWithJoins: 15, initialSync: 8, initialSyncWhole: 15, idle: 5, soaked: 3 };
const NAMES = {
  send: "send, one after the other",
  together: `send, ${CLIENTS} at a time in one room`,
  sendToSync: "send to /sync",
  roomWithJoins: `create a room, ${JOINERS} join`,
  initialSync: "initial sync, default filter",
  initialSyncWhole: "initial sync, all messages",
  idle: "resident memory, idle",
  soaked: "resident memory, afterwards",
};

/** `python` has Synapse among its packages. */
export async function benchSynapse(python, size) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  const servers = [];
  try {
    servers.push(await begin("warren", startNode(directory, { program: WARREN })));
    servers.push(await begin("synapse", bareSynapse(python, directory)));
    for (const server of servers) await server.prepare(HISTORY[size]);
    for (let round = 0; round < ROUNDS[size]; round++) {
      for (const server of round % 2 ? servers.toReversed() : servers) await server.measure(size);
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    for (const server of servers) server.samples.soaked = [server.running.residentBytes()];
    const [warren, synapse] = servers.map((server) => server.samples);
    const lines = Object.keys(NAMES).map((key) => beside(key, warren[key], synapse[key]));
    return { lines, samples: { warren, synapse, synapseVersion: synapseVersion(python) } };
  } finally {
    for (const server of servers) await server.running.end("SIGTERM");
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A line whose ratio tells how many times better Warren is; at least as often as the aim is reached. */
function beside(key, ours, theirs) {
  const unit = key === "idle" || key === "soaked" ? "bytes" : "µs";
  const line = { name: NAMES[key], unit, samples: ours.length, median: median(ours), p95: quantile(ours, 0.95) };
  const ratio = median(ours) / median(theirs);
  const aim = { ratio: Number((1 / AIMS[key]).toFixed(3)) };
  return { ...line, limit: { name: "Synapse", median: median(theirs), p95: quantile(theirs, 0.95) }, ratio, aim, reached: ratio <= aim.ratio };
}

async function begin(name, starting) {
  const running = await starting;
  return new Server(name, running);
}

/** One homeserver under the client script. */
class Server {
  samples = { send: [], together: [], sendToSync: [], roomWithJoins: [], initialSync: [], initialSyncWhole: [], idle: [] };
  #number = 0;

  constructor(name, running) {
    this.name = name;
    this.running = running;
    this.samples.idle.push(running.residentBytes());
  }

  /** People, and the rooms that an initial sync tells of. */
  async prepare({ rooms, messages }) {
    const names = ["ada", ...Array.from({ length: JOINERS }, (_, n) => `joiner${n}`), "reader"];
    this.people = [];
    for (const name of names) this.people.push(await this.#register(name));
    const [ada] = this.people;
    this.room = await this.#createRoom(ada);
    this.clients = await Promise.all(Array.from({ length: CLIENTS }, () => Client.connect(this.running.url, ada.token)));
    const reader = this.people.at(-1);
    this.reader = { name: names.at(-1), rooms };
    for (let n = 0; n < rooms; n++) {
      const room = await this.#createRoom(reader);
      for (let m = 0; m < messages; m++) await this.#send(reader.client, room);
    }
    for (let n = 0; n < 20; n++) await this.#send(ada.client, this.room);
  }

  async measure(size) {
    const { samples, clients } = this;
    const [ada] = this.people;
    for (let n = 0; n < SENDS[size]; n++) samples.send.push(await timed(() => this.#send(ada.client, this.room)));
    const each = SENDS[size] / 4;
    const took = await timed(() => Promise.all(clients.map((client) => this.#sendMany(client, each))));
    samples.together.push(took / (each * CLIENTS));
    for (let n = 0; n < SYNCS[size]; n++) samples.sendToSync.push(await this.#sendToSync(ada.client, clients[0]));
    samples.roomWithJoins.push(await timed(() => this.#roomWithJoins()));
    for (let n = 0; n < INITIAL_SYNCS; n++) {
      samples.initialSync.push(await this.#initialSync(TIMELINE_DEFAULT));
      samples.initialSyncWhole.push(await this.#initialSync(HISTORY[size].messages));
    }
  }

  /** From asking, as a device that was never here, until the last byte of the answer: Synapse keeps what it has answered to
   * a device for two minutes. */
  async #initialSync(limit) {
    const { name, rooms } = this.reader;
    const anyone = await Client.connect(this.running.url);
    const { access_token: token } = await anyone.request("POST", `${CS}/login`, { ...PASSWORD_LOGIN, identifier: { type: "m.id.user", user: name } });
    anyone.close();
    const client = await Client.connect(this.running.url, token);
    const filter = limit === TIMELINE_DEFAULT ? "" : `?filter=${encodeURIComponent(JSON.stringify({ room: { timeline: { limit } } }))}`;
    let bytes;
    const took = await timed(async () => (bytes = await client.bytes("GET", `${CS}/sync${filter}`)));
    client.close();
    const told = Object.values(JSON.parse(bytes.toString()).rooms.join).map(({ timeline }) => timeline.events.length);
    if (told.length !== rooms || told.some((events) => events < limit)) throw new Error(`${this.name} told of ${told} events`);
    return took;
  }

  async #register(name) {
    const anyone = await Client.connect(this.running.url);
    const body = { username: name, password: PASSWORD_LOGIN.password, auth: { type: "m.login.dummy" } };
    const { access_token: token } = await anyone.request("POST", `${CS}/register`, body);
    anyone.close();
    return { token, client: await Client.connect(this.running.url, token) };
  }

  async #createRoom({ client }) {
    return (await client.request("POST", `${CS}/createRoom`, { preset: "public_chat" })).room_id;
  }

  #send(client, room) {
    const path = `${CS}/rooms/${encodeURIComponent(room)}/send/m.room.message/m${this.#number++}`;
    return client.request("PUT", path, { msgtype: "m.text", body: TEXT });
  }

  async #sendMany(client, count) {
    for (let n = 0; n < count; n++) await this.#send(client, this.room);
  }

  async #roomWithJoins() {
    const [ada, ...others] = this.people;
    const room = await this.#createRoom(ada);
    const join = ({ client }) => client.request("POST", `${CS}/join/${encodeURIComponent(room)}`, {});
    await Promise.all(others.slice(0, JOINERS).map(join));
  }

  #sendToSync(sender, syncer) {
    const send = async () => (await this.#send(sender, this.room)).event_id;
    return sendToSync({ sender, syncer, room: this.room, send });
  }
}

/** A Synapse that only its clients can ask. */
async function bareSynapse(python, home) {
  const clientPort = await freePort();
  const running = await startSynapse(python, home, { serverName: `localhost:${clientPort}`, clientPort });
  return { ...running, residentBytes: () => residentBytes(running.pid) };
}
