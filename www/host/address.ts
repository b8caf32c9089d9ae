// Where a profile's homeserver is addressed on this origin, and what a request on this origin is for.

export const DEFAULT_PROFILE = "default";
/** What may stand in an address and in the names of locks, channels and databases. */
export const PROFILE_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;

export interface Addressed {
  profile: string;
  /** Path and query as the homeserver knows them, beginning with `/_matrix/` or `/.well-known/matrix/`. */
  path: string;
}

/** `origin` for the default profile, `origin/p/<profile>` for others. */
export function baseUrlOf(origin: string, profile: string): string {
  return profile === DEFAULT_PROFILE ? origin : `${origin}/p/${profile}`;
}

/** Which homeserver `url` is meant for; undefined when it is for none of this origin. */
export function addressed(url: string, origin: string): Addressed | undefined {
  const { origin: itsOrigin, pathname, search } = new URL(url, origin);
  if (itsOrigin !== origin) return undefined;
  const [, named, rest = pathname] = /^\/p\/([^/]+)(\/.*)$/.exec(pathname) ?? [];
  const profile = named ?? DEFAULT_PROFILE;
  if (!PROFILE_PATTERN.test(profile)) return undefined;
  if (!rest.startsWith("/_matrix/") && !rest.startsWith("/.well-known/matrix/")) return undefined;
  return { profile, path: rest + search };
}

/** The answer to a `/.well-known/matrix/...` path, status and content. */
export function wellKnown(path: string, origin: string, profile: string): { status: number; content: object } {
  if (path.split("?")[0] === "/.well-known/matrix/client") {
    return { status: 200, content: { "m.homeserver": { base_url: baseUrlOf(origin, profile) } } };
  }
  // Nobody reaches a tab over HTTP: there is no server to delegate to.
  return { status: 404, content: { errcode: "M_NOT_FOUND", error: "This origin is served to its own browser only." } };
}
