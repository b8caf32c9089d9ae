// matrix-js-sdk as its makers publish it, in a page of its own on the origin: of Warren it uses the homeserver, and no more.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const FLOW = fileURLToPath(new URL("../../clients/js-sdk.mjs", import.meta.url));

export const story = {
  name: "matrix-js-sdk, unmodified, in a page of its own uses the homeserver of the tab beside it",
  browsers: ["chromium", "firefox"],
  ownSite: true,
  async run(stage) {
    const outfile = path.join(stage.site, "js-sdk.js");
    await build({ entryPoints: [FLOW], outfile, bundle: true, format: "esm", logLevel: "error" });
    writeFileSync(path.join(stage.site, "client.html"), "<!doctype html><title>A client</title>");

    const browser = await stage.open("ada");
    const host = await browser.tab("/");
    await host.untilHost("leader");
    await host.untilServiceWorker();
    const client = await browser.tab("/client.html");
    await client.untilServiceWorker();
    await client.evaluate(async (origin) => {
      const { talk } = await import("/js-sdk.js");
      await talk(origin);
    }, new URL(stage.relay.url).origin);
  },
};
