// Holds that every cause the host names has words, and that a report says what is needed and no more.

import { describe, expect, it } from "vitest";
import type { HostStatus, HostView } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { connectedPeers, connectionReport, peerFacts, peerReason, peerState } from "./peer-words.ts";

type Peer = HostStatus["peers"][number];

const NOW = new Date(2026, 0, 1, 12, 0).getTime();
const away = (cause: string): Peer => ({ serverName: "a.example", state: "away", unreached: { cause, detail: "the words of libp2p" } });
const relayed = (cause: string): Peer => ({
  serverName: "a.example",
  state: "connected",
  path: "relay",
  direct: { atMs: NOW, failure: { cause, detail: "no path" }, ours: { mdns: 1, reflexive: 2 }, theirs: {} },
});

describe("how a peer is connected", () => {
  it("is said with its round trip, once there is one", () => {
    expect(peerState({ serverName: "a", state: "connected", path: "direct" }, NOW)).toBe("directly");
    expect(peerState({ serverName: "a", state: "connected", path: "browser", roundTripMs: 3 }, NOW)).toBe("in this browser, 3 ms");
    expect(peerState({ serverName: "a", state: "connecting" }, NOW)).toBe("connecting");
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
    expect(peerReason({ serverName: "a", state: "away" })).toBeUndefined();
  });

  it("names what was offered", () => {
    expect(peerFacts(relayed("no_stun"))).toBe("Addresses offered: 1 local and hidden, 2 seen from outside; by the other side: none");
    expect(peerFacts(away("other"))).toBeUndefined();
  });
});

it("a report is JSON with the state of everything", () => {
  const view = { role: "leader", homeserver: { serverName: "a.example", peers: [relayed("no_stun")] } } as unknown as HostView;
  const report = JSON.parse(connectionReport(view, NOW, "Browser/1")) as Record<string, unknown>;
  expect(report).toMatchObject({ userAgent: "Browser/1", page: { role: "leader" }, homeserver: { peers: [{ path: "relay" }] } });
});
