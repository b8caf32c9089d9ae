// Two people whose browsers talk directly: the relay introduces them, and may then go away.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { countPeerConnections, openPeerConnections, RELAY_ONLY } from "../paths.mjs";
import { comesByLink, comesIn, PEER_WAIT_MAX_MS, Person } from "../person.mjs";
import { until } from "../tab.mjs";

const ROOM = "Close together";
const DIRECTLY = "1 peer connected directly";
const RELOADS = 10;
const KILLED_NOTICED_MAX_MS = 20_000;
const RESUMED_MAX_MS = 3_000;

/** Anna and Ben in one room, connected directly. */
async function two(stage, { annas = stage.browser, bens = stage.browser } = {}) {
  const annasBrowser = await stage.open("anna", { kind: annas });
  const anna = new Person("Anna", await annasBrowser.tab());
  await countPeerConnections(anna.tab);
  await anna.tab.goto("/");
  await anna.enter();
  await anna.createRoom(ROOM);
  const link = await anna.link();
  const bensBrowser = await stage.open("ben", { kind: bens });
  const ben = new Person("Ben", await bensBrowser.tab());
  await countPeerConnections(ben.tab);
  const direct = stage.measure("link to connected directly");
  await ben.tab.goto(link);
  await ben.enter();
  await ben.untilInRoom();
  await anna.closePanel();
  for (const person of [anna, ben]) await person.status(DIRECTLY);
  direct();
  return { anna, ben, annasBrowser, bensBrowser };
}

/** Exactly one connection on either side, and it works. */
async function haveOne(people) {
  for (const person of people) {
    await person.status(DIRECTLY);
    const one = async () => (await openPeerConnections(person.tab)).join() === "connected";
    await until(one, `${person.name} to have one connection`, PEER_WAIT_MAX_MS).catch(async (error) => {
      throw new Error(`${error.message}, but there are: ${await openPeerConnections(person.tab)}`);
    });
  }
}

async function withoutRelay(stage, browsers) {
  const { anna, ben } = await two(stage, browsers);
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
  await haveOne([anna, ben].map((person) => Object.assign(person, { status: () => Promise.resolve() })));
}

/** The processes of the browser that keeps its profile there, killed without a word. */
function kill(profileDir) {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(profileDir)) process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended meanwhile, or is not ours.
    }
  }
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
    name: "a peer that reloads ten times has one connection each time",
    browsers: ["chromium", "firefox"],
    timeoutMs: 240_000,
    async run(stage) {
      const { anna, ben } = await two(stage);
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
      const { anna, bensBrowser } = await two(stage);
      const noticed = stage.measure("killed to noticed");
      kill(bensBrowser.profileDir);
      await anna.status("no peers connected", KILLED_NOTICED_MAX_MS);
      noticed();
    },
  },
  {
    name: "one tab hands over to another, and what peers say arrives within 3 s",
    browsers: ["chromium", "firefox"],
    timeoutMs: 120_000,
    async run(stage) {
      const { anna, ben, annasBrowser } = await two(stage);
      const second = new Person("Anna", await annasBrowser.tab());
      await countPeerConnections(second.tab);
      await second.tab.goto("/");
      await second.untilIn();
      await second.openRoom(ROOM);
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
      await anna.createRoom(ROOM);
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
