// Two `warren node`s beside two Synapses, each pair in one room by HTTPS: from sending on one server to the answer of the
// `/sync` that brings the message on the other. The pairs take turns.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { WARREN } from "../scripts/places.mjs";
import { makeCertificates, synapseSide, warrenSide } from "../tests/synapse/sides.mjs";
import { Client } from "./node/client.mjs";
import { sendToSync } from "./node/send-to-sync.mjs";
import { figure } from "./summary.mjs";

const ROUNDS = { full: 5, quick: 2 };
/** Messages of a round, half of them in each direction. */
const SENDS = { full: 40, quick: 10 };
const TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.";
const CS = "/_matrix/client/v3";
/** At least so many times faster than Synapse. */
const AIM = { ratio: Number((1 / 15).toFixed(3)) };

/** `python` has Synapse among its packages. */
export async function benchFederation(python, size, program = WARREN) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  const sides = [];
  try {
    makeCertificates(python, directory);
    for (const name of ["warren-a", "warren-b"]) sides.push(await warrenSide(program, directory, directory, name));
    for (const name of ["synapse-a", "synapse-b"]) sides.push(await synapseSide(python, directory, directory, name));
    const pairs = [await Pair.of(sides[0], sides[1]), await Pair.of(sides[2], sides[3])];
    for (let round = 0; round < ROUNDS[size]; round++) {
      for (const pair of round % 2 ? pairs.toReversed() : pairs) await pair.measure(SENDS[size]);
    }
    const [ours, theirs] = pairs.map((pair) => pair.samples);
    const line = figure("send on one server to /sync on the other", "µs", ours, { limit: { name: "two Synapses", samples: theirs }, aim: AIM });
    return { lines: [line], samples: { warren: ours, synapse: theirs } };
  } finally {
    await Promise.all(sides.map((side) => side.end()));
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Two servers of a kind, with a person on each in one room. */
class Pair {
  samples = [];
  #number = 0;

  static async of(host, guest) {
    const pair = new Pair();
    const [ada, bob] = [await host.register("ada"), await guest.register("bob")];
    pair.room = await ada.createRoom("11");
    await bob.join(pair.room, host.serverName);
    await ada.untilMembership(pair.room, bob.id, "join");
    pair.people = [];
    for (const { url, token } of [ada, bob]) pair.people.push({ sender: await Client.connect(url, token), syncer: await Client.connect(url, token) });
    // What a first message costs (connections, keys) is not what is measured.
    await pair.measure(4);
    pair.samples = [];
    return pair;
  }

  async measure(sends) {
    const [one, other] = this.people;
    for (let n = 0; n < sends; n++) this.samples.push(await (n % 2 ? this.#sendToSync(other.sender, one.syncer) : this.#sendToSync(one.sender, other.syncer)));
  }

  #sendToSync(sender, syncer) {
    const path = `${CS}/rooms/${encodeURIComponent(this.room)}/send/m.room.message/m${this.#number++}`;
    const send = async () => (await sender.request("PUT", path, { msgtype: "m.text", body: TEXT })).event_id;
    return sendToSync({ sender, syncer, room: this.room, send });
  }
}
