// A peer on libp2p-webrtc-p2p in a worker, for the page that started it.
/* global postMessage */
import { startOurs } from "./ours.js";

let peer;

globalThis.onmessage = async ({ data: { id, name, args } }) => {
  try {
    if (name === "start") {
      peer = await startOurs(...args);
      postMessage({ id, result: { id: peer.id, address: peer.address } });
    } else postMessage({ id, result: await peer[name](...args) });
  } catch (error) {
    postMessage({ id, error: error?.stack ?? String(error) });
  }
};
