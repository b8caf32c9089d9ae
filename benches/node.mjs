// A whole `warren node` over HTTP, on a disk: what bots and scripts get.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Client } from "./node/client.mjs";
import { WARREN } from "../scripts/places.mjs";
import { startNode } from "../tests/warren-node.mjs";
import { figure, median, timed } from "./summary.mjs";

const SENDS = { full: 5_000, quick: 500 };
const SYNCS = { full: 500, quick: 50 };
/** Clients that send at the same time, each on a connection of its own. */
const CLIENTS = 8;
/** Not counted: caches fill, the clock speed settles. */
const WARM_UP = 200;
/** Starts of each kind, in turns. */
const STARTS = { full: 20, quick: 5 };
const TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.";

/** In a directory of the temporary files, which should be on a real disk. */
export async function benchNode(size) {
  const directory = mkdtempSync(path.join(os.tmpdir(), "warren-bench-"));
  try {
    return await measure(directory, size);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(directory, size) {
  const first = await startNode(directory, { program: WARREN });
  const idle = first.residentBytes();
  const { token, room } = await prepare(first.url);
  const client = await Client.connect(first.url, token);
  let number = 0;
  const send = (by) => by.request("PUT", `/_matrix/client/v3/rooms/${room}/send/m.room.message/m${number++}`, { msgtype: "m.text", body: TEXT });
  for (let n = 0; n < WARM_UP; n++) await send(client);

  const samples = { send: [], http: [], together: [], sync: [] };
  for (let n = 0; n < SENDS[size]; n++) {
    samples.http.push(await timed(() => client.request("GET", "/_matrix/client/versions")));
    samples.send.push(await timed(() => send(client)));
  }
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => Client.connect(first.url, token)));
  for (let n = 0; n < SENDS[size] / CLIENTS; n += 10) {
    const tenEach = (by) => Array.from({ length: 10 }).reduce((before) => before.then(() => send(by)), Promise.resolve());
    samples.together.push((await timed(() => Promise.all(clients.map(tenEach)))) / (10 * CLIENTS));
  }
  for (let n = 0; n < SYNCS[size]; n++) samples.sync.push(await sendToSync(client, clients[0], send));
  const used = first.residentBytes();
  const sent = number;
  [client, ...clients].forEach((one) => one.close());
  await first.end("SIGKILL");
  const killed = await startUntilReady(directory);
  const starts = { bare: [], ready: [] };
  for (let n = 0; n < STARTS[size]; n++) {
    starts.bare.push(await bareStart());
    starts.ready.push(await startUntilReady(directory));
  }

  const http = { name: "GET /versions, same connection", samples: samples.http };
  const lines = [
    figure(`send, one after the other (${perSecond(samples.send)})`, "µs", samples.send, { limit: http }),
    figure(`send, ${CLIENTS} at a time (${perSecond(samples.together)})`, "µs", samples.together, { limit: http }),
    figure("send to own /sync", "µs", samples.sync, { limit: { name: "send", samples: samples.send } }),
    figure("start until ready, nothing there", "ms", [first.startMs]),
    figure(`start until ready, killed after ${sent.toLocaleString("en")} events`, "ms", [killed]),
    figure(`start until ready, ${sent.toLocaleString("en")} events there`, "ms", starts.ready, { limit: { name: "warren --version", samples: starts.bare } }),
  ];
  if (idle) lines.push(figure("resident memory, idle", "bytes", [idle]), figure(`resident memory after ${sent.toLocaleString("en")} events`, "bytes", [used]));
  return { lines, samples: { ...samples, startMs: [first.startMs, killed, ...starts.ready], bareStartMs: starts.bare, residentBytes: [idle, used] } };
}

/** In ms, with a clean stop afterwards. */
async function startUntilReady(directory) {
  const node = await startNode(directory, { program: WARREN });
  await node.end("SIGTERM");
  return node.startMs;
}

/** The same program doing nothing: what the system takes to start and end a process of its size, in ms. */
async function bareStart() {
  return (await timed(() => once(spawn(WARREN, ["--version"], { stdio: "ignore" }), "exit"))) / 1000;
}

async function prepare(url) {
  const anyone = await Client.connect(url);
  const { access_token: token } = await anyone.request("POST", "/_matrix/client/v3/register", { username: "ada", auth: { type: "m.login.dummy" } });
  anyone.close();
  const ada = await Client.connect(url, token);
  const { room_id: room } = await ada.request("POST", "/_matrix/client/v3/createRoom", { preset: "public_chat" });
  ada.close();
  return { token, room };
}

/** From sending to the answer of a `/sync` that waits for it on another connection. */
async function sendToSync(sender, syncer, send) {
  const { next_batch: since } = await syncer.request("GET", "/_matrix/client/v3/sync?timeout=0");
  const waiting = syncer.request("GET", `/_matrix/client/v3/sync?timeout=30000&since=${since}`);
  // An answered request in between: the other one is being waited on by then.
  await sender.request("GET", "/_matrix/client/versions");
  const started = performance.now();
  const sent = send(sender);
  const news = await waiting;
  const took = (performance.now() - started) * 1000;
  const { event_id: id } = await sent;
  const told = Object.values(news.rooms.join)[0].timeline.events.map((event) => event.event_id);
  if (!told.includes(id)) throw new Error("the sync was answered without the message");
  return took;
}

function perSecond(us) {
  return `${Math.round(1e6 / median(us)).toLocaleString("en")}/s`;
}
