// Why somebody is or is not connected, in plain words, with the facts behind it; and a report of that to pass on.

import type { HostStatus, HostView } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { shortMoment } from "./time-words.ts";

type Peer = HostStatus["peers"][number];
type Causes = Readonly<Record<string, string>>;

export function connectedPeers(status: HostStatus): Peer[] {
  return status.peers.filter(({ state }) => state === "connected");
}

/** "directly, 12 ms", "connecting", "not connected, last seen 12:30": how it is. */
export function peerState(peer: Peer, nowMs: number): string {
  const words = strings.peers;
  if (peer.state === "connecting") return words.connecting;
  if (peer.state === "connected" && peer.path) {
    const path = strings.status.paths[peer.path];
    return peer.roundTripMs === undefined ? path : words.withRoundTrip(path, peer.roundTripMs);
  }
  return peer.seenMs === undefined ? words.away : words.awaySince(shortMoment(peer.seenMs, nowMs));
}

/** Why it is no better; undefined where nothing is wrong or nothing is known. */
export function peerReason(peer: Peer): string | undefined {
  const words = strings.peers;
  if (peer.state === "away" && peer.unreached) {
    return (words.unreached as Causes)[peer.unreached.cause] ?? words.unreachedOtherwise(peer.unreached.detail);
  }
  if (peer.path === "relay" && peer.direct?.failure) {
    const { cause, detail } = peer.direct.failure;
    return words.notDirect((words.noPath as Causes)[cause] ?? detail);
  }
  return undefined;
}

/** What was offered when a direct path was tried last. */
export function peerFacts(peer: Peer): string | undefined {
  const { direct } = peer;
  if (!direct) return undefined;
  return strings.peers.offered(kindsOf(direct.ours), kindsOf(direct.theirs));
}

function kindsOf(kinds: Readonly<Record<string, number>>): string {
  const words = strings.peers;
  const named = Object.entries(kinds).map(([kind, n]) => `${n} ${(words.kinds as Causes)[kind] ?? kind}`);
  return named.length === 0 ? words.none : named.join(", ");
}

/** Everything the host knows of its connections, as JSON. Holds no messages, and no names but those of servers. */
export function connectionReport(view: HostView, nowMs: number, userAgent: string): string {
  const { homeserver, ...page } = view;
  return JSON.stringify({ time: new Date(nowMs).toISOString(), userAgent, page, homeserver }, undefined, 2);
}
