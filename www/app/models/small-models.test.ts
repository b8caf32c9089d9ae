// Holds the small pure models: names, localparts, profiles, routes, links in text, sizes, errors, kept values.

import { describe, expect, it } from "vitest";
import { explainError, joinFailure } from "./explain-error.ts";
import { KeptValues } from "./kept-values.ts";
import { linkify } from "./linkify.ts";
import { localpartFrom, nthLocalpart } from "./localpart.ts";
import { messageBytes } from "./message-body.ts";
import { hueOf, initialOf, plainName, shortServerName, shortUserId, tellApart } from "./names.ts";
import { newRoom, roomCreationRequest } from "./new-room.ts";
import { Derived, Observable } from "./observable.ts";
import { profileFromQuery } from "./profile.ts";
import { qrPath } from "./qr-path.ts";
import { isUserId, roleOf } from "./room-people.ts";
import { formatRoute, parseRoute } from "./route.ts";
import { loadSession, makePassword, saveSession } from "./session.ts";
import { dayWords, shortMoment, untilWords } from "./time-words.ts";
import { strings } from "../strings.ts";

const KEY_SERVER = `k51q${"z".repeat(54)}7x3p.alt`;

describe("names", () => {
  it("shortens servers that are keys, and only those", () => {
    expect(shortServerName(KEY_SERVER)).toBe("…7x3p");
    expect(shortUserId(`@ada:${KEY_SERVER}`)).toBe("@ada:…7x3p");
    expect(shortUserId("@ada:matrix.example")).toBe("@ada:matrix.example");
  });

  it("tells people of one name apart", () => {
    const names = tellApart([
      { userId: "@a:x.example", displayName: "Ada" },
      { userId: "@b:x.example", displayName: "Ada\u200B" },
      { userId: "@c:x.example", displayName: undefined },
    ]);
    expect([...names.values()]).toEqual(["Ada (@a:x.example)", "Ada (@b:x.example)", "c"]);
  });

  it("takes out what would disturb the page", () => {
    expect(plainName(" A\u202Ed\u0007a \n B ")).toBe("Ada B");
    expect(initialOf("  ada")).toBe("A");
    expect(initialOf("(x)")).toBe("X");
    expect(initialOf("…")).toBe("?");
    expect(hueOf("@ada:x")).toBe(hueOf("@ada:x"));
  });
});

it.each([
  ["Ada Lovelace", "ada-lovelace"],
  ["Ångström Ødegård", "angstrom-degard"],
  ["李", "me"],
  ["  ", "me"],
  ["--__..", "me"],
  ["42", "me-42"],
  ["A".repeat(99), "a".repeat(24)],
])("the localpart of %s is %s", (name, localpart) => {
  expect(localpartFrom(name)).toBe(localpart);
});

it("tries other localparts in order", () => {
  expect([0, 1, 2].map((n) => nthLocalpart("ada", n))).toEqual(["ada", "ada-2", "ada-3"]);
});

it.each([
  ["", "default"],
  ["?profile=ada-2", "ada-2"],
  ["?profile=", undefined],
  ["?profile=Ada", undefined],
  ["?profile=../x", undefined],
  [`?profile=${"a".repeat(33)}`, undefined],
])("the profile of %j is %s", (query, profile) => {
  expect(profileFromQuery(query)).toBe(profile);
});

it("writes routes that it reads again", () => {
  const roomId = "!a/b?c#d%:x.example";
  for (const route of [
    { view: "home" },
    { view: "new-room" },
    { view: "paste-link" },
    { view: "settings" },
    { view: "room", roomId },
    { view: "room", roomId, panel: "people" },
  ] as const) {
    expect(parseRoute(formatRoute(route))).toEqual(route);
  }
  expect(parseRoute("#/room/%E0%A4%A")).toEqual({ view: "home" });
  expect(parseRoute(`#/room/${encodeURIComponent(roomId)}/nonsense`)).toEqual({ view: "room", roomId });
  expect(parseRoute("#/join/x")).toMatchObject({ view: "join", parsed: { ok: false } });
});

it.each([
  ["see https://a.example/x_(y), ok?", ["see ", "<https://a.example/x_(y)>", ", ok?"]],
  ["(https://a.example).", ["(", "<https://a.example>", ")."]],
  ["javascript:alert(1) http://", ["javascript:alert(1) http://"]],
  ["https://a.example", ["<https://a.example>"]],
  ["", []],
])("links in %j", (text, expected) => {
  const pieces = linkify(text);
  expect(pieces.map((piece) => (piece.url === undefined ? piece.text : `<${piece.url}>`))).toEqual(expected);
  expect(pieces.map((piece) => piece.text).join("")).toBe(text);
});

it("counts bytes as they are sent", () => {
  expect(messageBytes("abc")).toBe(5);
  expect(messageBytes("ä\n")).toBe(6);
});

describe("errors", () => {
  it("are explained by code, then by status", () => {
    expect(explainError({ errcode: "M_FORBIDDEN", httpStatus: 403 })).toBe(strings.problem.forbidden);
    const key = `k51${"a".repeat(55)}7x3p`;
    const error = `${key}.alt, a server among peers, and example.org, a server of the web, cannot reach each other.`;
    const apart = { errcode: "M_FORBIDDEN", httpStatus: 403, data: { error, "org.warren.apart": true } };
    const said = "…7x3p, a server among peers, and example.org, a server of the web, cannot reach each other";
    expect(explainError(apart)).toBe(strings.problem.apart(said));
    expect(joinFailure(apart, true)).toBe("apart");
    for (const mark of [false, "true", 1]) {
      expect(explainError({ ...apart, data: { error, "org.warren.apart": mark } })).toBe(strings.problem.forbidden);
    }
    expect(explainError({ errcode: "M_UNKNOWN", httpStatus: 502 })).toBe(strings.problem.unreachable);
    expect(explainError({ httpStatus: 507 })).toBe(strings.problem.storageFull);
    expect(explainError({ errcode: "M_BAD", httpStatus: 400, data: { error: "odd" } })).toBe(strings.problem.unexpected("odd"));
    expect(explainError(Object.assign(new Error("x"), { name: "ConnectionError" }))).toBe(strings.problem.noAnswer);
    expect(explainError(undefined)).toContain("unexpected");
  });

  it("of a join say what to do about it", () => {
    expect(joinFailure({ errcode: "M_FORBIDDEN" }, true)).toBe("forbidden");
    expect(joinFailure({ errcode: "M_UNKNOWN", httpStatus: 502 }, false)).toBe("unreachable");
    expect(joinFailure({ errcode: "M_UNKNOWN", httpStatus: 502 }, true)).toBe("offline");
    expect(joinFailure({ errcode: "M_INCOMPATIBLE_ROOM_VERSION", httpStatus: 400 }, false)).toBe("version");
    expect(joinFailure({ errcode: "M_NOT_FOUND", httpStatus: 404 }, false)).toBe("notFound");
    expect(joinFailure({ httpStatus: 507 }, false)).toBe("full");
    expect(joinFailure(new Error("?"), false)).toBe("other");
  });
});

describe("kept values", () => {
  const refusing = {
    getItem: (): string => {
      throw new Error("blocked");
    },
    setItem: (): void => {
      throw new Error("blocked");
    },
    removeItem: (): void => {
      throw new Error("blocked");
    },
  };

  it("last as long as the page where storage is refused or absent", () => {
    for (const storage of [refusing, undefined]) {
      const kept = new KeptValues(storage);
      expect(kept.get("a")).toBeUndefined();
      kept.set("a", "1");
      expect(kept.get("a")).toBe("1");
      kept.remove("a");
      expect(kept.get("a")).toBeUndefined();
    }
  });

  it("give a session back only whole, and per profile", () => {
    const kept = new KeptValues(undefined);
    const session = { userId: "@a:x", deviceId: "D", accessToken: "T", password: makePassword() };
    saveSession(kept, "ada", session);
    expect(loadSession(kept, "ada")).toEqual(session);
    expect(loadSession(kept, "bob")).toBeUndefined();
    for (const damaged of ["", "{", "null", "[]", JSON.stringify({ ...session, accessToken: 3 })]) {
      kept.set("warren:ada:session", damaged);
      expect(loadSession(kept, "ada"), damaged).toBeUndefined();
    }
    expect(makePassword()).not.toBe(session.password);
  });
});

describe("watched values", () => {
  it("tell of changes and of nothing else", () => {
    const value = new Observable(1);
    let told = 0;
    const stop = value.subscribe(() => (told += 1));
    value.set(1);
    value.set(2);
    stop();
    value.set(3);
    expect([value.get(), told]).toEqual([3, 1]);
  });

  it("compute once per burst, and listen only while watched", async () => {
    let source = 1;
    let computed = 0;
    let changed: (() => void) | undefined;
    const derived = new Derived(
      () => {
        computed += 1;
        return source;
      },
      (tell) => {
        changed = tell;
        return () => (changed = undefined);
      },
    );
    let told = 0;
    const stop = derived.subscribe(() => (told += 1));
    expect(derived.get()).toBe(1);
    source = 2;
    for (let n = 0; n < 100; n += 1) changed?.();
    await Promise.resolve();
    expect([derived.get(), told, computed]).toEqual([2, 1, 2]);
    stop();
    expect(changed).toBeUndefined();
    source = 3;
    derived.subscribe(() => undefined);
    expect(derived.get()).toBe(3);
  });
});

it("makes rooms that are open by link and in no list, or invite-only", () => {
  expect(roomCreationRequest({ name: " Garden ", access: "link" })).toMatchObject({ name: "Garden", preset: "public_chat", visibility: "private" });
  expect(roomCreationRequest({ name: "G", access: "invite" })).toMatchObject({ preset: "private_chat", visibility: "private" });
});

it("asks under one id for one thing", () => {
  const asked = newRoom("Garden", "link");
  expect(asked.requestId).toMatch(/^[A-Za-z0-9-]{1,64}$/);
  expect(newRoom("Garden", "link").requestId).not.toBe(asked.requestId);
});

it("names roles by power", () => {
  expect([Infinity, 100, 50, 0, -1].map((power) => roleOf(power, 0))).toEqual(["creator", "admin", "moderator", "member", "muted"]);
});

it.each([
  ["@ada:x.example", true],
  [`@ada:${KEY_SERVER}`, true],
  ["ada:x", false],
  ["@ada", false],
  ["@a b:x", false],
  ["@:x", false],
])("%s is a user id: %s", (text, expected) => {
  expect(isUserId(text)).toBe(expected);
});

it("draws QR codes of links, and none of what is too long", () => {
  const code = qrPath("https://warren.example/#/join/x");
  expect(code?.size).toBeGreaterThan(20);
  expect(code?.path).toMatch(/^(M\d+ \d+h\d+v1h-\d+z)+$/);
  expect(qrPath("x".repeat(5_000))).toBeUndefined();
});

it("says days and waits", () => {
  const now = new Date(2026, 4, 3, 0, 30).getTime();
  expect(dayWords(now, now)).toBe("Today");
  expect(dayWords(now - 60 * 60 * 1000, now)).toBe("Yesterday");
  expect(dayWords(new Date(2025, 4, 3).getTime(), now)).toContain("2025");
  expect(shortMoment(now - 60 * 60 * 1000, now)).toBe("Yesterday");
  expect(untilWords(now + 20_000, now)).toBe("in 20 seconds");
  expect(untilWords(now + 600_000, now)).toBe("in 10 minutes");
  expect(untilWords(now - 1, now)).toBe("now");
});
