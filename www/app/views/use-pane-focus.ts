// After going somewhere, the keyboard and the screen reader follow: to the composer of a room, or to the title of a pane.

import { useEffect, useRef } from "react";
import type { Route } from "../models/route.ts";

/** A screen that is wide or has a keyboard; elsewhere focus in a text field would open a keyboard nobody asked for. */
const TYPES_AT_ONCE = "(min-width: 48rem) and (hover: hover)";

export function usePaneFocus(route: Route): void {
  const first = useRef(true);
  const place = placeOf(route);
  useEffect(() => {
    const arrivedHere = first.current;
    first.current = false;
    const target = selectorsFor(place)
      .map((selector) => document.querySelector<HTMLElement>(selector))
      .find((found) => found !== null);
    // A page that was just loaded keeps the browser's own order, except that one may write at once.
    if (arrivedHere && !(target instanceof HTMLTextAreaElement)) return;
    target?.focus({ preventScroll: true });
  }, [place]);
}

function placeOf(route: Route): string {
  return route.view === "room" ? `room ${route.roomId} ${route.panel ?? ""}` : route.view;
}

/** Where the focus goes, the best place first. */
function selectorsFor(place: string): string[] {
  const title = ".main [data-pane-title]";
  if (place === "home") return [".sidebar [data-pane-title]"];
  if (!place.startsWith("room ")) return [".main [data-autofocus]", title];
  if (!place.endsWith(" ")) return [".panel [data-pane-title]"];
  return matchMedia(TYPES_AT_ONCE).matches ? [".composer textarea", title] : [title];
}
