// Why somebody is or is not connected, in plain words, with the facts behind it; and a report of that to pass on.

import type { DirectPath, HostStatus, HostView, PathEnd } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { shortMoment } from "./time-words.ts";

type Peer = HostStatus["peers"][number];
const MDNS = ".local:";
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

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

/** Of the direct connections; "unknown" if the tab that makes them does not say, undefined while it is asked. */
export type KnownPaths = DirectPath[] | "unknown" | undefined;

/** The facts behind it: of a direct path which addresses it joins and what went by it, of a relayed one what was offered for a better one. */
export function peerFacts(peer: Peer, paths?: KnownPaths): string[] {
  const words = strings.peers;
  if (peer.path === "relay" && peer.direct) return [words.offered(kindsOf(peer.direct.ours), kindsOf(peer.direct.theirs))];
  if (peer.path !== "direct" || !paths) return [];
  if (paths === "unknown") return [words.pathUnknown];
  // Of several the newest: the others are on their way out.
  const path = paths.findLast(({ peerId, state, here }) => peerId === peer.peerId && state === "connected" && here !== undefined);
  return path ? pathFacts(path) : [];
}

function pathFacts(path: DirectPath): string[] {
  const { here, there, protocol = "", bytesSent, bytesReceived } = path;
  const words = strings.peers;
  const facts = [words.used(end(here), end(there), words.routes[routeOf(path)](protocol.toUpperCase()))];
  if (bytesSent !== undefined && bytesReceived !== undefined) facts.push(words.carried(bytes(bytesSent), bytes(bytesReceived)));
  return facts;
}

/** As far as the kinds of the addresses tell: one that was found on the way may be of either network. */
function routeOf({ here, there }: DirectPath): keyof typeof strings.peers.routes {
  const kinds = [here?.kind, there?.kind];
  if (kinds.includes("relay")) return "turn";
  if (kinds.includes("srflx")) return "between";
  return kinds.every((kind) => kind === "host") ? "within" : "unknown";
}

function end(end: PathEnd | undefined): string {
  const words = strings.peers;
  if (!end) return words.none;
  const { kind, address } = end;
  // A name that the browser has made up tells a person nothing.
  if (address?.includes(MDNS)) return words.kinds.mdns;
  const named = (words.kinds as Causes)[kind] ?? kind;
  return address === undefined ? named : words.endAt(named, address);
}

function bytes(count: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  const unitDisplay = power === 0 ? "long" : "short";
  const format = new Intl.NumberFormat("en", { style: "unit", unit: UNITS[power], unitDisplay, maximumSignificantDigits: 3 });
  return format.format(count / 1000 ** power);
}

function kindsOf(kinds: Readonly<Record<string, number>>): string {
  const words = strings.peers;
  const named = Object.entries(kinds).map(([kind, n]) => `${n} ${(words.kinds as Causes)[kind] ?? kind}`);
  return named.length === 0 ? words.none : named.join(", ");
}

/** Everything the host knows of its connections, as JSON. Holds no messages, no passwords, and no names but those of servers. */
export function connectionReport(view: HostView, paths: KnownPaths, nowMs: number, userAgent: string): string {
  const { homeserver, config, ...rest } = view;
  // A TURN server's password is nobody's business.
  const page = { ...rest, config: config && { ...config, iceServers: config.iceServers.map(({ urls }) => ({ urls })) } };
  const report = { time: new Date(nowMs).toISOString(), userAgent, page, homeserver, directPaths: paths ?? "unknown" };
  return JSON.stringify(report, undefined, 2);
}
