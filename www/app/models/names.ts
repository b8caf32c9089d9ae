// How people and servers are called on screen. Server names here are keys of 62 characters: shown whole they would drown the rest.

const LONG_LABEL_MIN_CHARS = 20;
/** All keys begin alike, so only their end tells them apart. */
const KEPT_END_CHARS = 4;

/** `…7x3p` for a server name that is a key; other server names as they are. */
export function shortServerName(serverName: string): string {
  const label = serverName.split(".", 1)[0] ?? "";
  if (label.length < LONG_LABEL_MIN_CHARS) return serverName;
  return `…${label.slice(-KEPT_END_CHARS)}`;
}

/** `@ada:…7x3p`. */
export function shortUserId(userId: string): string {
  const colon = userId.indexOf(":");
  return colon < 0 ? userId : `${userId.slice(0, colon)}:${shortServerName(userId.slice(colon + 1))}`;
}

/** The server part of a user id; empty when there is none. */
export function serverOf(userId: string): string {
  const colon = userId.indexOf(":");
  return colon < 0 ? "" : userId.slice(colon + 1);
}

/** The localpart of a user id, which stands in for a missing display name. */
export function localpartOf(userId: string): string {
  const colon = userId.indexOf(":");
  return userId.slice(1, colon < 0 ? undefined : colon);
}

export interface NamedUser {
  userId: string;
  displayName: string | undefined;
}

/** Names for these people: display names, told apart by the end of the server's key where two are equal. */
export function tellApart(people: Iterable<NamedUser>): Map<string, string> {
  const byName = new Map<string, string[]>();
  for (const { userId, displayName } of people) {
    const name = plainName(displayName) || localpartOf(userId);
    byName.set(name, [...(byName.get(name) ?? []), userId]);
  }
  const names = new Map<string, string>();
  for (const [name, userIds] of byName) {
    for (const userId of userIds) names.set(userId, userIds.length === 1 ? name : `${name} (${shortUserId(userId)})`);
  }
  return names;
}

/** Without control, direction-changing and invisible characters, with which one name could pass for another or disturb the page. */
export function plainName(name: string | undefined): string {
  return (name ?? "").replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "").replace(/\s+/g, " ").trim();
}

/** The letter or sign an avatar shows. */
export function initialOf(name: string): string {
  const first = [...plainName(name).replace(/^[^\p{L}\p{N}\p{Emoji_Presentation}]+/u, "")][0];
  return (first ?? "?").toLocaleUpperCase();
}

export const AVATAR_HUES = 8;

/** A steady number from 0 to 7 for an id, so that a person keeps one colour. */
export function hueOf(id: string): number {
  let hash = 7;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % AVATAR_HUES;
}
