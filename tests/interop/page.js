// The page of the interop tests: one peer of any kind, driven through `start` and `call`.
/* global window, Worker, MessageChannel */
import { RtcBroker } from "../../www/host/rtc-broker.ts";
import { startOurs } from "./ours.js";
import { startTheirs } from "./theirs.js";
import { measured } from "./measured.js";

/** What `start` can be asked for. */
const KINDS = {
  ours: (relay) => startOurs(relay),
  /** The swarm in a worker, which has the page make its peer connections. */
  brokered: startBrokered,
  theirs: startTheirs,
};

let peer;

/** Resolves with where the peer can be dialed and who it is. */
window.start = async (kind, relay) => {
  peer = await KINDS[kind](relay);
  return { id: await peer.id, address: await peer.address };
};

/** Resolves with `{ ms, result }`, or with `{ error }`. */
window.call = (name, ...args) => measured(() => peer[name](...args));

async function startBrokered(relay) {
  const worker = new Worker("/worker.js", { type: "module" });
  const { port1, port2 } = new MessageChannel();
  new RtcBroker(port1);
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, error, result } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  const ask = (name, args, transfer = []) =>
    new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      worker.postMessage({ id: last, name, args }, transfer);
    });
  const started = await ask("start", [relay, port2], [port2]);
  const names = ["dial", "identified", "ping", "echo", "paths", "part", "roundTrips", "openings", "bulk"];
  return { ...started, ...Object.fromEntries(names.map((name) => [name, (...args) => ask(name, args)])) };
}
