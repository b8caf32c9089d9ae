// Two people whose browsers talk directly: the relay introduces them, and may then go away.
import assert from "node:assert/strict";
import { countPeerConnections, haveOne, RELAY_ONLY, twoDirectly } from "../paths.mjs";
import { comesByLink, comesIn, Person } from "../person.mjs";
import { signal } from "../processes.mjs";
import { until } from "../tab.mjs";

const RELOADS = 10;
const KILLED_NOTICED_MAX_MS = 20_000;
const RESUMED_MAX_MS = 3_000;

async function withoutRelay(stage, browsers) {
  const { anna, ben } = await twoDirectly(stage, { anna: { kind: browsers.annas }, ben: { kind: browsers.bens } });
  await anna.write("Can you hear me?");
  await ben.reads("Can you hear me?");
  await stage.relay.stop();
  for (const person of [anna, ben]) await person.status("1 peer is still connected directly");
  const said = ["Can you hear me?"];
  for (const [writer, reader, text] of [[ben, anna, "Yes"], [anna, ben, "The relay is gone"], [ben, anna, "Who needs it"]]) {
    const seen = stage.measure("message to seen, without a relay");
    await writer.write(text);
    said.push(text);
    await reader.reads(...said);
    seen();
  }
  await haveOne([anna, ben], "1 peer is still connected directly");
}

/** What the details must say of a direct path: how long a round trip takes, which pair of addresses it joins, what went by it. */
const PATH_FACTS =
  /: directly, (under 1|\d+) ms\|Addresses used: (local|found on the way)[^;|]*; by the other side: (local|found on the way)[^;|]*\. (Within one network, b|B)y UDP\.\|[\d.]+ (bytes|kB) sent, [\d.]+ (bytes|kB) received$/;

/** What a person reads there of the one peer there is. */
function pathFacts(person) {
  const lines = () => document.querySelector(".popover [data-path=direct]").innerText.split("\n").filter(Boolean).join("|");
  return person.tab.evaluate(lines);
}

/** How much a person's report says went by the one direct path; it must have everything but messages. */
async function reported(person) {
  const text = await person.report();
  assert.ok(!/secret/i.test(text), "a report holds no messages");
  const { homeserver, directPaths } = JSON.parse(text);
  const [peer] = homeserver.peers;
  assert.deepEqual([homeserver.peers.length, directPaths.length, peer.path, peer.peerId], [1, 1, "direct", directPaths[0].peerId]);
  const { state, here, there, protocol, roundTripMs, bytesSent, bytesReceived } = directPaths[0];
  assert.deepEqual([state, here.kind, protocol], ["connected", "host", "udp"]);
  assert.ok(["host", "prflx"].includes(there.kind) && roundTripMs >= 0 && peer.roundTripMs >= 0, JSON.stringify(directPaths));
  return { sent: bytesSent, received: bytesReceived };
}

export const stories = [
  {
    name: "two browsers connect directly, and the conversation goes on without the relay",
    browsers: ["chromium", "firefox"],
    timeoutMs: 120_000,
    run: (stage) => withoutRelay(stage, {}),
  },
  {
    name: "Chromium and Firefox connect directly, and the conversation goes on without the relay",
    browsers: ["chromium"],
    timeoutMs: 120_000,
    run: (stage) => withoutRelay(stage, { annas: "chromium", bens: "firefox" }),
  },
  {
    name: "people are told which addresses a direct connection joins, and how much goes by it",
    browsers: ["chromium", "firefox"],
    timeoutMs: 120_000,
    async run(stage) {
      const { anna, ben, annasBrowser } = await twoDirectly(stage);
      await anna.write("A secret");
      await ben.reads("A secret");
      const second = new Person("Anna", await annasBrowser.tab());
      await second.tab.goto("/");
      await second.untilIn();
      // Only the tab that hosts knows; the other one asks it.
      for (const person of [anna, ben, second]) {
        await person.openDetails();
        await until(async () => PATH_FACTS.test(await pathFacts(person)), `${person.name} to be told of the path`).catch(async (error) => {
          throw new Error(`${error.message}, but the page says ${await pathFacts(person)}`);
        });
      }
      const before = await reported(second);
      await ben.write("Another secret");
      await anna.reads("A secret", "Another secret");
      const grown = async () => {
        const { sent, received } = await reported(second);
        return sent > before.sent && received > before.received;
      };
      await until(grown, "more bytes to be reported");
    },
  },
  {
    name: "a peer that reloads ten times has one connection each time",
    browsers: ["chromium", "firefox"],
    timeoutMs: 240_000,
    async run(stage) {
      const { anna, ben } = await twoDirectly(stage);
      for (let round = 0; round < RELOADS; round += 1) {
        const again = stage.measure("reload to connected directly again");
        await ben.tab.reload();
        await ben.untilInRoom();
        await haveOne([ben, anna]);
        again();
      }
      await ben.write("Still one of us each");
      await anna.reads("Still one of us each");
    },
  },
  {
    name: "a browser that is killed is noticed within 20 s",
    browsers: ["chromium", "firefox"],
    timeoutMs: 120_000,
    async run(stage) {
      const { anna, bensBrowser } = await twoDirectly(stage);
      const noticed = stage.measure("killed to noticed");
      signal(bensBrowser.profileDir, "SIGKILL");
      await anna.status("no peers connected", KILLED_NOTICED_MAX_MS);
      noticed();
    },
  },
  {
    name: "one tab hands over to another, and what peers say arrives within 3 s",
    browsers: ["chromium", "firefox"],
    timeoutMs: 120_000,
    async run(stage) {
      const { anna, ben, annasBrowser } = await twoDirectly(stage);
      const second = new Person("Anna", await annasBrowser.tab());
      await countPeerConnections(second.tab);
      await second.tab.goto("/");
      await second.untilIn();
      await second.openRoom("Close together");
      await ben.write("Before");
      await second.reads("Before");
      const started = performance.now();
      const resumed = stage.measure("leading tab closed to the next message seen");
      await anna.tab.close();
      await ben.write("After");
      await second.reads("Before", "After");
      resumed();
      const took = performance.now() - started;
      assert.ok(took <= RESUMED_MAX_MS, `it took ${Math.round(took)} ms`);
      await haveOne([second, ben]);
    },
  },
  {
    name: "without a direct path the relay carries everything, and when it is gone messages wait",
    browsers: ["chromium", "firefox"],
    timeoutMs: 150_000,
    async run(stage) {
      const { person: anna } = await comesIn(stage, "Anna", RELAY_ONLY);
      await anna.createRoom("Far apart");
      const { person: ben } = await comesByLink(stage, "Ben", await anna.link(), RELAY_ONLY);
      await anna.closePanel();
      await anna.write("Hello Ben");
      await ben.reads("Hello Ben");
      for (const person of [anna, ben]) await person.status("1 peer connected · all sent");

      await stage.relay.stop();
      for (const person of [anna, ben]) await person.status("You are offline");
      await anna.write("Nobody hears this");
      await anna.reads("Hello Ben", "Nobody hears this");
      await anna.status("waits for Ben");
      await ben.write("Me neither");
      await ben.status("waits for Anna");

      const healed = stage.measure("relay ready to messages seen");
      await stage.relay.start();
      for (const person of [anna, ben]) {
        await person.tab.seeText("Nobody hears this");
        await person.tab.seeText("Me neither");
      }
      healed();
      for (const person of [anna, ben]) await person.status("1 peer connected · all sent");
      assert.equal((await anna.messages()).length, 3);
    },
  },
];
