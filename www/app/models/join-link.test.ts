// Holds the link format: what is made is read back, and whatever was damaged on the way is refused by name.

import { describe, expect, it } from "vitest";
import {
  formatJoinLink,
  JOIN_LINK_MAX_CHARS,
  linkPageUrl,
  parseJoinHash,
  parsePastedLink,
  worksOnThisMachineOnly,
  type JoinLink,
} from "./join-link.ts";

const LABEL = `k51qzi5uqu5d${"a".repeat(50)}`;
const PAGE = "https://warren.example/";
const LINK: JoinLink = {
  roomId: "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
  via: [`${LABEL}.alt`, "other.example:8448"],
  addresses: ["/dns4/warren.example/tcp/443/tls/ws/p2p/12D3KooWRelay/p2p-circuit/p2p/12D3KooWSelf"],
};

const hashOf = (text: string): string => text.slice(text.indexOf("#"));
const problemOf = (hash: string): string => {
  const parsed = parseJoinHash(hash);
  return parsed.ok ? "none" : parsed.problem;
};

describe("a join link", () => {
  it("is read back as it was made", () => {
    const text = formatJoinLink(PAGE, LINK);
    expect(text.startsWith("https://warren.example/#/join/!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM?via=k51")).toBe(true);
    expect(parseJoinHash(hashOf(text))).toEqual({ ok: true, link: LINK });
  });

  it("keeps room ids of earlier room versions and characters that mean something in addresses", () => {
    const link: JoinLink = { roomId: "!a&b=c#d%e+f?:old.example", via: ["[::1]:8448"], addresses: ["/ip6/::1/tcp/80/ws/p2p/Qm+a=b"] };
    expect(parseJoinHash(hashOf(formatJoinLink(PAGE, link)))).toEqual({ ok: true, link });
  });

  it("needs no address", () => {
    const link = { ...LINK, addresses: [] };
    expect(parseJoinHash(hashOf(formatJoinLink(PAGE, link)))).toEqual({ ok: true, link });
  });

  it("is never mistaken for whole when its end is missing", () => {
    const hash = hashOf(formatJoinLink(PAGE, LINK));
    for (let length = "#/join/".length; length < hash.length; length += 1) {
      expect(problemOf(hash.slice(0, length)), `cut after ${length}`).toBe("cut-short");
    }
  });

  it("forgives the punctuation a chat program took for a part of it", () => {
    const hash = hashOf(formatJoinLink(PAGE, LINK));
    for (const tail of [".", ",", ")", ">", "!", "\"", ")."]) expect(problemOf(hash + tail)).toBe("none");
  });

  it("drops what is said twice", () => {
    const hash = "#/join/!a:b.example?via=b.example&via=b.example&v=1";
    expect(parseJoinHash(hash)).toEqual({ ok: true, link: { roomId: "!a:b.example", via: ["b.example"], addresses: [] } });
  });
});

describe("a damaged or foreign link", () => {
  const room = LINK.roomId;
  it.each([
    ["#/room/x", "not-a-link"],
    ["", "not-a-link"],
    ["#/join", "cut-short"],
    [`#/join/${room}`, "cut-short"],
    [`#/join/${room}?v=1`, "cut-short"],
    [`#/join/${room}?via=a.example&v=2`, "newer-version"],
    [`#/join/${room}?via=a.example&v=x`, "cut-short"],
    ["#/join/?via=a.example&v=1", "bad-room"],
    [`#/join/${room.slice(0, -1)}?via=a.example&v=1`, "bad-room"],
    ["#/join/!:a.example?via=a.example&v=1", "bad-room"],
    ["#/join/!a%20b:a.example?via=a.example&v=1", "bad-room"],
    ["#/join/%E0%A4%A?via=a.example&v=1", "bad-room"],
    ["#/join/#alias:a.example?via=a.example&v=1", "bad-room"],
    [`#/join/${room}?via=a%20b&v=1`, "bad-server"],
    [`#/join/${room}?via=-a.example&v=1`, "bad-server"],
    [`#/join/${room}?via=${"a".repeat(300)}&v=1`, "bad-server"],
    [`#/join/${room}?${Array.from({ length: 9 }, (_, n) => `via=s${n}.example`).join("&")}&v=1`, "bad-server"],
    [`#/join/${room}?via=a.example&addr=javascript:alert(1)&v=1`, "bad-address"],
    [`#/join/${room}?via=a.example&addr=/ip4/1.2.3.4/tcp/1&v=1`, "bad-address"],
    [`#/join/${room}?via=a.example&addr=/dns/a%0Ab/p2p/x&v=1`, "bad-address"],
    [`#/join/${room}?via=a.example&${"x".repeat(JOIN_LINK_MAX_CHARS)}&v=1`, "too-long"],
  ])("%s is %s", (hash, problem) => {
    expect(problemOf(hash)).toBe(problem);
  });
});

describe("a pasted text", () => {
  it("may be a whole link, its fragment, or a link in angle brackets", () => {
    const text = formatJoinLink(PAGE, LINK);
    for (const pasted of [text, hashOf(text), `  ${text}\n`, `<${text}>`]) expect(parsePastedLink(pasted)).toEqual({ ok: true, link: LINK });
  });

  it.each([
    ["https://matrix.to/#/!room:server?via=server", "other-app"],
    ["matrix:r/room:server", "other-app"],
    ["#alias:server.example", "other-app"],
    ["https://example.org/", "not-a-link"],
    ["hello", "not-a-link"],
    ["", "not-a-link"],
  ])("%s is %s", (text, problem) => {
    expect(parsePastedLink(text)).toEqual({ ok: false, problem });
  });
});

describe("where links point", () => {
  it.each(["http://localhost:8080/", "http://a.localhost/", "http://127.0.0.1/", "http://127.9.9.9:1/", "http://[::1]:8080/", "http://0.0.0.0/"])(
    "%s is on this machine only",
    (url) => expect(worksOnThisMachineOnly(url)).toBe(true),
  );

  it.each(["https://warren.example/", "http://192.168.1.5:8080/", "http://localhost.example/", "http://127.example/"])("%s is not", (url) =>
    expect(worksOnThisMachineOnly(url)).toBe(false),
  );

  it("is the published address, unless that is a local one", () => {
    expect(linkPageUrl("http://localhost:8080/?profile=ada#/x", "https://warren.example")).toBe("https://warren.example/");
    expect(linkPageUrl("http://192.168.1.5:8080/?profile=ada", "http://localhost:8080")).toBe("http://192.168.1.5:8080/");
    expect(linkPageUrl("http://localhost:8080/", undefined)).toBe("http://localhost:8080/");
    expect(linkPageUrl("http://localhost:8080/", "not a url")).toBe("http://localhost:8080/");
  });
});
