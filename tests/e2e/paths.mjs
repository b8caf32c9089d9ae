// What a story needs to know of the paths between browsers: how to leave only the relay's, how to have a direct one, and
// how many there are.
import { PEER_WAIT_MAX_MS, Person } from "./person.mjs";
import { until } from "./tab.mjs";

const DIRECTLY = "1 peer connected directly";

/** For `stage.open`: a browser that finds no direct path to anybody, as where UDP is blocked or WebRTC switched off. */
export const RELAY_ONLY = {
  chromiumPreferences: { webrtc: { ip_handling_policy: "disable_non_proxied_udp" } },
  firefoxPrefs: { "media.peerconnection.enabled": false },
};

/** Lets `openPeerConnections` count in this tab; to be called before it opens the page. */
export async function countPeerConnections(tab) {
  const count = () => {
    const Real = globalThis.RTCPeerConnection;
    if (!Real) return;
    const made = new Set();
    globalThis.peerConnections = made;
    globalThis.RTCPeerConnection = class extends Real {
      constructor(...args) {
        super(...args);
        made.add(this);
      }
    };
  };
  await (tab.isPlaywright ? tab.page.addInitScript(count) : tab.page.evaluateOnNewDocument(count));
}

/** The states of this page's peer connections that have not ended. */
export function openPeerConnections(tab) {
  return tab.evaluate(() => [...globalThis.peerConnections].map((peer) => peer.connectionState).filter((state) => state !== "closed" && state !== "failed"));
}

/** Anna and Ben in the room "Close together", connected directly, each in a browser started with those options. */
export async function twoDirectly(stage, { anna: annas, ben: bens } = {}) {
  const annasBrowser = await stage.open("anna", annas);
  const anna = new Person("Anna", await annasBrowser.tab());
  await countPeerConnections(anna.tab);
  await anna.tab.goto("/");
  await anna.enter();
  await anna.createRoom("Close together");
  const link = await anna.link();
  const bensBrowser = await stage.open("ben", bens);
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
export async function haveOne(people, status = DIRECTLY) {
  for (const person of people) {
    await person.status(status);
    const one = async () => (await openPeerConnections(person.tab)).join() === "connected";
    await until(one, `${person.name} to have one connection`, PEER_WAIT_MAX_MS).catch(async (error) => {
      throw new Error(`${error.message}, but there are: ${await openPeerConnections(person.tab)}`);
    });
  }
}
