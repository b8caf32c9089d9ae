// Which homeserver a URL of this origin is for, and what the page makes of its server's configuration.
import { expect, test } from "vitest";
import { addressed, baseUrlOf, wellKnown } from "./address.ts";
import { parseConfig } from "./page-config.ts";
import { isLongPoll, jsonAnswer, toResponse, toWire } from "./wire.ts";

const ORIGIN = "http://localhost:8080";

test.each([
  ["/_matrix/client/versions", "default", "/_matrix/client/versions"],
  [`${ORIGIN}/_matrix/client/v3/sync?timeout=1`, "default", "/_matrix/client/v3/sync?timeout=1"],
  ["/p/anna/_matrix/client/v3/rooms/%21a%3Ab/send", "anna", "/_matrix/client/v3/rooms/%21a%3Ab/send"],
  ["/p/anna/.well-known/matrix/client", "anna", "/.well-known/matrix/client"],
  ["/.well-known/matrix/client", "default", "/.well-known/matrix/client"],
])("%s is for %s", (url, profile, path) => {
  expect(addressed(url, ORIGIN)).toEqual({ profile, path });
});

test.each([
  "/", "/index.html", "/assets/app.js", "/_matrixx/", "/_matrix", "/p/anna/", "/p/a%2Fb/_matrix/x", "/p//_matrix/x",
  `/p/${"x".repeat(65)}/_matrix/x`, "https://elsewhere.example/_matrix/client/versions", "/.well-known/security.txt",
])("%s is for nobody", (url) => {
  expect(addressed(url, ORIGIN)).toBeUndefined();
});

test("the base URL a client is told leads back to the same homeserver", () => {
  for (const profile of ["default", "anna"]) {
    const { status, content } = wellKnown("/.well-known/matrix/client", ORIGIN, profile);
    expect(status).toBe(200);
    const base = (content as { "m.homeserver": { base_url: string } })["m.homeserver"].base_url;
    expect(base).toBe(baseUrlOf(ORIGIN, profile));
    expect(addressed(`${base}/_matrix/client/versions`, ORIGIN)?.profile).toBe(profile);
  }
  expect(wellKnown("/.well-known/matrix/server", ORIGIN, "default").status).toBe(404);
});

test("a request crosses with its body, and an answer comes back as it was given", async () => {
  const request = new Request(`${ORIGIN}/_matrix/x`, { method: "PUT", body: "{}", headers: { Authorization: "Bearer t" } });
  const wire = await toWire(request, "/_matrix/x", "1");
  expect(wire).toMatchObject({ id: "1", method: "PUT", url: "/_matrix/x" });
  expect(wire.headers).toContainEqual(["authorization", "Bearer t"]);
  expect(new TextDecoder().decode(wire.body)).toBe("{}");
  expect((await toWire(new Request(`${ORIGIN}/_matrix/x`), "/_matrix/x", "2")).body).toBeUndefined();
  const response = toResponse(jsonAnswer("1", 404, { errcode: "M_NOT_FOUND" }));
  expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([404, "*"]);
  expect(await response.json()).toEqual({ errcode: "M_NOT_FOUND" });
  expect(toResponse({ status: 204, headers: [], body: new Uint8Array() }).status).toBe(204);
});

test("only /sync is a long poll", () => {
  expect(isLongPoll({ method: "GET", url: "/_matrix/client/v3/sync?timeout=30000" })).toBe(true);
  expect(isLongPoll({ method: "GET", url: "/_matrix/client/v3/sync" })).toBe(true);
  expect(isLongPoll({ method: "POST", url: "/_matrix/client/v3/sync" })).toBe(false);
  expect(isLongPoll({ method: "GET", url: "/_matrix/client/v3/synchronous" })).toBe(false);
});

test("a gateway has a peer id and a zone, or is none", () => {
  const gateway = { peer: "12D3KooWexample", zone: "tabs.example.org" };
  expect(parseConfig({ gateway })?.gateway).toEqual(gateway);
  for (const bad of [null, "x", {}, { peer: "a" }, { ...gateway, peer: 5 }, { ...gateway, peer: "a/b" }, { ...gateway, zone: "NOT a zone" }]) {
    expect(parseConfig({ gateway: bad })?.gateway).toBeUndefined();
  }
});

test("what the server offers is taken where it is well-formed", () => {
  expect(parseConfig({ version: 1, relays: ["/ip4/1.2.3.4", 5], serverNameSuffix: "example.org", publicUrl: "https://w.example" })).toEqual({
    version: 1, relays: ["/ip4/1.2.3.4"], iceServers: [], serverNameSuffix: "example.org", publicUrl: "https://w.example", build: undefined,
  });
  expect(parseConfig({ relays: "all", serverNameSuffix: "NOT a name" })).toMatchObject({ relays: [], serverNameSuffix: "alt" });
  const longest = `${"a".repeat(54)}.${"b".repeat(54)}.${"c".repeat(57)}`;
  expect(parseConfig({ serverNameSuffix: longest })?.serverNameSuffix).toBe(longest);
  for (const suffix of [`${longest}d`, "a..b", "-a.b", "a-.b", "a.b:8448", "a/b", "a b", `${"a".repeat(64)}.b`, " ", "é"]) {
    expect(parseConfig({ serverNameSuffix: suffix })?.serverNameSuffix).toBe("alt");
  }
  expect([parseConfig(null), parseConfig("x"), parseConfig(7)]).toEqual([undefined, undefined, undefined]);
});
