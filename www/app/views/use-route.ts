// The route the address's fragment names, and the way to go to another.

import { useMemo, useSyncExternalStore } from "react";
import { formatRoute, parseRoute, type Route } from "../models/route.ts";

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return useMemo(() => parseRoute(hash), [hash]);
}

export type NamedRoute = Parameters<typeof formatRoute>[0];

/** Goes there as following a link does: the way back leads here. */
export function goTo(route: NamedRoute): void {
  location.hash = formatRoute(route);
}

/** Goes there without leaving a trace: the way back skips what is shown now. */
export function replaceRoute(route: NamedRoute): void {
  const url = new URL(location.href);
  url.hash = formatRoute(route);
  history.replaceState(null, "", url);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

function subscribe(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}
