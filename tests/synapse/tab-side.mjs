// The homeserver of a tab in Chromium, which other homeservers find through the gateway of the page it came from. Tools of this
// machine are its clients (`--expose-tabs`).
import assert from "node:assert/strict";
import path from "node:path";
import { startBrowser } from "../e2e/browsers.mjs";
import { Relay } from "../e2e/relay.mjs";
import { until } from "../e2e/tab.mjs";
import { freePort, layCable } from "./cable.mjs";
import { Person } from "./person.mjs";

/** Where names of tabs are made; a proxy stands in for its DNS. */
export const ZONE = "tabs.test";

/** `warren serve` with a gateway behind a cable: `{ relay, zone, port, cable, end }`, of which `port` is the cable's. */
export async function startGateway({ program, site, certificates, directory, args = [] }) {
  const [port, exposedPort] = [await freePort(), await freePort()];
  const cable = await layCable(port);
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((file) => path.join(certificates, file));
  const gateway = ["--gateway-zone", ZONE, "--gateway-listen", `127.0.0.1:${port}`, "--gateway-port", `${cable.port}`];
  const tls = ["--tls-cert", cert, "--tls-key", key, "--ca", ca, "--allow-private-ips"];
  // The same port after a restart: what a tool of this machine was told stays true.
  const exposed = ["--expose-tabs", `127.0.0.1:${exposedPort}`];
  const relay = new Relay({ program, site, dataDir: path.join(directory, "serve"), log: "warren=debug,info", args: [...gateway, ...tls, ...exposed, ...args] });
  await relay.start();
  const end = async () => {
    await relay.stop();
    cable.end();
  };
  return { relay, port: cable.port, cable, end };
}

/**
 * A tab of `gateway`, in a browser of its own: a side like those of sides.mjs, whose cable is the gateway's. `close()` ends the
 * browser and `open()` begins it again, `reload()` only its page.
 */
export async function tabSide(gateway, directory, name = "a tab") {
  const { relay, cable } = gateway;
  const profileDir = path.join(directory, name.replaceAll(" ", "-"));
  const known = (await exposedTabs(relay)).map((tab) => tab.server_name);
  const said = [];
  const side = { name, cut: cable.cut, mend: cable.mend };
  side.open = async () => {
    side.browser = await startBrowser("chromium", { name, profileDir, origin: relay.url });
    side.page = await side.browser.tab("/");
    await side.ready();
  };
  /** Until the page has its homeserver and tools of this machine reach it. */
  side.ready = async () => {
    await side.page.untilHost("leader");
    const ours = ({ server_name: server }) => (side.serverName ? server === side.serverName : !known.includes(server));
    const exposed = await until(async () => (await exposedTabs(relay)).find(ours), `${name} to be exposed`);
    side.serverName = exposed.server_name;
    side.url = exposed.base_url;
  };
  side.reload = async () => {
    await side.page.reload();
    await side.ready();
  };
  side.close = async () => {
    if (!side.page) return;
    said.push(...side.page.console);
    side.page = undefined;
    await side.browser.driver.close();
  };
  side.register = (username) => Person.register(side.url, username);
  /** What the tab said. */
  side.log = () => [...said, ...(side.page?.console ?? [])].join("\n");
  side.end = side.close;
  await side.open();
  assert.match(side.serverName, new RegExp(`^k51[a-z0-9]{59}\\.${ZONE.replace(".", "\\.")}$`));
  return side;
}

async function exposedTabs(relay) {
  const { exposedTabs: url } = await (await fetch(`${new URL(relay.url).origin}/config.json`)).json();
  return (await (await fetch(url)).json()).tabs;
}
