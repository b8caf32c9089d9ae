// What befalls tabs and no other homeserver: they are closed, reloaded, and lose their gateway, while Synapse talks on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import https from "node:https";
import { until } from "../e2e/tab.mjs";

const GIVING_UP_MAX_MS = 60_000;

const texts = (what, count = 5) => Array.from({ length: count }, (_, n) => `${what} ${n}`);

/** Bob of Synapse's room with Ada of the tab in it. */
async function shared(tab, synapse, name) {
  const [ada, bob] = [await tab.register(`ada.${name}`), await synapse.register(`bob.${name}`)];
  const room = await bob.createRoom("11");
  await ada.join(room, synapse.serverName);
  await bob.untilMembership(room, ada.id, "join");
  await bob.say(room, "hello");
  await ada.untilHeard(room, "hello");
  return { ada, bob, room };
}

/** Status and body of what the gateway answers for `path` of `host`. */
function askGateway(gateway, certificates, host, path) {
  const ca = readFileSync(`${certificates}/ca.pem`);
  return new Promise((resolve, reject) => {
    const request = https.get({ host: "127.0.0.1", port: gateway.port, path, servername: host, headers: { host }, ca, agent: false }, async (answer) => {
      const chunks = await answer.toArray();
      resolve({ status: answer.statusCode, body: JSON.parse(Buffer.concat(chunks)) });
    });
    request.on("error", reject);
  });
}

/** @type {Record<string, (scene: { tab: object, synapse: object, gateway: object, certificates: string, another: (name: string) => Promise<object> }) => Promise<void>>} */
export const TAB_SCENARIOS = {
  "a tab that was closed gets what was said meanwhile": async ({ tab, synapse, gateway, certificates }) => {
    const { ada, bob, room } = await shared(tab, synapse, "closed");
    const keys = await askGateway(gateway, certificates, tab.serverName, "/_matrix/key/v2/server");
    await tab.close();
    const version = () => askGateway(gateway, certificates, tab.serverName, "/_matrix/federation/v1/version");
    const asleep = await until(async () => [await version()].find(({ status }) => status !== 200), "the gateway to notice");
    assert.deepEqual([asleep.status, asleep.body.errcode], [502, "M_UNKNOWN"]);
    assert.match(asleep.body.error, /browser tab that is not open/);
    // What it said before can be checked all the same.
    assert.deepEqual(await askGateway(gateway, certificates, tab.serverName, "/_matrix/key/v2/server"), keys);
    const said = texts("while you slept");
    for (const text of said) await bob.say(room, text);
    // Synapse has tried in vain, and would wait for ten minutes now: longer than anybody here does.
    await until(() => synapse.leavesAlone(tab.serverName) >= 600_000, "Synapse to give up for now", GIVING_UP_MAX_MS);
    await tab.open();
    for (const text of said) await ada.untilHeard(room, text);
    await ada.say(room, "good morning");
    await bob.untilHeard(room, "good morning");
    assert.deepEqual(await ada.history(room), ["hello", ...said, "good morning"]);
  },

  "a page that is reloaded misses nothing": async ({ tab, synapse }) => {
    const { ada, bob, room } = await shared(tab, synapse, "reloaded");
    const said = texts("as you reload", 12);
    let reloading;
    for (const [n, text] of said.entries()) {
      if (n === 3) reloading = tab.reload();
      await bob.say(room, text);
    }
    await reloading;
    for (const text of said) await ada.untilHeard(room, text);
    await ada.say(room, "there again");
    await bob.untilHeard(room, "there again");
    assert.deepEqual(await ada.history(room), ["hello", ...said, "there again"]);
  },

  "a gateway that is started again takes up where it was": async ({ tab, synapse, gateway }) => {
    const { ada, bob, room } = await shared(tab, synapse, "restarted");
    await gateway.relay.stop();
    const [said, heard] = [texts("to nobody"), texts("from nowhere")];
    for (const text of said) await bob.say(room, text);
    for (const text of heard) await inPage(tab, ada, room, text);
    await gateway.relay.start();
    await tab.ready();
    for (const text of said) await ada.untilHeard(room, text);
    for (const text of heard) await bob.untilHeard(room, text);
    await bob.say(room, "as before");
    await ada.untilHeard(room, "as before");
  },

  "two tabs of two browsers and Synapse in one room": async ({ tab, synapse, gateway, another }) => {
    const { ada, bob, room } = await shared(tab, synapse, "three");
    const other = await another("another tab");
    const eve = await other.register("eve");
    // Let in by the other tab, past Synapse.
    await eve.join(room, tab.serverName);
    for (const person of [ada, bob]) await person.untilMembership(room, eve.id, "join");
    const people = [ada, bob, eve];
    const allHear = async (text, who = people) => {
      for (const person of who) await person.untilHeard(room, text);
    };
    for (const person of people) {
      await person.say(room, `from ${person.id}`);
      await allHear(`from ${person.id}`);
    }
    // Between tabs nothing goes through the gateway, and what Synapse misses it gets.
    gateway.cable.cut();
    synapse.cut();
    const apart = texts("among tabs", 3);
    try {
      for (const text of apart) {
        await eve.say(room, text);
        await allHear(text, [ada]);
      }
      await bob.say(room, "alone");
    } finally {
      gateway.cable.mend();
      synapse.mend();
    }
    await ada.say(room, "together again");
    for (const text of [...apart, "together again", "alone"]) await allHear(text);
    await bob.act(room, "kick", { user_id: eve.id });
    for (const person of [ada, eve]) await person.untilMembership(room, eve.id, "leave");
  },
};

/** Says it in the page: no tool of this machine reaches a tab without its relay. */
async function inPage(tab, person, room, text) {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/${encodeURIComponent(text)}`;
  const sent = await tab.page.evaluate(
    async ({ path, token, body }) => (await fetch(path, { method: "PUT", headers: { authorization: `Bearer ${token}` }, body })).status,
    { path, token: person.token, body: JSON.stringify({ msgtype: "m.text", body: text }) },
  );
  assert.equal(sent, 200);
}
