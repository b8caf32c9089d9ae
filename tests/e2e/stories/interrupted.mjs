// A conversation that is interrupted: a computer sleeps, loses its network, or takes another one. It goes on without anybody
// doing anything.
import { haveOne, twoDirectly } from "../paths.mjs";
import { signal } from "../processes.mjs";

const NOBODY = "no peers connected";
const NOTICED_MAX_MS = 20_000;
/** Until everything is as before: both sides may be in the middle of waiting for the next try. */
const RESUMED_MAX_MS = 45_000;

/** Both have written; each sees what the other wrote, and there is one connection. */
async function goesOn(people, texts) {
  for (const person of people) for (const text of texts) await person.tab.seeText(text, RESUMED_MAX_MS);
  await haveOne(people);
  for (const person of people) await person.reads(...(await person.messages()));
}

async function sleeps(stage) {
  const { anna, ben, bensBrowser } = await twoDirectly(stage);
  const noticed = stage.measure("asleep to noticed");
  signal(bensBrowser.profileDir, "SIGSTOP");
  try {
    await anna.status(NOBODY, NOTICED_MAX_MS);
    noticed();
    await anna.write("Are you asleep?");
    await anna.status("waits for Ben");
  } finally {
    signal(bensBrowser.profileDir, "SIGCONT");
  }
  const resumed = stage.measure("awake to everything seen and connected directly");
  await ben.write("Just a nap");
  await goesOn([anna, ben], ["Are you asleep?", "Just a nap"]);
  resumed();
}

async function losesNetwork(stage) {
  const home = stage.lab.home("cone");
  const bens = home.host();
  const { anna, ben } = await twoDirectly(stage, { anna: { host: stage.lab.home("cone").host() }, ben: { host: bens } });
  const noticed = stage.measure("network lost to noticed by the other side");
  stage.lab.unplug(bens);
  await anna.status(NOBODY, NOTICED_MAX_MS);
  noticed();
  await ben.status("You are offline");
  await anna.write("Where are you?");
  await anna.status("waits for Ben");
  await ben.write("In a tunnel");
  await ben.status("waits for Anna");
  home.plug(bens);
  const resumed = stage.measure("network back, with another address, to everything seen and connected directly");
  await goesOn([anna, ben], ["Where are you?", "In a tunnel"]);
  resumed();
}

async function changesNetwork(stage) {
  const elsewhere = stage.lab.home("cone");
  const bens = stage.lab.home("cone").host();
  const { anna, ben } = await twoDirectly(stage, { anna: { host: stage.lab.home("cone").host() }, ben: { host: bens } });
  await ben.write("I am leaving");
  await anna.reads("I am leaving");
  stage.lab.unplug(bens);
  elsewhere.plug(bens);
  const resumed = stage.measure("network changed to everything seen and connected directly");
  await anna.write("Still there?");
  await ben.write("On another network");
  await goesOn([anna, ben], ["Still there?", "On another network"]);
  resumed();
}

export const stories = [
  { name: "a computer sleeps, and the conversation goes on when it wakes", browsers: ["chromium", "firefox"], timeoutMs: 150_000, run: sleeps },
  { name: "a computer loses its network, and the conversation goes on when it is back", browsers: ["chromium"], ownNetwork: true, timeoutMs: 150_000, run: losesNetwork },
  { name: "a computer changes networks in the middle of a conversation, and it goes on", browsers: ["chromium"], ownNetwork: true, timeoutMs: 150_000, run: changesNetwork },
];
