// A script that knows an origin and a friend's link, and nothing of Warren's page: registers, joins, talks, creates.
import assert from "node:assert/strict";
import { ask, CLIENT, messagesIn, partsOf, register, request, send } from "../matrix.mjs";
import { comesIn, PEER_WAIT_MAX_MS } from "../person.mjs";
import { until } from "../tab.mjs";

export const story = {
  name: "a script joins a friend's room by what the link says, and the friend joins the script's",
  browsers: ["chromium", "firefox"],
  timeoutMs: 150_000,
  async run(stage) {
    const { person: anna } = await comesIn(stage, "Anna");
    await anna.createRoom("Garden party");
    const { room, via } = partsOf(await anna.link());
    await anna.closePanel();
    await anna.write("Before the script came");

    // No tab but one that hosts; all else is fetch on the origin, answered by the service worker.
    const tab = await (await stage.open("script")).tab("/");
    await tab.untilHost("leader");
    await tab.untilServiceWorker();
    const { user_id: script, access_token: token } = await register(tab, "script");
    const join = () => request(tab, "POST", `${CLIENT}/join/${encodeURIComponent(room)}?via=${encodeURIComponent(via)}`, { token, body: {} });
    await until(async () => (await join()).status === 200, "the script to join", PEER_WAIT_MAX_MS);

    await send(tab, token, room, "A script says hello");
    await anna.reads("Before the script came", "A script says hello");
    const { next_batch: since } = await ask(tab, "GET", `${CLIENT}/sync`, { token });
    const poll = ask(tab, "GET", `${CLIENT}/sync?since=${encodeURIComponent(since)}&timeout=30000&filter=${MESSAGES_ONLY}`, { token });
    await anna.write("Hello script");
    const { rooms } = await poll;
    assert.deepEqual(rooms.join[room].timeline.events.map(({ content }) => content.body), ["Hello script"]);
    assert.deepEqual(await earlier(tab, token, room), ["Before the script came", "A script says hello", "Hello script"]);

    const { room_id: own } = await ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: { preset: "private_chat", name: "Script's room", invite: [await anna.userId()] } });
    await anna.acceptInvitation("Script's room");
    await anna.write("Nice here");
    await until(async () => (await messagesIn(tab, token, own)).includes("Nice here"), "the script to hear Anna", PEER_WAIT_MAX_MS);
    const { joined } = await ask(tab, "GET", `${CLIENT}/rooms/${encodeURIComponent(own)}/joined_members`, { token });
    assert.equal(Object.keys(joined).length, 2);
    assert.ok(script in joined);
  },
};

const MESSAGES_ONLY = encodeURIComponent(JSON.stringify({
  presence: { types: [] },
  account_data: { types: [] },
  room: { timeline: { types: ["m.room.message"] }, ephemeral: { types: [] }, account_data: { types: [] } },
}));

/** What a client sees that scrolls back to the beginning. */
async function earlier(tab, token, room) {
  const { chunk } = await ask(tab, "GET", `${CLIENT}/rooms/${encodeURIComponent(room)}/messages?dir=b&limit=100`, { token });
  return chunk.filter(({ type }) => type === "m.room.message").map(({ content }) => content.body).reverse();
}
