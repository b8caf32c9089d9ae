// A profile is one identity's storage in this browser; its name is in the page's address and in the keys of what we keep.

import { DEFAULT_PROFILE } from "../../host/index.ts";

const PROFILE_NAME = /^[a-z0-9-]{1,32}$/;

/** The profile a page's query names; undefined when it names one that is not `[a-z0-9-]{1,32}`. */
export function profileFromQuery(query: string): string | undefined {
  const name = new URLSearchParams(query).get("profile");
  if (name === null) return DEFAULT_PROFILE;
  return PROFILE_NAME.test(name) ? name : undefined;
}

/** The key under which this profile keeps something in the browser's key-value storage. */
export function storageKey(profile: string, name: string): string {
  return `warren:${profile}:${name}`;
}
