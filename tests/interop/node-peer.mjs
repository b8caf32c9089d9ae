// A peer on js-libp2p in a Node process of its own, driven by run.mjs by messages.
import { WebSocket } from "ws";
import { measured } from "./measured.js";

// What Node 20 lacks; the packages are written for later ones.
globalThis.WebSocket ??= WebSocket;
Promise.withResolvers ??= () => {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

let peer;

process.on("message", async ({ id, name, args }) => {
  const answer = await measured(async () => {
    if (name !== "start") return peer[name](...args);
    const { startTheirs } = await import("./theirs.js");
    peer = await startTheirs(...args);
    return { id: peer.id, address: peer.address };
  });
  process.send({ id, ...answer });
});
process.on("disconnect", () => process.exit());
