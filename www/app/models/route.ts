// What the page shows, written in the address's fragment, so that back, forward, reload and links work.

import { isJoinHash, parseJoinHash, type ParsedJoinLink } from "./join-link.ts";

export type RoomPanel = "people" | "share" | "info";

export type Route =
  | { view: "home" }
  | { view: "room"; roomId: string; panel?: RoomPanel }
  | { view: "new-room" }
  | { view: "paste-link" }
  | { view: "settings" }
  | { view: "join"; parsed: ParsedJoinLink; hash: string };

const PANELS: readonly string[] = ["people", "share", "info"] satisfies RoomPanel[];

/** Reads a fragment. Whatever means nothing is home. */
export function parseRoute(hash: string): Route {
  if (isJoinHash(hash)) return { view: "join", parsed: parseJoinHash(hash), hash };
  const [, first, second, third] = hash.split("/");
  if (first === "new") return { view: "new-room" };
  if (first === "link") return { view: "paste-link" };
  if (first === "settings") return { view: "settings" };
  if (first === "room" && second) {
    const roomId = decoded(second);
    if (roomId.startsWith("!")) {
      return third && PANELS.includes(third) ? { view: "room", roomId, panel: third as RoomPanel } : { view: "room", roomId };
    }
  }
  return { view: "home" };
}

/** The fragment of a route, `#` included. */
export function formatRoute(route: Exclude<Route, { view: "join" }>): string {
  switch (route.view) {
    case "home":
      return "#/";
    case "new-room":
      return "#/new";
    case "paste-link":
      return "#/link";
    case "settings":
      return "#/settings";
    case "room":
      return `#/room/${encodeURIComponent(route.roomId)}${route.panel ? `/${route.panel}` : ""}`;
  }
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return "";
  }
}
