// A tool that is no page, such as a bot, talks to the homeserver in a tab through a port of this machine.
import assert from "node:assert/strict";
import { until } from "../tab.mjs";

export const story = {
  name: "a tool outside the browser uses the homeserver of a tab",
  browsers: ["chromium", "firefox"],
  relayArgs: ["--expose-tabs", "127.0.0.1:0"],
  async run(stage) {
    const { exposedTabs: url } = await (await fetch(`${stage.relay.url}/config.json`)).json();
    const early = await tool(url)("GET", "/_matrix/client/versions");
    assert.deepEqual([early.status, early.body.errcode], [503, "M_UNKNOWN"]);

    const browser = await stage.open("anna");
    const tab = await browser.tab("/");
    await tab.untilHost("leader");
    const anna = await exposed(url, 1);
    const bot = tool(url);
    const registered = await bot("POST", "/_matrix/client/v3/register", { username: "bot", auth: { type: "m.login.dummy" } });
    assert.equal(registered.status, 200);
    assert.equal(registered.cors, "*");
    assert.equal(registered.body.user_id, `@bot:${anna[0].server_name}`);
    const asBot = tool(anna[0].base_url, registered.body.access_token);
    const { body: { room_id: room } } = await asBot("POST", "/_matrix/client/v3/createRoom", {});
    const { body: { next_batch: since } } = await asBot("GET", "/_matrix/client/v3/sync");
    const poll = asBot("GET", `/_matrix/client/v3/sync?timeout=60000&since=${encodeURIComponent(since)}`);
    await asBot("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/1`, { msgtype: "m.text", body: "beep" });
    const { body: news } = await poll;
    assert.equal(news.rooms.join[room].timeline.events.at(-1).content.body, "beep");

    // Another profile is another homeserver, under its own path; without one the question has no answer any more.
    await (await browser.tab("/?profile=other")).untilHost("leader");
    const both = await exposed(url, 2);
    for (const { base_url: base, server_name: name } of both) {
      const { body } = await tool(base)("GET", "/_matrix/client/v3/register/available?username=bot");
      assert.equal(body.available ?? body.errcode, name === anna[0].server_name ? "M_USER_IN_USE" : true);
    }
    assert.equal((await bot("GET", "/_matrix/client/versions")).status, 404);

    // A reload is a new tab under the same name.
    await tab.reload();
    await tab.untilHost("leader");
    await until(async () => (await asBot("GET", "/_matrix/client/v3/account/whoami")).status === 200, "the tab to answer again");
  },
};

/** What is listed once there are `count` tabs. */
function exposed(url, count) {
  return until(async () => {
    const { tabs } = await (await fetch(url)).json();
    return tabs.length === count && tabs;
  }, `${count} exposed tabs`);
}

function tool(url, token) {
  return async (method, path, body) => {
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) };
    const response = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
    return { status: response.status, cors: response.headers.get("access-control-allow-origin"), body: await response.json() };
  };
}
