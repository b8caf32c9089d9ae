// The link that lets a friend in: `<page>#/join/<room id>?via=<server>&addr=<multiaddr>&v=1`. docs/protocol.md describes the format.
//
// `v` comes last on purpose: a link that lost its end on the way lost `v` too, so it is told apart from a whole one.

export interface JoinLink {
  roomId: string;
  /** Homeservers that can let us in, the link's maker first. At least one. */
  via: string[];
  /** Multiaddrs at which the first of `via` was reachable when the link was made. */
  addresses: string[];
}

export type JoinLinkProblem =
  "not-a-link" | "other-app" | "cut-short" | "too-long" | "newer-version" | "bad-room" | "bad-server" | "bad-address";

export type ParsedJoinLink = { ok: true; link: JoinLink } | { ok: false; problem: JoinLinkProblem };

export const JOIN_LINK_MAX_CHARS = 4096;
export const JOIN_LINK_MAX_SERVERS = 8;
export const JOIN_LINK_MAX_ADDRESSES = 8;
const ROOM_ID_MAX_CHARS = 255;
const SERVER_NAME_MAX_CHARS = 230;
const ADDRESS_MAX_CHARS = 512;
const JOIN_LINK_VERSION = "1";

const JOIN_PREFIX = "#/join/";
// Room versions 12 and later name a room by the hash of its first event; earlier ones by an opaque name and a server.
const HASHED_ROOM_ID = /^![A-Za-z0-9_-]{43}$/;
const SERVER_NAME = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;
const MULTIADDR = /^(?:\/[A-Za-z0-9._~:+=-]+)+$/;

/** The link's text. `pageUrl` is where the page lives, without a fragment. */
export function formatJoinLink(pageUrl: string, link: JoinLink): string {
  const parameters = [
    ...link.via.slice(0, JOIN_LINK_MAX_SERVERS).map((server) => `via=${encode(server)}`),
    ...link.addresses.slice(0, JOIN_LINK_MAX_ADDRESSES).map((address) => `addr=${encode(address)}`),
    `v=${JOIN_LINK_VERSION}`,
  ];
  return `${pageUrl}${JOIN_PREFIX}${encodeURIComponent(link.roomId)}?${parameters.join("&")}`;
}

/** True when a fragment means to be a join link, whole or not. */
export function isJoinHash(hash: string): boolean {
  return hash === "#/join" || hash.startsWith(JOIN_PREFIX);
}

/** Reads a page's fragment, `#` included. Strict: whatever is not exactly a link is a named problem. */
export function parseJoinHash(hash: string): ParsedJoinLink {
  if (hash.length > JOIN_LINK_MAX_CHARS) return failed("too-long");
  if (!isJoinHash(hash)) return failed("not-a-link");
  const rest = dropTrailingPunctuation(hash).slice(JOIN_PREFIX.length);
  const question = rest.indexOf("?");
  if (question < 0) return failed("cut-short");

  const parameters = new URLSearchParams(rest.slice(question + 1));
  const version = parameters.get("v");
  if (version === null || version === "") return failed("cut-short");
  if (version !== JOIN_LINK_VERSION) return failed(/^[0-9]+$/.test(version) ? "newer-version" : "cut-short");

  const roomId = decode(rest.slice(0, question));
  if (roomId === undefined || !isRoomId(roomId)) return failed("bad-room");
  const via = [...new Set(parameters.getAll("via"))];
  if (via.length === 0) return failed("cut-short");
  if (via.length > JOIN_LINK_MAX_SERVERS || !via.every(isServerName)) return failed("bad-server");
  const addresses = [...new Set(parameters.getAll("addr"))];
  if (addresses.length > JOIN_LINK_MAX_ADDRESSES || !addresses.every(isAddress)) return failed("bad-address");
  return { ok: true, link: { roomId, via, addresses } };
}

/** Reads what somebody pasted: a whole link, or only its fragment. */
export function parsePastedLink(text: string): ParsedJoinLink {
  const trimmed = text.trim().replace(/^<|>$/g, "");
  if (trimmed.length > JOIN_LINK_MAX_CHARS) return failed("too-long");
  const hashAt = trimmed.indexOf("#");
  if (hashAt >= 0 && isJoinHash(trimmed.slice(hashAt))) return parseJoinHash(trimmed.slice(hashAt));
  return failed(/^matrix:|\bmatrix\.to\/|^[!#@]\S+:\S/.test(trimmed) ? "other-app" : "not-a-link");
}

/** True when a page at this address can be opened only on the machine it was made on. */
export function worksOnThisMachineOnly(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    hostname === "0.0.0.0" ||
    /^127(?:\.[0-9]+){3}$/.test(hostname)
  );
}

/** Where links should point: the address the operator published, unless that is local and the page's own is not needed elsewhere. */
export function linkPageUrl(ownUrl: string, publicUrl: string | undefined): string {
  const own = new URL(ownUrl);
  const fallback = `${own.origin}${own.pathname}`;
  if (publicUrl === undefined || !URL.canParse(publicUrl) || worksOnThisMachineOnly(publicUrl)) return fallback;
  const published = new URL(publicUrl);
  return `${published.origin}${published.pathname}`;
}

function isRoomId(roomId: string): boolean {
  if (roomId.length > ROOM_ID_MAX_CHARS || !/^![\x21-\x7e]+$/.test(roomId)) return false;
  const colon = roomId.indexOf(":");
  if (colon < 0) return HASHED_ROOM_ID.test(roomId);
  return colon > 1 && isServerName(roomId.slice(colon + 1));
}

function isServerName(name: string): boolean {
  return name.length <= SERVER_NAME_MAX_CHARS && SERVER_NAME.test(name);
}

function isAddress(address: string): boolean {
  return address.length <= ADDRESS_MAX_CHARS && MULTIADDR.test(address) && address.includes("/p2p/");
}

/** Slashes and colons are allowed in a fragment; leaving them alone keeps links readable and QR codes small. */
function encode(value: string): string {
  return encodeURIComponent(value).replaceAll("%2F", "/").replaceAll("%3A", ":");
}

function decode(value: string): string | undefined {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

/** Chat programs like to take the full stop or bracket after a link for a part of it. */
function dropTrailingPunctuation(text: string): string {
  return text.replace(/[.,;:!?)\]}>'"\s]+$/, "");
}

function failed(problem: JoinLinkProblem): ParsedJoinLink {
  return { ok: false, problem };
}
