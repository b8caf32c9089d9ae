// A peer on libp2p-webrtc-p2p, in a page or a worker.
/* global location */

globalThis.warrenPanicked = (message) => console.error(message);

/** @param {MessagePort} [broker] in a worker: the port of the page's broker */
export async function startOurs(relay, broker) {
  const wasm = await import(new URL("/pkg/warren_wasm_tests.js", location.href).href);
  await wasm.default();
  return wasm.InteropPeer.start(relay, broker);
}
