// Makes a Matrix localpart of a display name, so that nobody has to invent a user name.

const LOCALPART_MAX_CHARS = 24;
const FALLBACK_LOCALPART = "me";

/** Lower-case letters, digits, `.`, `_` and `-`, at most 24 characters; "me" when the name has nothing of the kind. */
export function localpartFrom(displayName: string): string {
  const ascii = displayName
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-");
  const trimmed = trimEdges(ascii).slice(0, LOCALPART_MAX_CHARS);
  // A localpart of digits alone is reserved for guests by some homeservers.
  const localpart = trimEdges(/^[0-9]+$/.test(trimmed) ? `${FALLBACK_LOCALPART}-${trimmed}` : trimmed);
  return localpart || FALLBACK_LOCALPART;
}

/** The nth name to try when earlier ones are taken (n counts from 0). */
export function nthLocalpart(localpart: string, n: number): string {
  return n === 0 ? localpart : `${localpart}-${n + 1}`;
}

function trimEdges(text: string): string {
  return text.replace(/^[._-]+|[._-]+$/g, "");
}
