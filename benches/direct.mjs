// Direct connections, ours beside js-libp2p's and a raw RTCDataChannel's, all in the same browsers, in turns.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { CASE_MAX_MS, Stage, part, within } from "../tests/interop/stage.mjs";
import { figure, median } from "./summary.mjs";

/** Peers of the kinds of tests/interop/page.js, and what they are called; ours first where Warren runs it. */
const KINDS = { brokered: "ours, swarm in a worker", ours: "ours, all in the page", theirs: "js-libp2p", raw: "raw" };
const IS_OURS = new Set(["brokered", "ours"]);
const SIZES = {
  full: { runs: 5, dials: 6, roundTrips: { samples: 20, each: 10 }, openings: 30, bulkBytes: 16e6, browsers: ["chromium", "firefox"] },
  quick: { runs: 3, dials: 3, roundTrips: { samples: 10, each: 10 }, openings: 10, bulkBytes: 8e6, browsers: ["chromium"] },
};
const SMALL_BYTES = 200;
/** In bulk 1.11 times the time is nine tenths of the speed. */
const AIMS = { connected: { value: 80 }, roundTrip: { ratio: 1.3 }, opened: { value: 1.5 }, bulk: { ratio: 1.11 } };
const TRIES_MAX = 3;
/** A connection of js-libp2p that fails takes longer. */
const TURN_MAX_MS = 3 * CASE_MAX_MS;

/** `wasm` is the folder with the module of the wasm tests, built as what is shipped is. */
export async function benchDirect({ program, wasm, size }) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  const counts = SIZES[size];
  const stage = new Stage(directory);
  try {
    await within(CASE_MAX_MS, stage.begin({ program, wasm, kinds: counts.browsers }), "to start");
    const runs = [];
    for (let run = 0; run < counts.runs; run += 1) runs.push(...(await oneRun(stage, run, counts)));
    return { lines: counts.browsers.flatMap((browser) => linesOf(browser, runs, counts)), samples: runs };
  } catch (error) {
    throw new Error(`${error.message}\n${stage.said()}`, { cause: error });
  } finally {
    await stage.end();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Every kind has its turn, each time another one first. */
async function oneRun(stage, run, counts) {
  const kinds = Object.keys(KINDS);
  const results = [];
  for (let turn = 0; turn < kinds.length; turn += 1) {
    const kind = kinds[(run + turn) % kinds.length];
    const [ones, others] = [await stage.open("ours", kind), await stage.open("theirs", kind)];
    for (const [index, browser] of counts.browsers.entries()) {
      const measured = measure(kind, ones[index], others[index], counts);
      results.push({ run, kind, browser, ...(await within(TURN_MAX_MS, measured, `${KINDS[kind]} in ${browser}`)) });
    }
  }
  return results;
}

async function measure(kind, one, other, { dials, roundTrips, openings, bulkBytes }) {
  const connectedMs = [];
  let failed = 0;
  for (let dial = 1; dial <= dials; dial += 1) {
    const ms = await connected(kind, one, other);
    if (ms === undefined) failed += 1;
    else connectedMs.push(ms);
    if (dial < dials) await part(one, other);
  }
  const { result: roundTripMs } = await one.call("roundTrips", other.id, SMALL_BYTES, roundTrips.samples, roundTrips.each);
  const { result: opened } = await one.call("openings", other.id, openings);
  const [openedMs, answeredMs] = [0, 1].map((which) => opened.filter((_, at) => at % 2 === which));
  const results = { connectedMs, failed, roundTripMs, openedMs, answeredMs };
  results.bulkMs = (await one.call("bulk", other.id, bulkBytes, false)).result;
  if (IS_OURS.has(kind)) results.creditedBulkMs = (await one.call("bulk", other.id, bulkBytes, true)).result;
  await part(one, other);
  return results;
}

/**
 * Milliseconds from knowing the address, with no connection at all, to a direct one. Undefined if it took more than one try,
 * as it does now and then between two of js-libp2p, which waits for events that have been before; ours must not.
 */
async function connected(kind, one, other) {
  for (let tries = 1; ; tries += 1) {
    try {
      const { ms, result: dials } = await one.call("dial", other.address);
      // Then the circuit is of no more use, and closed.
      await Promise.all([one.call("identified", other.id), other.call("identified", one.id)]);
      return dials > 1 || tries > 1 ? undefined : ms;
    } catch (error) {
      if (IS_OURS.has(kind) || tries === TRIES_MAX) throw error;
      await part(one, other);
    }
  }
}

function linesOf(browser, runs, { bulkBytes }) {
  const of = (kind) => runs.filter((run) => run.browser === browser && run.kind === kind);
  /** A line a kind, each of one number a run; `pick` takes it from a run, and `limit` from one of the raw runs. */
  const lines = (name, kinds, pick, { limit = pick, aim, note = () => "" } = {}) => {
    const raw = { name: KINDS.raw, samples: numbers(of("raw"), limit) };
    return kinds.map((kind) => {
      const samples = numbers(of(kind), pick);
      const beside = { limit: kind === "raw" || !raw.samples.length ? undefined : raw, aim: IS_OURS.has(kind) ? aim : undefined, perRun: true };
      return figure(`${browser}: ${name}, ${KINDS[kind]}${note(of(kind), samples)}`, "ms", samples, beside);
    });
  };
  const all = Object.keys(KINDS);
  const libraries = all.filter((kind) => kind !== "raw");
  const failed = (runs) => {
    const count = runs.reduce((sum, run) => sum + run.failed, 0);
    return count ? ` (${count} that failed or hung left out)` : "";
  };
  const speed = (_, samples) => ` (${(bulkBytes / 1e3 / median(samples)).toFixed(1)} MB/s)`;
  const bulk = `${bulkBytes / 1e6} MB on one stream`;
  return [
    ...lines("peer known to connected", all, (run) => median(run.connectedMs), { aim: AIMS.connected, note: failed }),
    ...lines(`${SMALL_BYTES} bytes there and back`, all, (run) => median(run.roundTripMs), { aim: AIMS.roundTrip }),
    // A raw channel is open before the other side has been asked anything.
    ...lines("a stream opened", libraries, (run) => median(run.openedMs), { aim: AIMS.opened, limit: () => undefined }),
    ...lines("a stream opened, a byte there and back", all, (run) => median(run.answeredMs)),
    ...lines(bulk, all, (run) => run.bulkMs, { aim: AIMS.bulk, note: speed }),
    ...lines(`${bulk} with credit`, [...IS_OURS], (run) => run.creditedBulkMs, { limit: (run) => run.bulkMs, aim: AIMS.bulk, note: speed }),
  ];
}

/** Without those of runs that have none. */
function numbers(runs, pick) {
  return runs.map(pick).filter((number) => number !== undefined);
}
