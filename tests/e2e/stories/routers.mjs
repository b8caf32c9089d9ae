// What stands between two people: nothing but a LAN, a router each, routers of the bad kind, a firewall. Whatever it is,
// they connect; directly wherever that is possible.
import { comesByLink, comesIn } from "../person.mjs";

const ROOM = "Router talk";
/** A browser takes its time until it gives up looking for a path. */
const GIVEN_UP_MAX_MS = 60_000;

/** @param {{ one: import("../network-lab.mjs").Router, other?: import("../network-lab.mjs").Router, path: string, why?: string }} scene `why`: what people are told when it is not direct */
async function tell(stage, { one, other, path, why }) {
  const home = stage.lab.home(one);
  const elsewhere = other ? stage.lab.home(other) : home;
  const { person: anna } = await comesIn(stage, "Anna", { host: home.host() });
  await anna.createRoom(ROOM);
  const link = await anna.link();
  const connected = stage.measure(`browser started to connected by "${path}"`);
  const { person: ben } = await comesByLink(stage, "Ben", link, { host: elsewhere.host() });
  for (const person of [anna, ben]) await person.isConnected(path);
  connected();
  await anna.closePanel();
  await anna.write("Can you hear me?");
  await ben.reads("Can you hear me?");
  if (why) {
    for (const person of [anna, ben]) await person.isTold(why, GIVEN_UP_MAX_MS);
  }
  if (path !== "direct") return;

  await stage.relay.stop();
  await ben.write("Even without the relay");
  await anna.reads("Can you hear me?", "Even without the relay");
}

const scene = (name, scene) => ({ name, browsers: ["chromium"], ownNetwork: true, timeoutMs: 120_000, run: (stage) => tell(stage, scene) });

export const stories = [
  scene("two people in the same network", { one: "cone", path: "direct" }),
  scene("two people behind a router each", { one: "cone", other: "cone", path: "direct" }),
  scene("two people behind routers that give every connection another port", { one: "symmetric", other: "symmetric", path: "relay", why: "both routers give every connection another port" }),
  scene("two people behind firewalls that let no UDP through", { one: "blocked", other: "blocked", path: "relay", why: "your network seems to let no UDP through" }),
];
