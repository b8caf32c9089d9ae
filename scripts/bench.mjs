// `npm run bench`: how fast and how large Warren is, as a table, and as JSON in bench-results/.
// `npm run bench -- --quick` takes fewer samples; `core`, `node`, `synapse`, `federation`, `storm`, `simulation`, `size`,
// `direct` or `browser` run that part only.
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { installBrowsers } from "./browsers.mjs";
import { build } from "./build.mjs";
import { installTheirs } from "./interop.mjs";
import { MEASURED_WASM, ROOT, WARREN } from "./places.mjs";
import { installPython } from "./python.mjs";
import { answerOf, setUp } from "./setup.mjs";
import { Explained, step, task } from "./step.mjs";
import { buildMeasuredWasm } from "./wasm.mjs";

/** Synapse, as PyPI has it. */
const SYNAPSE = path.join(ROOT, "benches", "node", "requirements.txt");
const RESULTS = path.join(ROOT, "bench-results");
/** What each part is called on the command line, and above its table. */
const TITLES = {
  core: "Core, native, in memory",
  node: "warren node, over HTTP, on a disk",
  synapse: "warren node beside Synapse (SQLite, no rate limits), one client script for both",
  federation: "Two warren nodes beside two Synapses, by HTTPS",
  simulation: "Simulated network, virtual time",
  storm: "Fifty warren nodes and one link, by libp2p through a relay",
  size: "Size",
  direct: "Direct connections",
  browser: "Chromium, the real page and relay",
};

await task(async () => {
  const { size, parts } = parseArguments(process.argv.slice(2));
  const needsBuild = parts.some((part) => !["core", "simulation"].includes(part));
  const tools = await setUp();
  if (needsBuild) await build();
  if (parts.includes("browser") || parts.includes("direct")) await installBrowsers();
  if (parts.includes("direct")) {
    await installTheirs();
    await buildMeasuredWasm(tools);
  }
  const beside = parts.includes("synapse") || parts.includes("federation");
  const python = beside && (await installPython("synapse", SYNAPSE));
  // Imported late: they need packages.
  const { benchCore } = await import("../benches/core.mjs");
  const { benchNode } = await import("../benches/node.mjs");
  const { benchDirect } = await import("../benches/direct.mjs");
  const { benchSynapse } = await import("../benches/synapse.mjs");
  const { benchFederation } = await import("../benches/federation.mjs");
  const { benchSimulation } = await import("../benches/simulation.mjs");
  const { benchStorm } = await import("../benches/storm.mjs");
  const { benchSize } = await import("../benches/size.mjs");
  const { benchBrowser } = await import("../benches/browser.mjs");
  const { table } = await import("../benches/table.mjs");
  const measure = {
    core: (run) => benchCore(run, size),
    node: () => benchNode(size),
    synapse: () => benchSynapse(python, size),
    federation: () => benchFederation(python, size),
    simulation: (run) => benchSimulation(run),
    storm: () => benchStorm(size),
    size: () => benchSize(),
    direct: () => benchDirect({ program: WARREN, wasm: MEASURED_WASM, size }),
    browser: () => benchBrowser(size),
  };

  const results = {};
  for (const part of parts) results[part] = await step(`Measuring: ${part}`, measure[part]);
  const machine = describeMachine();
  console.log(`\n${machine.cpus} × ${machine.cpu}, ${machine.system}, commit ${machine.commit}${size === "quick" ? ", quick" : ""}`);
  for (const part of parts) console.log(`\n${table(TITLES[part], results[part].lines)}`);
  console.log(`\nAll samples: ${path.relative(ROOT, write({ size, machine, ...results }))}`);
});

function parseArguments(words) {
  const known = Object.keys(TITLES);
  const unknown = words.find((word) => word !== "--quick" && !known.includes(word));
  if (unknown) throw new Explained(`There is no "${unknown}" to measure: only ${known.join(", ")}, and --quick for fewer samples.`);
  const parts = known.filter((part) => words.includes(part));
  return { size: words.includes("--quick") ? "quick" : "full", parts: parts.length ? parts : known };
}

function describeMachine() {
  const [{ model }] = os.cpus();
  return {
    cpu: model,
    cpus: os.cpus().length,
    memoryBytes: os.totalmem(),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    rustc: answerOf("rustc", "--version"),
    commit: answerOf("git", "-C", ROOT, "describe", "--always", "--dirty") ?? "unknown",
    load: os.loadavg(),
    date: new Date().toISOString(),
  };
}

function write(result) {
  mkdirSync(RESULTS, { recursive: true });
  const file = path.join(RESULTS, `${result.machine.date.replaceAll(":", "-").slice(0, 19)}.json`);
  writeFileSync(file, JSON.stringify(result, null, 1));
  return file;
}
