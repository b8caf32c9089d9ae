// Browsers that give the page less: storage blocked, private windows, plain http without Web Locks and service worker.
import assert from "node:assert/strict";
import { ask, CLIENT } from "../matrix.mjs";

const BLOCKED = {
  chromiumPreferences: { profile: { default_content_setting_values: { cookies: 2 } } },
  firefoxPrefs: { "network.cookie.cookieBehavior": 2 },
};

/** A name for this machine that a browser does not take for itself, as a machine's on a LAN. */
const LAN_NAME = "warren.lan.example";

const isSecure = () => [isSecureContext, Boolean(navigator.serviceWorker), Boolean(navigator.locks)];

export const stories = [
  {
    name: "storage is blocked: the homeserver runs in memory and the page says so",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const browser = await stage.open("anna", BLOCKED);
      const tab = await browser.tab("/");
      await tab.untilHost("leader");
      await tab.seeText("loses everything");
    },
  },
  {
    name: "a private window hosts like any other",
    browsers: ["firefox"],
    async run(stage) {
      const browser = await stage.open("anna", { firefoxPrefs: { "browser.privatebrowsing.autostart": true } });
      const tab = await browser.tab("/");
      await tab.untilHost("leader");
      const second = await browser.tab("/");
      await second.untilHost("follower");
    },
  },
  {
    name: "plain http on a LAN: one tab hosts, later tabs reach it and take over",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const { port } = new URL(stage.relay.url);
      const browser = await stage.open("anna", {
        chromiumArgs: [`--host-resolver-rules=MAP ${LAN_NAME} 127.0.0.1`],
        firefoxPrefs: { "network.dns.localDomains": LAN_NAME, "dom.security.https_first": false },
      });
      const [first, second, third] = [await browser.tab(), await browser.tab(), await browser.tab()];
      const url = `http://${LAN_NAME}:${port}/`;
      await first.goto(url);
      assert.deepEqual(await first.evaluate(isSecure), [false, false, false]);
      await first.untilHost("leader");
      await second.goto(url);
      await third.goto(url);
      await second.untilHost("follower");
      await third.untilHost("follower");
      await first.close();
      await Promise.any([second.untilHost("leader", 3_000), third.untilHost("leader", 3_000)]);
      await Promise.any([second.untilHost("follower"), third.untilHost("follower")]);
    },
  },
  {
    name: "once loaded, the page opens and the homeserver answers with the server away",
    browsers: ["chromium", "firefox"],
    async run(stage) {
      const browser = await stage.open("anna");
      const tab = await browser.tab("/");
      await tab.untilHost("leader");
      await tab.untilServiceWorker();
      await tab.until(async () => (await caches.match("/"))?.ok, undefined, "the page to be kept");
      await stage.relay.stop();
      await tab.reload();
      await tab.untilHost("leader");
      await ask(tab, "GET", "/_matrix/client/versions");
      const another = await browser.tab("/");
      await another.untilHost("follower");
      assert.ok((await ask(another, "GET", `${CLIENT}/login`)).flows.length > 0);
    },
  },
];
