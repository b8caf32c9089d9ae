// Holds what the status bar says in each situation a user can be in.

import { describe, expect, it } from "vitest";
import type { HostStatus, HostView } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { RESTART_NOTICE_MS, statusLine, statusWarning } from "./status-words.ts";

const BOB_SERVER = "b.example";
const peopleOf = (server: string): string[] => (server === BOB_SERVER ? ["Bob"] : server === "crowd.example" ? ["C", "D", "E", "F"] : []);

function view(over: Partial<HostView> = {}, homeserver: Partial<HostStatus> = {}): HostView {
  return {
    role: "leader",
    phase: "running",
    storage: { kind: "indexeddb" },
    notices: [],
    secureContext: true,
    serviceWorker: "active",
    outdated: false,
    homeserver: {
      serverName: "a.example",
      peerId: "12D3KooW",
      storage: { kind: "indexeddb" },
      relay: { state: "connected" },
      addresses: [],
      peers: [],
      outbox: [],
      ...homeserver,
    },
    ...over,
  };
}

const waitingFor = (...destinations: string[]): HostStatus["outbox"] => destinations.map((destination) => ({ destination, waiting: 2 }));
const lineOf = (shown: HostView): string => statusLine(shown, peopleOf).text;
const peer = (serverName: string, path: "direct" | "relay" = "relay"): HostStatus["peers"][number] => ({ serverName, peerId: serverName, state: "connected", path });

describe("the line", () => {
  it("counts peers and says that nothing waits", () => {
    expect(lineOf(view())).toBe("Online, no peers connected · all sent");
    expect(lineOf(view({}, { peers: [peer("x")] }))).toBe("1 peer connected · all sent");
    expect(lineOf(view({}, { peers: [peer("x"), peer("y")] }))).toBe("2 peers connected · all sent");
  });

  it("says which peers need no relay, and that they stay when it is gone", () => {
    const [x, y] = [peer("x", "direct"), peer("y", "direct")];
    expect(lineOf(view({}, { peers: [x] }))).toBe("1 peer connected directly · all sent");
    expect(lineOf(view({}, { peers: [x, y] }))).toBe("2 peers connected directly · all sent");
    expect(lineOf(view({}, { peers: [x, peer("z")] }))).toBe("2 peers connected, 1 directly · all sent");
    expect(lineOf(view({}, { peers: [x], relay: { state: "offline" } }))).toBe("The relay cannot be reached; 1 peer is still connected directly · all sent");
    expect(lineOf(view({}, { peers: [peer("z")], relay: { state: "offline" } }))).toContain("You are offline");
  });

  it("says how much waits and for whom", () => {
    expect(lineOf(view({}, { outbox: waitingFor(BOB_SERVER) }))).toBe("Online, no peers connected · 2 messages wait for Bob");
    expect(lineOf(view({}, { outbox: [{ destination: BOB_SERVER, waiting: 1 }] }))).toContain("1 message waits for Bob");
    expect(lineOf(view({}, { outbox: waitingFor("unknown.example") }))).toContain("2 messages wait for others");
    expect(lineOf(view({}, { outbox: waitingFor(BOB_SERVER, "crowd.example") }))).toContain("4 messages wait for Bob, C and 3 others");
    expect(lineOf(view({}, { outbox: [{ destination: BOB_SERVER, waiting: 0 }] }))).toContain("all sent");
  });

  it("tells a relay that is gone from one that was never there", () => {
    expect(statusLine(view({}, { relay: { state: "offline" }, outbox: waitingFor(BOB_SERVER) }), peopleOf)).toEqual({
      tone: "away",
      text: "You are offline. Everything here is saved; messages go out when the connection returns. 2 messages wait for Bob.",
    });
    expect(lineOf(view({}, { relay: { state: "none" } }))).toBe(strings.status.noRelay);
    expect(lineOf(view({}, { relay: { state: "connecting" } }))).toBe(strings.status.connecting);
  });

  it("says that the homeserver starts, restarts, or cannot run, and why", () => {
    expect(lineOf(view({ phase: "starting", homeserver: undefined }))).toBe(strings.status.starting);
    expect(lineOf(view({ phase: "restarting" }))).toBe(strings.status.restarting);
    const error = { code: "newer_schema", message: "7 > 6" } as const;
    expect(statusLine(view({ phase: "failed", error }), peopleOf)).toEqual({ tone: "bad", text: strings.problem.newerSchema });
    expect(lineOf(view({ phase: "failed" }))).toBe(strings.status.failed);
    expect(lineOf(view({ phase: "stopped" }))).toBe(strings.status.stopped);
  });
});

describe("the warning", () => {
  const now = 1_000_000;
  it("is about storage before anything else", () => {
    const restarted = [{ atMs: now, kind: "restarted-after-fault" as const, message: "" }];
    const warn = (error: "quota" | "fenced" | "failed"): string | undefined =>
      statusWarning(view({ notices: restarted }, { storage: { kind: "indexeddb", error } }), now)?.text;
    expect(warn("quota")).toBe(strings.status.full);
    expect(warn("fenced")).toBe(strings.status.fenced);
    expect(warn("failed")).toBe(strings.status.storageFailed);
  });

  it("says that a window keeps nothing", () => {
    expect(statusWarning(view({}, { storage: { kind: "memory" } }), now)?.text).toBe(strings.status.memory.unknown);
    expect(statusWarning(view({ homeserver: undefined, storage: { kind: "memory", reason: "private" } }), now)?.text).toBe(strings.status.memory.private);
  });

  it("offers a newer version when nothing is wrong", () => {
    expect(statusWarning(view({ outdated: true }), now)).toEqual({ tone: "away", text: strings.status.outdated, reload: true });
  });

  it("speaks of a restart for a while", () => {
    const shown = view({ notices: [{ atMs: now, kind: "restarted-after-fault", message: "" }] });
    expect(statusWarning(shown, now + RESTART_NOTICE_MS - 1)?.text).toBe(strings.status.restarted);
    expect(statusWarning(shown, now + RESTART_NOTICE_MS)).toBeUndefined();
  });

  it("is absent when all is well", () => {
    expect(statusWarning(view(), now)).toBeUndefined();
  });
});
