// Twelve tabs, each a homeserver of its own, open one link at the same moment: all get in, everybody sees everybody, and who made
// the link goes on talking meanwhile. `STORM_GUESTS=30` has more of them come.
import assert from "node:assert/strict";
import { ask, CLIENT, partsOf } from "../matrix.mjs";
import { comesIn, Person } from "../person.mjs";
import { until } from "../tab.mjs";

const ROOM = "Housewarming";
const GUESTS = Number(process.env.STORM_GUESTS ?? 12);
/** On two cores that many other things share. */
const ALL_IN_MAX_MS = 60_000;
const TALK_MEDIAN_MAX_MS = 1_000;

export const story = {
  name: "twelve tabs open one link at once, and all get in",
  browsers: ["chromium"],
  timeoutMs: 150_000,
  async run(stage) {
    const { person: anna } = await comesIn(stage, "Anna");
    await anna.createRoom(ROOM);
    const link = await anna.link();
    const { room } = partsOf(link);
    await anna.closePanel();
    const { token } = await anna.session();

    const names = Array.from({ length: GUESTS }, (_, index) => `Guest ${index + 1}`);
    const browsers = await stage.openCrowd(names);
    const guests = await Promise.all(browsers.map(async (browser, index) => new Person(names[index], await browser.tab("/"))));
    // Each has a homeserver that runs, and stands before the link.
    await Promise.all(guests.map((guest) => guest.enter()));
    await Promise.all(guests.map((guest) => guest.tab.click('a[href="#/link"]')));
    await Promise.all(guests.map((guest) => guest.tab.fill("#pasted-link", link)));

    await talks(anna, room, token, 5);
    const began = performance.now();
    const ms = [];
    const comesInAfter = async (guest) => {
      await guest.tab.click(".main form button[type=submit]");
      await guest.tab.see(".composer textarea", ALL_IN_MAX_MS);
      ms.push(Math.round(performance.now() - began));
    };
    let storming = true;
    const storm = Promise.all(guests.map(comesInAfter)).finally(() => (storming = false));
    const talk = [];
    while (storming) talk.push(...(await talks(anna, room, token, 1)));
    await storm;
    figure(stage, `link to joined, each of ${GUESTS} at once`, ms);
    figure(stage, "send to own /sync of who invited, meanwhile", talk);
    const median = talk.sort((a, b) => a - b)[Math.floor(talk.length / 2)];
    assert.ok(median <= TALK_MEDIAN_MAX_MS, `a message of who invited took ${median} ms (median)`);

    // Everybody sees everybody, and hears what is said.
    await anna.write("Welcome, all of you");
    for (const person of [anna, ...guests]) {
      const { token } = await person.session();
      const members = async () => Object.keys((await ask(person.tab, "GET", `${CLIENT}/rooms/${encodeURIComponent(room)}/joined_members`, { token })).joined);
      await until(async () => (await members()).length === GUESTS + 1, `${person.name} to see everybody`, ALL_IN_MAX_MS);
      await person.tab.seeText("Welcome, all of you", ALL_IN_MAX_MS);
    }
  },
};

/** Says `count` things; answers how long each took until a `/sync` that waited told of it, in milliseconds, by one clock. */
async function talks(person, room, token, count) {
  return person.tab.evaluate(
    async ({ client, room, token, count }) => {
      const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
      const get = async (path) => (await fetch(`${client}${path}`, { headers })).json();
      const took = [];
      for (let said = 0; said < count; said += 1) {
        let { next_batch: since } = await get("/sync?filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1%7D%7D%7D");
        const txn = `talk-${performance.now()}`;
        const began = performance.now();
        const polls = async (eventId) => {
          for (;;) {
            const told = await get(`/sync?timeout=30000&since=${encodeURIComponent(since)}`);
            const events = told.rooms?.join?.[room]?.timeline?.events ?? [];
            if (events.some(({ event_id: id }) => id === eventId)) return;
            since = told.next_batch;
          }
        };
        const path = `/rooms/${encodeURIComponent(room)}/send/m.room.message/${txn}`;
        const sent = await fetch(`${client}${path}`, { method: "PUT", headers, body: JSON.stringify({ msgtype: "m.text", body: "Come in" }) });
        await polls((await sent.json()).event_id);
        took.push(Math.round(performance.now() - began));
      }
      return took;
    },
    { client: CLIENT, room, token, count },
  );
}

function figure(stage, what, samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const of = (percent) => sorted[Math.floor(((sorted.length - 1) * percent) / 100)];
  stage.figures.push(`${what}: ${of(50)} ms (median), ${of(95)} ms (p95), ${sorted.length} times`);
}
