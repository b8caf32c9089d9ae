// What the reports of both browsers come to.
import { expect, test } from "vitest";
import { pathOf } from "./direct-path.ts";

const LOCAL = { id: "l", type: "local-candidate", candidateType: "host", protocol: "udp", address: "10.0.0.2", port: 5000 };
const REMOTE = { id: "r", type: "remote-candidate", candidateType: "srflx", protocol: "udp", address: "2001:db8::1", port: 6000 };
const PAIR = { id: "p", type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r", bytesSent: 10, bytesReceived: 20 };
const TRANSPORT = { id: "t", type: "transport", selectedCandidatePairId: "p" };
const CHOSEN = {
  peerId: "a",
  state: "connected",
  here: { kind: "host", address: "10.0.0.2:5000" },
  there: { kind: "srflx", address: "[2001:db8::1]:6000" },
  protocol: "udp",
  bytesSent: 10,
  bytesReceived: 20,
};

/** A connection with those reports. */
function connection(connectionState: RTCPeerConnectionState, ...reports: { id: string }[]): RTCPeerConnection {
  const stats = new Map(reports.map((report) => [report.id, report]));
  return { connectionState, getStats: () => Promise.resolve(stats) } as unknown as RTCPeerConnection;
}

test("the pair is the one that the transport names, as in Chromium", async () => {
  const other = { ...PAIR, id: "other", bytesSent: 1 };
  const peer = connection("connected", LOCAL, REMOTE, other, { ...PAIR, currentRoundTripTime: 0.0123 } as never, TRANSPORT);
  expect(await pathOf("a", peer, false)).toEqual({ ...CHOSEN, roundTripMs: 12 });
});

test("or the one that is marked, as in Firefox", async () => {
  const other = { ...PAIR, id: "other", bytesSent: 1 };
  const peer = connection("connected", LOCAL, REMOTE, other, { ...PAIR, selected: true } as never);
  expect(await pathOf("a", peer, false)).toEqual({ ...CHOSEN, roundTripMs: undefined });
});

test("whoever hides addresses sees kinds, and so it is where the browser hides them", async () => {
  const hidden = connection("connected", LOCAL, REMOTE, PAIR, TRANSPORT);
  const { here, there } = await pathOf("a", hidden, true);
  expect([here, there]).toEqual([{ kind: "host" }, { kind: "srflx" }]);
  const kept = connection("connected", { ...LOCAL, address: "" } as never, { ...REMOTE, address: null } as never, PAIR, TRANSPORT);
  const redacted = connection("connected", LOCAL, { ...REMOTE, address: "(redacted)" } as never, PAIR, TRANSPORT);
  const path = await pathOf("a", kept, false);
  expect([path.here, path.there, (await pathOf("a", redacted, false)).there]).toEqual([{ kind: "host" }, { kind: "srflx" }, { kind: "srflx" }]);
});

test("there is none before one is chosen, and none after the end", async () => {
  expect(await pathOf("a", connection("connecting", LOCAL, PAIR), false)).toEqual({ peerId: "a", state: "connecting" });
  const ended = { connectionState: "closed", getStats: () => Promise.reject(new Error("closed")) } as unknown as RTCPeerConnection;
  expect(await pathOf("a", ended, false)).toEqual({ peerId: "a", state: "closed" });
});
