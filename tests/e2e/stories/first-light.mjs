// The main story: two people, two browsers, no server; a room, a link, a conversation that outlasts reloads, closed tabs
// and a relay that dies, because by then they need none.
import assert from "node:assert/strict";
import { comesByLink, comesIn, Person } from "../person.mjs";

const ROOM = "Garden party";
const STORY_MAX_MS = 240_000;

async function tell(stage, { annas, bens }) {
  const { person: anna } = await comesIn(stage, "Anna", { kind: annas });
  await anna.createRoom(ROOM);
  const { browser: bensBrowser, person: ben } = await comesByLink(stage, "Ben", await anna.link(), { kind: bens });

  await anna.closePanel();
  await anna.write("Hello Ben");
  await ben.reads("Hello Ben");
  const seen = stage.measure("message to seen");
  await ben.write("Hello Anna");
  await anna.reads("Hello Ben", "Hello Anna");
  seen();

  await anna.tab.reload();
  await anna.reads("Hello Ben", "Hello Anna");
  await ben.tab.reload();
  await ben.reads("Hello Ben", "Hello Anna");
  await ben.write("I am still here");
  await anna.reads("Hello Ben", "Hello Anna", "I am still here");

  const bensId = await ben.userId();
  await bensBrowser.close();
  await anna.status("no peers connected");
  await anna.write("Where are you?");
  await anna.status("waits for Ben");

  const again = await stage.open("ben", { kind: bens });
  const benAgain = new Person("Ben", await again.tab("/"));
  await benAgain.openRoom(ROOM);
  const all = ["Hello Ben", "Hello Anna", "I am still here", "Where are you?"];
  await benAgain.reads(...all);
  await anna.status("all sent");
  assert.equal(await benAgain.userId(), bensId);
  await benAgain.openRoom(ROOM);

  await stage.relay.stop();
  for (const person of [anna, benAgain]) await person.status("still connected directly");
  await anna.write("The relay is gone");
  await benAgain.reads(...all, "The relay is gone");
  await benAgain.write("We are not");
  await anna.reads(...all, "The relay is gone", "We are not");

  await stage.relay.start();
  for (const person of [anna, benAgain]) await person.status("1 peer connected directly · all sent");
  assert.equal((await anna.messages()).length, all.length + 2);
}

export const stories = [
  {
    name: "two people, two browsers, one conversation",
    browsers: ["chromium", "firefox"],
    timeoutMs: STORY_MAX_MS,
    run: (stage) => tell(stage, { annas: stage.browser, bens: stage.browser }),
  },
  {
    name: "two people, one conversation: one uses Chromium, the other Firefox",
    browsers: ["chromium"],
    timeoutMs: STORY_MAX_MS,
    run: (stage) => tell(stage, { annas: "chromium", bens: "firefox" }),
  },
];
