// A relayed connection that comes to its end in the middle of a join costs a retry, not the join.
import assert from "node:assert/strict";
import { ask, CLIENT, partsOf } from "../matrix.mjs";
import { RELAY_ONLY } from "../paths.mjs";
import { comesIn } from "../person.mjs";

/** What the relay lets one circuit carry: one room with its joiner's handshakes, but not two. */
const CIRCUIT_BYTES = 256 * 1024;
/** The state of each room, which a join has to carry. */
const STATE_EVENTS = 40;
const STATE_EVENT_BYTES = 4 * 1024;

export const story = {
  name: "a circuit that ends in the middle of a join does not lose the join",
  browsers: ["chromium", "firefox"],
  timeoutMs: 150_000,
  relayArgs: ["--circuit-bytes", String(CIRCUIT_BYTES)],
  relayLog: "info,warren::circuit_relay=debug",
  async run(stage) {
    assert.ok(STATE_EVENTS * STATE_EVENT_BYTES < CIRCUIT_BYTES && CIRCUIT_BYTES < 2 * STATE_EVENTS * STATE_EVENT_BYTES);
    const { person: anna } = await comesIn(stage, "Anna", RELAY_ONLY);
    const links = [];
    for (const name of ["First", "Second"]) {
      await createHeavyRoom(anna, name);
      await anna.openRoom(name);
      links.push(await anna.share());
      await anna.closePanel();
    }

    // Not opened, so that nothing but the join itself is carried.
    const { person: ben } = await comesIn(stage, "Ben", RELAY_ONLY);
    const first = partsOf(links[0]);
    const { token } = await ben.session();
    await ask(ben.tab, "POST", `${CLIENT}/join/${encodeURIComponent(first.room)}?via=${first.via}`, { token, body: {} });
    assert.equal(cuts(stage.relay), 0, "the first join fits into one circuit");

    const joined = stage.measure("link to joined, with a circuit that ends in between");
    await ben.opensLink(links[1]);
    await ben.untilInRoom();
    joined();
    assert.ok(cuts(stage.relay) > 0, "no circuit came to its end");

    await ben.write("Made it");
    await anna.reads("Made it");
    const second = partsOf(links[1]);
    const state = await ask(ben.tab, "GET", `${CLIENT}/rooms/${encodeURIComponent(second.room)}/state`, { token });
    assert.equal(state.filter(({ type }) => type === "story.ballast").length, STATE_EVENTS);
  },
};

async function createHeavyRoom(person, name) {
  const ballast = (n) => ({ type: "story.ballast", state_key: String(n), content: { ballast: "x".repeat(STATE_EVENT_BYTES) } });
  const { token } = await person.session();
  const body = { name, preset: "public_chat", initial_state: Array.from({ length: STATE_EVENTS }, (_, n) => ballast(n)) };
  await ask(person.tab, "POST", `${CLIENT}/createRoom`, { token, body });
}

function cuts(relay) {
  return relay.log.split("circuit closed").length - 1;
}
