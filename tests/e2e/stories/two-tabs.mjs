// Two tabs of one profile: one hosts, the other takes over within 3 s when it closes, hangs or is navigated away.
import assert from "node:assert/strict";
import { ask, CLIENT, messagesIn, register, request, send } from "../matrix.mjs";
import { until } from "../tab.mjs";

const TAKEOVER_MAX_MS = 3_000;

/** Two tabs of which the first hosts, and a room with a message in it. */
async function twoTabs(stage) {
  const browser = await stage.open("anna");
  const leader = await browser.tab("/");
  await leader.untilHost("leader");
  await leader.untilServiceWorker();
  const follower = await browser.tab("/");
  await follower.untilHost("follower");
  const { access_token: token } = await register(leader, "anna");
  const { room_id: room } = await ask(leader, "POST", `${CLIENT}/createRoom`, { token, body: {} });
  await send(leader, token, room, "before");
  return { browser, leader, follower, token, room };
}

/** Runs `happening`, and holds that `follower` then hosts in time, with everything that was acknowledged. */
async function takesOver(follower, { token, room }, happening) {
  const { next_batch: since } = await ask(follower, "GET", `${CLIENT}/sync`, { token });
  const poll = ask(follower, "GET", `${CLIENT}/sync?since=${encodeURIComponent(since)}&timeout=30000`, { token });
  const started = performance.now();
  await happening();
  await follower.untilHost("leader", TAKEOVER_MAX_MS + 5_000);
  const took = performance.now() - started;
  assert.ok(took <= TAKEOVER_MAX_MS, `took over after ${Math.round(took)} ms`);
  await send(follower, token, room, "after");
  // The long poll that the old leader took with it goes on at the new one.
  const news = (await poll).rooms.join[room].timeline.events;
  assert.deepEqual(news.map(({ content }) => content.body), ["after"]);
  assert.deepEqual(await messagesIn(follower, token, room), ["before", "after"]);
}

export const stories = [
  {
    name: "two tabs of a profile are one homeserver",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const { leader, follower, token, room } = await twoTabs(stage);
      await send(follower, token, room, "from the other tab");
      assert.deepEqual(await messagesIn(leader, token, room), ["before", "from the other tab"]);
      const whoami = (tab) => ask(tab, "GET", `${CLIENT}/account/whoami`, { token });
      assert.deepEqual(await whoami(leader), await whoami(follower));
    },
  },
  {
    name: "the hosting tab closes and another takes over within 3 s",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const { leader, follower, ...rest } = await twoTabs(stage);
      await takesOver(follower, rest, () => leader.close());
    },
  },
  {
    name: "the hosting tab hangs and another takes over within 3 s",
    browsers: ["chromium"],
    async run(stage) {
      const { leader, follower, ...rest } = await twoTabs(stage);
      const worker = await leader.hostWorker();
      await takesOver(follower, rest, () => {
        // Never comes back, and is never awaited.
        worker.evaluate("for (;;) {}").catch(() => undefined);
      });
      // The tab of the hung worker replaces it, and follows.
      await leader.untilHost("follower");
      await send(leader, rest.token, rest.room, "from the tab that hung");
    },
  },
  {
    name: "a hosting tab in the back-forward cache keeps nobody waiting, and comes back",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const { leader, follower, ...rest } = await twoTabs(stage);
      await takesOver(follower, rest, () => leader.goto("/config.json"));
      await leader.page.goBack();
      await leader.untilHost("follower");
      await follower.close();
      await leader.untilHost("leader", TAKEOVER_MAX_MS);
      assert.deepEqual(await messagesIn(leader, rest.token, rest.room), ["before", "after"]);
    },
  },
  {
    name: "a trap in the homeserver: answered 503, restarted within 2 s, nothing acknowledged lost",
    browsers: ["chromium"],
    async run(stage) {
      const browser = await stage.open("anna");
      const tab = await browser.tab("/");
      await tab.untilHost("leader");
      await tab.untilServiceWorker();
      const { access_token: token } = await register(tab, "anna");
      const { room_id: room } = await ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: {} });
      await send(tab, token, room, "before");
      const { next_batch: since } = await ask(tab, "GET", `${CLIENT}/sync`, { token });
      const poll = ask(tab, "GET", `${CLIENT}/sync?since=${encodeURIComponent(since)}&timeout=30000`, { token });
      const started = performance.now();
      await trap(await tab.hostWorker());
      await until(async () => (await request(tab, "GET", "/_matrix/client/versions")).status === 200, "an answer again");
      assert.ok(performance.now() - started <= 2_000, `restarted after ${Math.round(performance.now() - started)} ms`);
      await tab.untilHost("leader");
      await send(tab, token, room, "after");
      assert.deepEqual((await poll).rooms.join[room].timeline.events.map(({ content }) => content.body), ["after"]);
      assert.deepEqual(await messagesIn(tab, token, room), ["before", "after"]);
    },
  },
];

/** A real trap, in a task of the worker that nobody waits for: a module whose one function is `unreachable`. */
async function trap(worker) {
  await worker.evaluate(() => {
    const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 5, 1, 3, 0, 0, 11];
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes)));
    setTimeout(exports.f);
  });
}
