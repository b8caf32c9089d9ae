// Whole homeservers in workers: one that is asked, stopped and fenced, and two that meet through the real relay.
/* global window */
import assert from "node:assert/strict";

/** How long a status may take to become what it should, in milliseconds. */
const SOON_MS = 20_000;

/** @param {{ page: import("puppeteer-core").Page, relay?: object }} options without a relay the tests of two are left out */
export function hostTests({ page, relay }) {
  const call = (host, ...args) => page.evaluate((...all) => window.call(...all), host, ...args);
  const terminate = (host) => page.evaluate((name) => window.terminate(name), host);
  const isAlone = (status) => status.peers.every(({ state }) => state !== "connected");
  const config = (database, storage, relays = []) => ({ profile: "test", database, storage, relays, serverNameSuffix: "alt", logLevel: "warn" });

  /** Asks for the status until it is as wished. */
  const until = async (host, wished, what) => {
    const deadline = Date.now() + SOON_MS;
    for (;;) {
      const status = await call(host, "status");
      if (status && wished(status)) return status;
      if (Date.now() > deadline) throw new Error(`${what}: ${JSON.stringify(status)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  const register = async (host, username) => {
    const answer = await call(host, "handle", "POST", "/_matrix/client/v3/register", [["content-type", "application/json"]], {
      username,
      password: "correct horse",
      auth: { type: "m.login.dummy" },
    });
    assert.equal(answer.status, 200, JSON.stringify(answer));
    return { userId: answer.json.user_id, headers: [["authorization", `Bearer ${answer.json.access_token}`], ["content-type", "application/json"]] };
  };

  const withHosts = (names, test) => async () => {
    try {
      await test();
    } finally {
      for (const name of names) await terminate(name).catch(() => {});
    }
  };

  const alone = [
    {
      name: "host::answers_in_memory_and_refuses_nonsense",
      run: withHosts(["a"], async () => {
        await call("a", "start", config("unused", "memory"));
        const status = await until("a", () => true, "a first status");
        assert.match(status.serverName, /^k51[a-z0-9]{59}\.alt$/);
        assert.match(status.peerId, /^12D3KooW/);
        assert.deepEqual([status.storage, status.relay, status.peers, status.addresses], [{ kind: "memory" }, { state: "none" }, [], []]);
        const versions = await call("a", "handle", "GET", "/_matrix/client/versions", []);
        assert.equal(versions.status, 200);
        assert.ok(versions.json.versions.length > 0);
        for (const [method, url, headers] of [
          ["GET\n", "/_matrix/client/versions", []],
          ["GET", "not a path", []],
          ["GET", "/_matrix/client/versions", [["bad name", "x"]]],
          ["GET", "/_matrix/client/versions", [["x", "a\nb"]]],
          ["GET", "/_matrix/client/versions", ["x"]],
        ]) {
          assert.equal((await call("a", "handle", method, url, headers)).status, 400, JSON.stringify([method, url, headers]));
        }
        await call("a", "stop");
        await assert.rejects(call("a", "handle", "GET", "/_matrix/client/versions", []), /stopped/);
      }),
    },
    {
      name: "host::keeps_its_identity_and_fences_the_one_before",
      run: withHosts(["a", "b", "c"], async () => {
        await call("a", "start", config("host-identity", "indexeddb"));
        const first = await until("a", () => true, "a first status");
        const user = await register("a", "alice");
        await call("b", "start", config("host-identity", "indexeddb"));
        const second = await until("b", () => true, "a first status");
        assert.equal(second.serverName, first.serverName);
        const whoami = await call("b", "handle", "GET", "/_matrix/client/v3/account/whoami", user.headers);
        assert.equal(whoami.json.user_id, user.userId, "the account is there");
        // The first one was thawed, say: it must not write, and its page must hear of it.
        const path = `/_matrix/client/v3/profile/${encodeURIComponent(user.userId)}/displayname`;
        const refused = await call("a", "handle", "PUT", path, user.headers, { displayname: "Old" });
        assert.ok(refused.status >= 500, JSON.stringify(refused));
        await until("a", (status) => status.storage.error === "fenced", "the first is told");
        assert.equal((await call("b", "handle", "PUT", path, user.headers, { displayname: "New" })).status, 200);
        await call("b", "stop");
        await call("c", "start", config("host-identity", "indexeddb"));
        assert.equal((await call("c", "handle", "GET", path, user.headers)).json.displayname, "New");
      }),
    },
    {
      name: "host::a_bad_configuration_says_so",
      run: withHosts(["a"], async () => {
        await assert.rejects(call("a", "start", { profile: "x" }), /"code":"internal".*configuration/);
        await assert.rejects(call("a", "start", { ...config("x", "memory"), serverNameSuffix: "not a name" }), /"code":"internal".*suffix/);
      }),
    },
  ];
  if (!relay) return alone;

  return [
    ...alone,
    {
      name: "host::two_meet_through_a_relay_that_comes_and_goes",
      run: withHosts(["a", "b"], async () => {
        const relays = await relay.start();
        try {
          for (const host of ["a", "b"]) await call(host, "startApart", config("unused", "memory", relays));
          const connected = (status) => status.relay.state === "connected" && status.addresses.length > 0;
          const [a, b] = [await until("a", connected, "a reservation"), await until("b", connected, "a reservation")];
          assert.ok(a.addresses[0].endsWith(`/p2p-circuit/p2p/${a.peerId}`), a.addresses[0]);
          const [alice, bob] = [await register("a", "alice"), await register("b", "bob")];
          const profileOf = (user) => `/_matrix/client/v3/profile/${encodeURIComponent(user.userId)}`;
          assert.equal((await call("b", "handle", "PUT", `${profileOf(bob)}/displayname`, bob.headers, { displayname: "Bob" })).status, 200);
          const seen = await call("a", "handle", "GET", profileOf(bob), alice.headers);
          assert.equal(seen.json.displayname, "Bob", JSON.stringify(seen));
          const peerOf = (other) => (status) => status.peers.some((peer) => peer.serverName === other.serverName && peer.path === "relay");
          await Promise.all([until("a", peerOf(b), "a peer"), until("b", peerOf(a), "a peer")]);

          await relay.stop();
          const offline = await until("a", (status) => status.relay.state === "offline" && isAlone(status), "the loss");
          assert.ok(offline.relay.error, "and why");
          assert.equal((await call("a", "handle", "GET", "/_matrix/client/v3/account/whoami", alice.headers)).status, 200, "local things work");
          assert.ok((await call("a", "handle", "GET", profileOf(bob), alice.headers)).status >= 500);

          await relay.start();
          await Promise.all([until("a", peerOf(b), "the peer again"), until("b", peerOf(a), "the peer again")]);
          assert.equal((await call("a", "handle", "GET", profileOf(bob), alice.headers)).json.displayname, "Bob");

          await terminate("b");
          await until("a", isAlone, "the other is gone");
        } finally {
          await relay.stop();
        }
      }),
    },
  ];
}
