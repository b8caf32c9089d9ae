import { beforeEach, describe, expect, test, vi } from "vitest";
import { DEFAULT_ICE_SETTINGS, keepIceSettings, parseIceServers, readIceSettings, withIceSettings } from "./ice-settings.ts";

const CONFIG = { version: 1, relays: [], iceServers: [{ urls: "stun:here" }], serverNameSuffix: "alt", publicUrl: "" };

beforeEach(() => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value) });
});

describe("servers", () => {
  test("are read a line each", () => {
    expect(parseIceServers("")).toEqual({ servers: [] });
    expect(parseIceServers("  stun:a:3478 \n\nturn:b?transport=tcp  me  secret\n")).toEqual({
      servers: [{ urls: "stun:a:3478" }, { urls: "turn:b?transport=tcp", username: "me", credential: "secret" }],
    });
  });

  test.each(["a", "http://a", "stun://a", "stun:", "stun:a me secret", "turn:a", "turn:a me", "turn:a me secret more", "turn:me@a b c", `stun:${"a".repeat(600)}`])(
    "are refused when a browser would refuse them: %s",
    (line) => expect(parseIceServers(`stun:fine\n${line}`)).toEqual({ badLine: line }),
  );

  test("are not more than browsers like", () => {
    expect(parseIceServers("stun:1\nstun:2\nstun:3\nstun:4\nstun:5")).toEqual({ badLine: "stun:5" });
  });
});

describe("settings", () => {
  test("are kept for each profile", () => {
    const settings = { servers: "stun:mine", hideAddresses: true };
    expect(keepIceSettings("anna", settings)).toBe(true);
    expect(readIceSettings("anna")).toEqual(settings);
    expect(readIceSettings("ben")).toEqual(DEFAULT_ICE_SETTINGS);
  });

  test("that are no settings are none", () => {
    localStorage.setItem("warren:anna:ice", "nonsense");
    expect(readIceSettings("anna")).toEqual(DEFAULT_ICE_SETTINGS);
  });

  test("come before what the server says", () => {
    const config = withIceSettings(CONFIG, { servers: "stun:mine", hideAddresses: true });
    expect(config.iceServers).toEqual([{ urls: "stun:mine" }, { urls: "stun:here" }]);
    expect(config.hideAddresses).toBe(true);
    expect(withIceSettings(CONFIG, { servers: "nonsense", hideAddresses: false }).iceServers).toEqual(CONFIG.iceServers);
  });
});
