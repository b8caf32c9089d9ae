// The core, natively on the memory store: benches/core/ measures, this sets figures beside their limits.
import { ROOT } from "../scripts/places.mjs";
import { figure, median } from "./summary.mjs";

const ROUNDS = { full: 30, quick: 6 };
const ROOMS = 10;
const EVENTS_PER_ROOM = { full: 1_000, quick: 100 };
const LARGE_ROOM = { full: { members: 10_000, events: 100_000 }, quick: { members: 1_000, events: 5_000 } };

/** Runs the program that `cargo` says it built. */
export async function benchCore(run, size) {
  const program = await build(run);
  const measure = async (...args) => JSON.parse((await run(program, args.map(String))).output.trim().split("\n").at(-1));
  const speed = await measure("speed", ROUNDS[size]);
  const memory = await measure("memory", ROOMS, EVENTS_PER_ROOM[size]);
  const large = await measure("large", LARGE_ROOM[size].members, LARGE_ROOM[size].events);
  const lines = [...speedLines(speed), ...memoryLines(memory, EVENTS_PER_ROOM[size]), ...largeLines(large, speed, LARGE_ROOM[size])];
  return { lines, samples: { speed, memory, large } };
}

/** With the same profile as the native program, so that both share what was compiled. */
async function build(run) {
  const { output } = await run("cargo", ["build", "--profile", "native", "--locked", "-p", "warren", "--bench", "core", "--message-format", "json"], { cwd: ROOT });
  const artifacts = output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return artifacts.find(({ reason, target, executable }) => reason === "compiler-artifact" && target.name === "core" && executable).executable;
}

function speedLines(samples) {
  const sign = { name: "ed25519 signature", samples: samples.raw_sign_us };
  const verify = { name: "ed25519 verification", samples: samples.raw_verify_us };
  const pdu = { name: "the PDU itself", samples: samples.pdu_bytes };
  const send = figure(`send an event (${perSecond(samples.send_us)})`, "µs", samples.send_us, { limit: sign });
  return [
    send,
    figure("send to own /sync", "µs", samples.send_to_sync_us, { limit: { name: "send", samples: samples.send_us } }),
    figure(`ingest a remote event (${perSecond(samples.ingest_us)})`, "µs", samples.ingest_us, { limit: verify }),
    figure("store reads to send (a round trip each in a tab)", "reads", samples.send_store_reads),
    figure("store reads to send to own /sync", "reads", samples.send_to_sync_store_reads),
    figure("store reads to ingest a remote event, of 50", "reads", samples.ingest_store_reads),
    figure("stored per event sent", "bytes", samples.stored_per_sent_event_bytes, { limit: pdu }),
    figure("stored per event received", "bytes", samples.stored_per_received_event_bytes, { limit: pdu }),
  ];
}

function memoryLines({ rss_empty_bytes: empty, rss_full_bytes: full, stored_bytes: stored }, events) {
  // Resident memory is known on Linux only.
  if (!full) return [];
  const limit = { name: "of it, bytes in the memory store", samples: stored };
  return [
    figure("resident memory, no rooms", "bytes", empty),
    figure(`resident memory, ${ROOMS} rooms of ${events.toLocaleString("en")} events`, "bytes", full, { limit }),
  ];
}

function largeLines(samples, speed, { members, events }) {
  const room = `a room of ${members.toLocaleString("en")} members`;
  const verify = { name: "ed25519 verification", samples: speed.raw_verify_us };
  const join = figure(`join ${room} and ${events.toLocaleString("en")} events, both servers`, "ms", samples.large_join_ms);
  const memory = samples.large_join_rss_bytes && figure("resident memory that took", "bytes", samples.large_join_rss_bytes, {
    limit: { name: "of it, bytes in the memory store", samples: samples.large_join_stored_bytes },
  });
  return [
    figure(`ingest joins into ${room} (${perSecond(samples.large_ingest_join_us)})`, "µs", samples.large_ingest_join_us, { limit: verify }),
    figure(`ingest messages there (${perSecond(samples.large_ingest_message_us)})`, "µs", samples.large_ingest_message_us, { limit: verify }),
    figure(`stored per event over ${events.toLocaleString("en")}`, "bytes", samples.large_stored_per_event_bytes),
    join,
    ...(memory ? [memory] : []),
    figure(`resolve 10 branches of ${room}`, "ms", samples.large_resolve_ms),
  ];
}

function perSecond(us) {
  return `${Math.round(1e6 / median(us)).toLocaleString("en")}/s`;
}
