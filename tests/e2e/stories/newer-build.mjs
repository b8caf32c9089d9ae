// A newer build of the page, opened in a second tab, makes the older one hand over, follow, and reload when it is idle.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ask, CLIENT, register } from "../matrix.mjs";

const HANDED_OVER_WITHIN_MS = 3_000;

export const story = {
  name: "a newer build makes the older tab hand over, follow and reload when idle",
  browsers: ["chromium", "firefox"],
  ownSite: true,
  async run(stage) {
    const browser = await stage.open("anna");
    const old = await browser.tab("/");
    await old.untilHost("leader");
    await old.untilServiceWorker();
    const { access_token: token } = await register(old, "anna");

    publishNewerBuild(stage.site);
    const fresh = await browser.tab("/");
    const started = performance.now();
    await fresh.untilHost("leader");
    assert.ok(performance.now() - started < HANDED_OVER_WITHIN_MS);
    // Under the user's hands it stays; out of sight (as a tab in the background is in Firefox) it reloads.
    if (await old.evaluate(() => !document.hidden)) {
      await old.untilHost("follower");
      await ask(old, "GET", `${CLIENT}/account/whoami`, { token });
      assert.equal(await old.evaluate(isNewer), false);
      await old.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    await old.until(isNewer, undefined, "the newer page");
    await old.untilHost("follower");
    await ask(old, "GET", `${CLIENT}/account/whoami`, { token });
  },
};

const isNewer = () => [...document.scripts].some(({ src }) => src.includes("newer"));

/** The same page as if built a minute later: the app's script under another name, with a later time in it. */
function publishNewerBuild(site) {
  const assets = path.join(site, "assets");
  const script = readdirSync(assets).find((file) => /^app\.[0-9a-f]+\.js$/.test(file));
  const newer = script.replace("app.", "app.newer-");
  const { id, time } = JSON.parse(readFileSync(path.join(site, "build.json"), "utf8"));
  const replace = (file, ...changes) => {
    let text = readFileSync(file, "utf8");
    for (const [from, to] of changes) {
      assert.ok(text.includes(from), `${from} in ${file}`);
      text = text.replaceAll(from, to);
    }
    writeFileSync(file, text);
    for (const twin of [".br", ".gz"]) rmSync(file + twin, { force: true });
  };
  renameSync(path.join(assets, script), path.join(assets, newer));
  replace(path.join(assets, newer), [String(time), String(time + 60_000)]);
  replace(path.join(site, "index.html"), [script, newer]);
  replace(path.join(site, "service-worker.js"), [script, newer], [id, `${id}-newer`]);
}
