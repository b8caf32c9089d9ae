// Any Matrix client on the origin can be used: a script that only knows the origin registers, creates, joins and syncs.
import assert from "node:assert/strict";
import { ask, CLIENT, messagesIn, register, request, send } from "../matrix.mjs";

export const story = {
  name: "a script that only knows the origin registers, creates, joins and syncs",
  browsers: ["chromium", "firefox"],
  async run(stage) {
    const browser = await stage.open("anna");
    const tab = await browser.tab("/");
    await tab.untilHost("leader");
    await tab.untilServiceWorker();

    const { "m.homeserver": homeserver } = await ask(tab, "GET", "/.well-known/matrix/client");
    assert.equal(homeserver.base_url, new URL(stage.relay.url).origin);
    const { versions } = await ask(tab, "GET", "/_matrix/client/versions");
    assert.ok(versions.includes("v1.11"));

    const { access_token: token } = await register(tab, "script");
    const { room_id: room } = await ask(tab, "POST", `${CLIENT}/createRoom`, { token, body: { preset: "public_chat" } });
    await send(tab, token, room, "from a script");
    const { access_token: second } = await register(tab, "another");
    await ask(tab, "POST", `${CLIENT}/join/${encodeURIComponent(room)}`, { token: second, body: {} });
    assert.deepEqual(await messagesIn(tab, second, room), ["from a script"]);

    // A long poll through the service worker answers when there is news, not when its time is over.
    const { next_batch: since } = await ask(tab, "GET", `${CLIENT}/sync`, { token: second });
    const poll = request(tab, "GET", `${CLIENT}/sync?since=${encodeURIComponent(since)}&timeout=60000`, { token: second });
    await send(tab, token, room, "news");
    const { body } = await poll;
    assert.equal(body.rooms.join[room].timeline.events.at(-1).content.body, "news");

    // Other profiles live beside it, each under its own path, and not without a tab of theirs.
    const unhosted = await request(tab, "GET", "/p/other/_matrix/client/versions");
    assert.equal(unhosted.status, 503);
    assert.equal(unhosted.body.errcode, "M_UNKNOWN");
    const other = await browser.tab("/?profile=other");
    await other.untilHost("leader");
    await ask(tab, "GET", "/p/other/_matrix/client/versions");
    const stranger = await request(tab, "GET", `/p/other${CLIENT}/account/whoami`, { token });
    assert.equal(stranger.status, 401);
    const unknown = await request(tab, "GET", "/_matrix/client/v3/no/such/endpoint");
    assert.deepEqual([unknown.status, unknown.body.errcode], [404, "M_UNRECOGNIZED"]);
  },
};
