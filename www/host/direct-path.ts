// What a browser tells of the path a peer connection takes: which pair of addresses was chosen, and how much went by it.
import type { DirectPath, PathEnd } from "../protocol/messages.ts";

/** What Firefox says instead of the address of a peer that was found on the way. */
const REDACTED = "(redacted)";

/** Of a connection to `peerId`. With `hideAddresses`, only what kind they are. Never rejects. */
export async function pathOf(peerId: string, peer: RTCPeerConnection, hideAddresses: boolean): Promise<DirectPath> {
  const state = peer.connectionState;
  // A connection that has just ended has nothing to tell.
  const stats = await peer.getStats().catch(() => undefined);
  const reports = stats ? [...stats.values()].map((report) => report as RTCStats) : [];
  const pair = chosenPair(reports);
  if (!pair) return { peerId, state };
  const candidate = (id: string) => reports.find((report) => report.id === id) as Candidate | undefined;
  const local = candidate(pair.localCandidateId);
  return {
    peerId,
    state,
    here: end(local, hideAddresses),
    there: end(candidate(pair.remoteCandidateId), hideAddresses),
    protocol: local?.protocol,
    roundTripMs: pair.currentRoundTripTime === undefined ? undefined : Math.round(pair.currentRoundTripTime * 1000),
    bytesSent: pair.bytesSent,
    bytesReceived: pair.bytesReceived,
  };
}

/** What both browsers tell of a candidate. The types of the DOM leave it out. */
interface Candidate extends RTCStats {
  candidateType: string;
  protocol?: string;
  address?: string | null;
  port?: number;
}

/** Chromium names it in the transport's report, Firefox marks the pair itself. */
function chosenPair(reports: RTCStats[]): RTCIceCandidatePairStats | undefined {
  const transport = reports.find((report): report is RTCTransportStats => report.type === "transport");
  const chosen = transport?.selectedCandidatePairId;
  const pairs = reports.filter((report): report is RTCIceCandidatePairStats => report.type === "candidate-pair");
  return pairs.find((pair) => (chosen === undefined ? (pair as { selected?: boolean }).selected : pair.id === chosen));
}

function end(candidate: Candidate | undefined, hideAddress: boolean): PathEnd | undefined {
  if (!candidate) return undefined;
  const { candidateType: kind, address, port } = candidate;
  if (hideAddress || !address || address === REDACTED) return { kind };
  const host = address.includes(":") ? `[${address}]` : address;
  return { kind, address: port === undefined ? host : `${host}:${port}` };
}
