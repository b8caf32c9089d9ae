// Holds the order of a join by link: wait for the relay, give the hints, ask; and that each failure can be tried again.

import { describe, expect, it, vi } from "vitest";
import { strings } from "../strings.ts";
import { Joining, RELAY_WAIT_MAX_MS, type RelayState } from "./joining.ts";
import { Observable } from "./observable.ts";

const LINK = { roomId: "!a:x.example", via: ["x.example", "y.example"], addresses: ["/dns/x/p2p/1"] };

function account(join: () => Promise<void> = async () => undefined) {
  const calls: unknown[] = [];
  return {
    calls,
    giveAddressHints: async (server: string, addresses: string[]) => void calls.push(["hints", server, addresses]),
    joinByLink: async (roomId: string, via: string[]) => {
      calls.push(["join", roomId, via]);
      await join();
    },
  };
}

const connected = new Observable<RelayState>("connected");

describe("a join", () => {
  it("gives the hints of the link's maker, then asks", async () => {
    const asked = account();
    const joining = new Joining(asked, LINK, connected);
    await joining.start();
    expect(asked.calls).toEqual([
      ["hints", "x.example", LINK.addresses],
      ["join", LINK.roomId, LINK.via],
    ]);
    expect(joining.step.get()).toEqual({ at: "joined", roomId: LINK.roomId });
  });

  it("waits for a relay that is being connected to", async () => {
    const asked = account();
    const relay = new Observable<RelayState>("connecting");
    const joining = new Joining(asked, LINK, relay);
    const done = joining.start();
    expect(joining.step.get()).toEqual({ at: "waiting-for-relay" });
    expect(asked.calls).toEqual([]);
    relay.set("connected");
    await done;
    expect(joining.step.get().at).toBe("joined");
  });

  it("does not wait for ever", async () => {
    vi.useFakeTimers();
    try {
      const joining = new Joining(account(), LINK, new Observable<RelayState>(undefined));
      const done = joining.start();
      await vi.advanceTimersByTimeAsync(RELAY_WAIT_MAX_MS);
      await done;
      expect(joining.step.get().at).toBe("joined");
    } finally {
      vi.useRealTimers();
    }
  });

  it("goes on when the hints are refused", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const asked = { ...account(), giveAddressHints: () => Promise.reject(new Error("no")) };
    const joining = new Joining(asked, LINK, connected);
    await joining.start();
    expect(joining.step.get().at).toBe("joined");
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });

  it("says why it failed, and succeeds when tried again", async () => {
    let reachable = false;
    const asked = account(() => (reachable ? Promise.resolve() : Promise.reject({ errcode: "M_UNKNOWN", httpStatus: 502 })));
    const joining = new Joining(asked, LINK, connected);
    await joining.start();
    const { failedTitle: title, failed } = strings.join;
    expect(joining.step.get()).toEqual({ at: "failed", title, why: failed.unreachable, forGood: false });
    reachable = true;
    await joining.start();
    expect(joining.step.get().at).toBe("joined");
  });

  it("promises nothing where there is no way to the room, and says why as the homeserver did", async () => {
    const error = "matrix.example cannot be reached from here: one of the two names ends in .alt, which no server of the web can look up";
    const refused = { errcode: "M_FORBIDDEN", httpStatus: 403, data: { error, "org.warren.apart": true } };
    const joining = new Joining(
      account(() => Promise.reject(refused)),
      LINK,
      connected,
    );
    await joining.start();
    const why = strings.problem.apart(error);
    expect(joining.step.get()).toEqual({ at: "failed", title: strings.join.neverTitle, why, forGood: true });
  });

  it("starts again by itself when the relay is back, unless it was stopped", async () => {
    const relay = new Observable<RelayState>("offline");
    const unreachable = (): Promise<void> => (relay.get() === "connected" ? Promise.resolve() : Promise.reject({ httpStatus: 502 }));
    const [waiting, stopped] = [new Joining(account(unreachable), LINK, relay), new Joining(account(unreachable), LINK, relay)];
    await Promise.all([waiting.start(), stopped.start()]);
    expect(waiting.step.get()).toMatchObject({ at: "failed", why: strings.join.failed.offline, forGood: false });
    stopped.stop();
    relay.set("connected");
    await vi.waitFor(() => expect(waiting.step.get().at).toBe("joined"));
    expect(stopped.step.get().at).toBe("failed");
  });

  it("runs once at a time", async () => {
    const asked = account();
    const joining = new Joining(asked, LINK, connected);
    await Promise.all([joining.start(), joining.start()]);
    expect(asked.calls).toHaveLength(2);
  });
});
