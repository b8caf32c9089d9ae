// A peer on js-libp2p as it is published, in a page or in Node, with the calls of our own.
import { circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { echo } from "@libp2p/echo";
import { identify } from "@libp2p/identify";
import { noise } from "@libp2p/noise";
import { peerIdFromString } from "@libp2p/peer-id";
import { ping } from "@libp2p/ping";
import { webRTC } from "@libp2p/webrtc";
import { webSockets } from "@libp2p/websockets";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { SINK } from "./measured.js";
import { bulk, openings, roundTrips, takeAll } from "./their-speed.js";

/** Longer than anything may take. */
const PATIENCE_MS = 20_000;
/** A dial that hangs is dialed once more: js-libp2p waits for an event that may have been before. */
const DIAL_MS = 5_000;
const DIALS_MAX = 3;

export async function startTheirs(relay) {
  const node = await createLibp2p({
    addresses: { listen: ["/webrtc", `${relay}/p2p-circuit`] },
    transports: [webSockets(), circuitRelayTransport(), webRTC({ rtcConfiguration: { iceServers: [] } })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // Otherwise pages may dial neither ws:// nor this machine.
    connectionGater: { denyDialMultiaddr: () => false },
    // It takes five connections a second from one relay; the others it closes.
    connectionManager: { inboundConnectionThreshold: Infinity },
    services: { identify: identify(), ping: ping(), echo: echo() },
  });
  const own = () => node.getMultiaddrs().map(String).find((address) => address.includes("/p2p-circuit/webrtc/"));
  await until(own, "a reservation");

  const connections = (id) => node.getConnections(peerIdFromString(id));
  const direct = (id) => connections(id).find((connection) => connection.multiplexer === "/webrtc");
  const untilDirect = (id) => until(() => direct(id), "a direct connection");
  /** Who it is, by peer id. */
  const told = new Map();
  node.addEventListener("peer:identify", ({ detail }) => {
    if (detail.connection.multiplexer === "/webrtc") told.set(detail.connection.id, [detail.agentVersion, ...detail.protocols]);
  });

  await node.handle(SINK, takeAll);

  return {
    id: node.peerId.toString(),
    address: own(),
    /** Resolves with how many dials it took. */
    dial: async (address) => {
      for (let dials = 1; ; dials += 1) {
        try {
          await node.dial(multiaddr(address), { signal: AbortSignal.timeout(DIAL_MS) });
          return dials;
        } catch (error) {
          if (dials === DIALS_MAX || error.name !== "TimeoutError") throw error;
        }
      }
    },
    identified: async (id) => {
      const { id: connection } = await untilDirect(id);
      return until(() => told.get(connection), "its identify");
    },
    ping: async (id) => {
      await untilDirect(id);
      return node.services.ping.ping(peerIdFromString(id), { signal: AbortSignal.timeout(PATIENCE_MS) });
    },
    echo: async (id, bytes) => {
      await untilDirect(id);
      const sent = Uint8Array.from({ length: bytes }, (_, at) => at % 251);
      const back = (await node.services.echo.echo(peerIdFromString(id), sent, { signal: AbortSignal.timeout(PATIENCE_MS) })).subarray();
      if (back.length !== bytes || back.some((byte, at) => byte !== sent[at])) throw new Error(`${back.length} bytes came back of ${bytes}, or others`);
    },
    roundTrips: async (id, ...rest) => roundTrips(await untilDirect(id), ...rest),
    openings: async (id, ...rest) => openings(await untilDirect(id), ...rest),
    bulk: async (id, ...rest) => bulk(await untilDirect(id), ...rest),
    paths: (id) => connections(id).map(({ remoteAddr }) => String(remoteAddr)),
    part: async (id) => {
      await node.hangUp(peerIdFromString(id));
      await until(() => connections(id).length === 0, "the end of all connections");
    },
  };
}

async function until(condition, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
