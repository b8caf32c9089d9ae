// Chrome passes a request again when the service worker that had it was stopped; it must happen once all the same.
import assert from "node:assert/strict";
import { ask, CLIENT, register } from "../matrix.mjs";
import { until } from "../tab.mjs";

export const story = {
  name: "a service worker stopped in the middle of createRoom leaves one room; two deliberate calls make two",
  browsers: ["chromium"],
  async run(stage) {
    const browser = await stage.open("anna");
    const tab = await browser.tab("/");
    await tab.untilHost("leader");
    await tab.untilServiceWorker();
    const { access_token: token } = await register(tab, "anna");
    const rooms = async () => (await ask(tab, "GET", `${CLIENT}/joined_rooms`, { token })).joined_rooms;
    const create = () => ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: { name: "the same" } });

    const deliberate = await Promise.all([create(), create()]);
    assert.equal(new Set(deliberate.map(({ room_id }) => room_id)).size, 2);
    assert.equal((await rooms()).length, 2);

    // The homeserver is busy for a while, so that the request is certainly in hand when its service worker ends.
    const worker = await tab.hostWorker();
    await worker.evaluate(() => setTimeout(() => {
      const until = performance.now() + 700;
      while (performance.now() < until);
    }));
    const interrupted = create();
    await stopServiceWorkers(browser, tab);
    const { room_id: room } = await interrupted;
    assert.equal((await rooms()).length, 3);
    assert.ok((await rooms()).includes(room));

    const another = await create();
    assert.notEqual(another.room_id, room);
    assert.equal((await rooms()).length, 4);
  },
};

/** As the browser does when a service worker was idle for too long or takes up too much. */
async function stopServiceWorkers(browser, tab) {
  const session = await browser.raw.newCDPSession(tab.page);
  const running = new Map();
  session.on("ServiceWorker.workerVersionUpdated", ({ versions }) => {
    for (const version of versions) running.set(version.versionId, version.runningStatus);
  });
  await session.send("ServiceWorker.enable");
  await session.send("ServiceWorker.stopAllWorkers");
  await until(() => [...running.values()].some((status) => status === "stopped" || status === "starting"), "the service worker to be stopped", 5_000).catch(() => undefined);
}
