// Holds that every cause the host names has words, and that a report says what is needed and no more.

import { describe, expect, it } from "vitest";
import type { DirectPath, HostStatus, HostView } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { connectedPeers, connectionReport, peerFacts, peerReason, peerState } from "./peer-words.ts";

type Peer = HostStatus["peers"][number];

const NOW = new Date(2026, 0, 1, 12, 0).getTime();
const away = (cause: string): Peer => ({ serverName: "a.example", peerId: "12D3a", state: "away", unreached: { cause, detail: "the words of libp2p" } });
const relayed = (cause: string): Peer => ({
  serverName: "a.example",
  peerId: "12D3a",
  state: "connected",
  path: "relay",
  direct: { atMs: NOW, failure: { cause, detail: "no path" }, ours: { mdns: 1, reflexive: 2 }, theirs: {} },
});

describe("how a peer is connected", () => {
  it("is said with its round trip, once there is one", () => {
    expect(peerState({ serverName: "a", peerId: "12D3a", state: "connected", path: "direct" }, NOW)).toBe("directly");
    expect(peerState({ serverName: "a", peerId: "12D3a", state: "connected", path: "browser", roundTripMs: 3 }, NOW)).toBe("in this browser, 3 ms");
    expect(peerState({ serverName: "a", peerId: "12D3a", state: "connected", path: "direct", roundTripMs: 0 }, NOW)).toBe("directly, under 1 ms");
    expect(peerState({ serverName: "a", peerId: "12D3a", state: "connecting" }, NOW)).toBe("connecting");
    expect(peerState(away("other"), NOW)).toBe("not connected");
    expect(peerState({ ...away("other"), seenMs: NOW - 60_000 }, NOW)).toMatch(/^not connected, last seen 11:59/);
  });

  it("counts only who is connected", () => {
    const status = { peers: [away("other"), relayed("no_stun")] } as HostStatus;
    expect(connectedPeers(status)).toEqual([relayed("no_stun")]);
  });
});

describe("why", () => {
  it.each(["no_address", "relay_unreachable", "not_at_relay"])("an unreachable peer is: %s", (cause) => {
    expect(peerReason(away(cause))).toBe((strings.peers.unreached as Record<string, string>)[cause]);
    expect(peerReason(away(cause))).not.toContain("libp2p");
  });

  it("falls back to the words of what failed", () => {
    expect(peerReason(away("other"))).toContain("the words of libp2p");
    expect(peerReason(relayed("something new"))).toContain("no path");
  });

  // The names of `diagnosis::Cause`.
  it.each([
    "no_candidates", "peer_has_no_candidates", "no_stun", "names_not_resolved", "udp_blocked", "peer_udp_blocked",
    "client_isolation", "symmetric_nats", "turn_failed",
  ])("there is no direct path: %s", (cause) => {
    expect(peerReason(relayed(cause))).toContain((strings.peers.noPath as Record<string, string>)[cause] ?? "no words");
  });

  it("is not said of a peer that is well connected, whatever failed before", () => {
    expect(peerReason({ ...relayed("no_stun"), path: "direct" })).toBeUndefined();
    expect(peerReason({ serverName: "a", peerId: "12D3a", state: "away" })).toBeUndefined();
  });

  it("names what was offered", () => {
    expect(peerFacts(relayed("no_stun"))).toEqual(["Addresses offered: 1 local and hidden, 2 seen from outside; by the other side: none"]);
    expect(peerFacts(away("other"))).toEqual([]);
  });
});

describe("of a direct path", () => {
  const peer: Peer = { serverName: "a", peerId: "12D3a", state: "connected", path: "direct" };
  const here = { kind: "host", address: "10.0.0.2:5000" };
  const path: DirectPath = { peerId: "12D3a", state: "connected", here, there: { kind: "srflx", address: "[2001:db8::1]:6000" }, protocol: "udp" };
  const facts = (...paths: DirectPath[]) => peerFacts(peer, paths);

  it("the addresses are named, and how much went by it", () => {
    expect(facts({ ...path, bytesSent: 1_234_567, bytesReceived: 12 })).toEqual([
      "Addresses used: local (10.0.0.2:5000); by the other side: seen from outside ([2001:db8::1]:6000). Between networks, by UDP.",
      "1.23 MB sent, 12 bytes received",
    ]);
  });

  it("the kinds of its ends tell which way it goes, with addresses or without", () => {
    const there = (kind: string) => facts({ ...path, here: { kind: "host" }, there: { kind } })[0];
    expect(there("host")).toBe("Addresses used: local; by the other side: local. Within one network, by UDP.");
    expect(there("relay")).toBe("Addresses used: local; by the other side: of a TURN server. Through a TURN server, by UDP.");
    expect(there("prflx")).toBe("Addresses used: local; by the other side: found on the way. By UDP.");
  });

  it("a made-up name of the browser is not shown", () => {
    const hidden = { kind: "host", address: "2131396c-3e95-419d-946b-ea81887dcac8.local:49805" };
    expect(facts({ ...path, here: hidden, there: hidden })).toEqual([
      "Addresses used: local and hidden; by the other side: local and hidden. Within one network, by UDP.",
    ]);
  });

  it("it is the newest that is in use", () => {
    const newer = { ...path, bytesSent: 2_000, bytesReceived: 3_000 };
    expect(facts({ ...newer, peerId: "other" }, path, newer, { peerId: "12D3a", state: "connecting" })[1]).toBe("2 kB sent, 3 kB received");
    expect(facts({ ...path, state: "disconnected" })).toEqual([]);
  });

  it("it is said where nobody tells", () => {
    expect(peerFacts(peer, "unknown")).toEqual(["Which addresses it uses is known to the tab that runs your homeserver, and that did not answer."]);
    expect(peerFacts(peer, undefined)).toEqual([]);
    expect(peerFacts({ ...peer, path: "browser" }, "unknown")).toEqual([]);
  });
});

it("a report is JSON with the state of everything, and without the passwords of servers", () => {
  const iceServers = [{ urls: "turn:turn.example", username: "ada", credential: "a password" }];
  const view = { role: "leader", config: { iceServers }, homeserver: { serverName: "a.example", peers: [relayed("no_stun")] } };
  const paths: DirectPath[] = [{ peerId: "12D3a", state: "connected", bytesSent: 7 }];
  const text = connectionReport(view as unknown as HostView, paths, NOW, "Browser/1");
  expect(JSON.parse(text)).toMatchObject({
    userAgent: "Browser/1",
    page: { role: "leader", config: { iceServers: [{ urls: "turn:turn.example" }] } },
    homeserver: { peers: [{ path: "relay" }] },
    directPaths: paths,
  });
  expect(text).not.toMatch(/a password|ada/);
});
