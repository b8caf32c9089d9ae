// Unmodified js-libp2p in a page, as its own documentation sets it up.
/* global window */
import { circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { echo } from "@libp2p/echo";
import { identify } from "@libp2p/identify";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { webRTC } from "@libp2p/webrtc";
import { webSockets } from "@libp2p/websockets";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";

const ECHOED_BYTES = 1024 * 1024;
const WAIT_MS = 10_000;

let node;

const direct = () => node.getConnections().filter(({ remoteAddr }) => remoteAddr.toString().includes("/webrtc/"));

async function until(condition, what) {
  const deadline = performance.now() + WAIT_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`js-libp2p waits for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

window.js = {
  /** With a reservation at `relay`; resolves with its id and the address to dial it at. */
  async start(relay) {
    node = await createLibp2p({
      addresses: { listen: ["/webrtc", `${relay}/p2p-circuit`] },
      transports: [webSockets(), webRTC({ rtcConfiguration: { iceServers: [] } }), circuitRelayTransport()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      // Otherwise a page may not dial ws:// or loopback.
      connectionGater: { denyDialMultiaddr: () => false },
      // By default five a second, and the sixth dial fails.
      connectionManager: { inboundConnectionThreshold: Infinity },
      services: { identify: identify(), ping: ping(), echo: echo() },
    });
    const address = () => node.getMultiaddrs().find((known) => known.toString().includes("/p2p-circuit/webrtc/"));
    await until(address, "an address");
    return { id: node.peerId.toString(), address: address().toString() };
  },

  dial: async (address) => void (await node.dial(multiaddr(address))),

  async onlyDirect() {
    await until(() => direct().length === 1 && node.getConnections().length === 2, "one direct connection, and the relay's");
  },

  /** A megabyte to the peer's echo and back; how it is answered is checked. */
  async echo(id) {
    const [connection] = direct();
    const sent = Uint8Array.from({ length: ECHOED_BYTES }, (_, n) => n % 251);
    const received = (await node.services.echo.echo(connection.remotePeer, sent)).subarray();
    if (received.length !== sent.length || received.some((byte, n) => byte !== sent[n])) throw new Error(`${received.length} bytes came back from ${id}`);
  },

  async ping() {
    const [connection] = direct();
    return node.services.ping.ping(connection.remotePeer);
  },

  async agent() {
    const [connection] = direct();
    return (await node.peerStore.get(connection.remotePeer)).metadata.get("AgentVersion")?.reduce((text, code) => text + String.fromCharCode(code), "");
  },

  /** It does not notice by itself for many seconds that the other side has closed a peer connection. */
  async part() {
    await Promise.all(direct().map((connection) => connection.close()));
    await until(() => node.getConnections().length === 1, "the end of what there was");
  },
};
