// Holds the way in against a homeserver that answers as told: names, what is kept, and what happens when it forgets us.

import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Entrance, type Phase } from "./entrance.ts";
import { KeptValues } from "./kept-values.ts";
import { loadSession, saveSession, type Session } from "./session.ts";
import { strings } from "../strings.ts";
import { FakeHomeserver, ok, prepareForSdk, refuse, type FakeAnswer } from "../testing/fake-homeserver.ts";

const registered = (username: unknown, token = "token-1"): FakeAnswer =>
  ok({ user_id: `@${String(username)}:a.example`, device_id: "D", access_token: token });
const refused = refuse(401, "M_UNKNOWN_TOKEN");
const session: Session = { userId: "@ada:a.example", deviceId: "D", accessToken: "token-1", password: "pw" };

let homeserver: FakeHomeserver;
let kept: KeptValues;
let entrances: Entrance[];

function makeEntrance(): Entrance {
  const made = new Entrance({
    homeserver,
    profile: "default",
    kept,
    onHomeserverBack: () => () => undefined,
  });
  entrances.push(made);
  return made;
}

async function reached<At extends Phase["at"]>(entrance: Entrance, at: At): Promise<Extract<Phase, { at: At }>> {
  await vi.waitFor(() => {
    const phase = entrance.phase.get();
    if (phase.at !== at || (phase.at === "welcome" && phase.busy)) throw new Error(`still ${phase.at}`);
  });
  return entrance.phase.get() as Extract<Phase, { at: At }>;
}

/** Until it is done, without waiting in earnest. */
async function patiently(work: Promise<void>): Promise<void> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const done = vi.fn();
    void work.finally(done);
    while (!done.mock.calls.length) {
      await vi.advanceTimersByTimeAsync(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    vi.useRealTimers();
  }
}

beforeAll(prepareForSdk);

beforeEach(() => {
  homeserver = new FakeHomeserver();
  kept = new KeptValues(undefined);
  entrances = [];
});

afterEach(() => {
  for (const entrance of entrances) {
    const phase = entrance.phase.get();
    if (phase.at === "inside") phase.account.stop();
  }
});

describe("coming in", () => {
  it("registers with a name of its own making, sets the display name, and keeps the session", async () => {
    homeserver.handlers.set("POST register", ({ body }) => registered(body.username));
    const entrance = makeEntrance();
    await entrance.enter("  Ada Lovelace ");
    const { account } = await reached(entrance, "inside");
    expect(account.userId).toBe("@ada-lovelace:a.example");
    expect(homeserver.asked("PUT displayname").map(({ body, token }) => [body, token])).toEqual([[{ displayname: "Ada Lovelace" }, "Bearer token-1"]]);
    expect(loadSession(kept, "default")).toMatchObject({ accessToken: "token-1" });
    expect(loadSession(kept, "default")).not.toHaveProperty("pendingName");
    const body = homeserver.asked("POST register")[0]?.body ?? {};
    expect(body.auth).toEqual({ type: "m.login.dummy" });
    expect(body.password).toBe(account.password);
  });

  it("tries another user name when one is taken", async () => {
    homeserver.handlers.set("POST register", ({ body: { username } }) =>
      username === "ada-3" ? registered(username) : refuse(400, "M_USER_IN_USE", "taken"),
    );
    const entrance = makeEntrance();
    await entrance.enter("Ada");
    expect((await reached(entrance, "inside")).account.userId).toBe("@ada-3:a.example");
  });

  it("gives up after a bounded number of names", async () => {
    homeserver.handlers.set("POST register", () => (refuse(400, "M_USER_IN_USE", "taken")));
    const entrance = makeEntrance();
    await entrance.enter("Ada");
    expect((await reached(entrance, "welcome")).error).toBe(strings.problem.nameTaken);
    expect(homeserver.asked("POST register")).toHaveLength(20);
  });

  it("asks for a name before it asks the homeserver", async () => {
    const entrance = makeEntrance();
    await entrance.enter(" \u200B ");
    expect(entrance.phase.get()).toMatchObject({ at: "welcome", error: strings.welcome.nameMissing });
    await entrance.enter("x".repeat(65));
    expect(entrance.phase.get()).toMatchObject({ at: "welcome", error: strings.welcome.nameTooLong(64) });
    expect(homeserver.requests).toEqual([]);
  });

  it("waits for a homeserver that restarts, and finds the account that it made before it stopped", async () => {
    homeserver.handlers.set("POST register", () =>
      homeserver.asked("POST register").length === 1 ? refuse(503, "M_UNKNOWN", "restarting") : refuse(400, "M_USER_IN_USE", "taken"),
    );
    homeserver.handlers.set("POST login", ({ body }) => {
      const { password } = homeserver.asked("POST register")[0]?.body ?? {};
      expect(body).toMatchObject({ password, identifier: { user: "ada" } });
      return registered("ada");
    });
    const entrance = makeEntrance();
    await patiently(entrance.enter("Ada"));
    expect((await reached(entrance, "inside")).account.userId).toBe("@ada:a.example");
  });

  it("takes another name when the one taken meanwhile is somebody else's", async () => {
    homeserver.handlers.set("POST register", ({ body: { username } }) => {
      if (homeserver.asked("POST register").length === 1) return refuse(503, "M_UNKNOWN", "restarting");
      return username === "ada" ? refuse(400, "M_USER_IN_USE", "taken") : registered(username);
    });
    homeserver.handlers.set("POST login", () => refuse(403, "M_FORBIDDEN"));
    const entrance = makeEntrance();
    await patiently(entrance.enter("Ada"));
    expect((await reached(entrance, "inside")).account.userId).toBe("@ada-2:a.example");
  });

  it("says why it did not work, and works when tried again", async () => {
    homeserver.handlers.set("POST register", () => (refuse(503, "M_UNKNOWN", "restarting")));
    const entrance = makeEntrance();
    await patiently(entrance.enter("Ada"));
    expect((await reached(entrance, "welcome")).error).toBe(strings.problem.hostBusy);
    homeserver.handlers.set("POST register", ({ body }) => registered(body.username));
    await entrance.enter("Ada");
    await reached(entrance, "inside");
  });

  it("tries a display name that could not be set again at the next start", async () => {
    homeserver.handlers.set("POST register", ({ body }) => registered(body.username));
    homeserver.handlers.set("PUT displayname", () => (refuse(500, "M_UNKNOWN")));
    await makeEntrance().enter("Ada");
    expect(loadSession(kept, "default")).toMatchObject({ pendingName: "Ada" });
    homeserver.handlers.set("PUT displayname", () => ok());
    makeEntrance();
    await vi.waitFor(() => expect(loadSession(kept, "default")).not.toHaveProperty("pendingName"));
  });
});

describe("coming back", () => {
  it("goes straight in with a kept session", () => {
    saveSession(kept, "default", session);
    expect(makeEntrance().phase.get().at).toBe("inside");
    expect(homeserver.asked("POST register")).toHaveLength(0);
  });

  it("takes over the account another tab made meanwhile", async () => {
    homeserver.handlers.set("POST register", ({ body }) => {
      saveSession(kept, "default", session);
      return registered(body.username, "token-2");
    });
    const entrance = makeEntrance();
    await entrance.enter("Eve");
    expect((await reached(entrance, "inside")).account.userId).toBe("@ada:a.example");
    expect(loadSession(kept, "default")?.accessToken).toBe("token-1");
  });

  it("renews a lost access token without a word", async () => {
    saveSession(kept, "default", session);
    homeserver.handlers.set("GET pushrules", ({ token }) => (token === "Bearer token-2" ? ok({ global: {} }) : refused));
    homeserver.handlers.set("POST login", ({ body }) => {
      expect(body).toMatchObject({ password: "pw", device_id: "D", identifier: { user: "@ada:a.example" } });
      return registered("ada", "token-2");
    });
    const entrance = makeEntrance();
    await vi.waitFor(() => expect(loadSession(kept, "default")?.accessToken).toBe("token-2"));
    await vi.waitFor(() => expect(homeserver.requests.some((request) => request.token === "Bearer token-2")).toBe(true));
    expect(entrance.phase.get().at).toBe("inside");
  });

  it("goes back to the welcome, with an explanation, when the homeserver does not know us", async () => {
    saveSession(kept, "default", session);
    homeserver.handlers.set("GET pushrules", () => refused);
    homeserver.handlers.set("POST login", () => (refuse(403, "M_FORBIDDEN")));
    const entrance = makeEntrance();
    expect(await reached(entrance, "welcome")).toMatchObject({ identityGone: true });
    expect(loadSession(kept, "default")).toBeUndefined();
  });

  it("forgets nothing when the homeserver merely fails", async () => {
    saveSession(kept, "default", session);
    homeserver.handlers.set("GET pushrules", () => refused);
    homeserver.handlers.set("POST login", () => (refuse(500, "M_UNKNOWN", "broken")));
    const entrance = makeEntrance();
    expect(await reached(entrance, "welcome")).toMatchObject({ identityGone: false, error: strings.problem.unexpected("broken") });
    expect(loadSession(kept, "default")).toEqual(session);
  });
});
