// The page of a raw peer, driven as `page.js` is.
/* global window */
import { measured } from "./measured.js";
import { startRaw } from "./raw.js";

let peer;

window.start = async () => {
  peer = await startRaw();
  return { id: peer.id, address: peer.address };
};

window.call = (name, ...args) => measured(() => peer[name](...args));
