// The homeserver of a tab in Chromium and a Synapse go through the scenarios, through the gateway, with the room on either side.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startProxy } from "./connect-proxy.mjs";
import { runScenarios, tried } from "./run.mjs";
import { makeCertificates, synapseSide } from "./sides.mjs";
import { TAB_SCENARIOS } from "./tab-scenarios.mjs";
import { startGateway, tabSide, ZONE } from "./tab-side.mjs";

/**
 * As `runBesideSynapse`, and then what befalls tabs alone. What all said is left in `evidence`.
 * @param {(line: string) => void} report
 */
export async function runThroughGateway({ program, site, python, evidence, whole, words = [], report, keep = false }) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-gateway-"));
  const [ends, tabs] = [[], []];
  let gateway;
  try {
    makeCertificates(python, directory);
    gateway = await startGateway({ program, site, certificates: directory, directory });
    ends.push(() => gateway.end());
    const another = async (name) => {
      const tab = await tabSide(gateway, directory, name);
      tabs.push(tab);
      ends.push(() => tab.end());
      return tab;
    };
    const tab = await another("a tab");
    const proxy = await startProxy(ZONE, () => gateway.port);
    ends.push(() => proxy.end());
    // It waits as long as Synapse does unless told otherwise.
    const settings = { environment: { https_proxy: proxy.url }, retry: { first: "10m", longest: "1w" } };
    const synapse = await synapseSide(python, directory, directory, "synapse", settings);
    ends.push(() => synapse.end());
    const counted = await runScenarios([tab, synapse], { whole, words, report });
    for (const [name, run] of Object.entries(TAB_SCENARIOS)) {
      if (words.every((word) => name.includes(word))) await tried(counted, name, report, () => run({ tab, synapse, gateway, certificates: directory, another }));
    }
    return counted;
  } finally {
    mkdirSync(evidence, { recursive: true });
    if (gateway) writeFileSync(path.join(evidence, "relay.log"), gateway.relay.log);
    for (const tab of tabs) writeFileSync(path.join(evidence, `${tab.name.replaceAll(" ", "-")}.log`), tab.log());
    for (const end of ends.toReversed()) await end();
    if (keep) report(`kept: ${directory}`);
    else rmSync(directory, { recursive: true, force: true });
  }
}
