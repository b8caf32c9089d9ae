// Two profiles of one browser talk with nothing between them: no relay, no network but loopback, and no peer connections.
import assert from "node:assert/strict";
import { Person } from "../person.mjs";

const ROOM = "Under one roof";

/** Both join and talk; then one reloads, and both go on. Once the first page is there, `meanwhile` happens. */
async function talk(browser, meanwhile) {
  const anna = new Person("Anna", await browser.tab("/?profile=anna"));
  await anna.enter();
  await meanwhile?.(anna);
  await anna.createRoom(ROOM);
  const link = new URL(await anna.linkText());
  const ben = new Person("Ben", await browser.tab(`/?profile=ben${link.hash}`));
  await ben.enter();
  await ben.untilInRoom();
  for (const person of [anna, ben]) await person.isConnected("browser");
  await anna.closePanel();
  await anna.write("Hello next door");
  await ben.reads("Hello next door");

  await ben.tab.reload();
  await ben.reads("Hello next door");
  await ben.isConnected("browser");
  await ben.write("Back again");
  await anna.reads("Hello next door", "Back again");
  for (const person of [anna, ben]) assert.deepEqual(await person.paths(), ["browser"], "one connection, and no other");
}

export const stories = [
  {
    name: "two profiles of one browser talk with only loopback up",
    browsers: ["chromium"],
    ownNetwork: "loopback",
    run: async (stage) => talk(await stage.open("family", { host: stage.lab.internet })),
  },
  {
    name: "two profiles of one browser talk without a relay",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      await talk(await stage.open("family"), async (anna) => {
        // From now on the page needs no server.
        await anna.tab.untilServiceWorker();
        await stage.relay.stop();
        await anna.status("You are offline");
      });
    },
  },
];
