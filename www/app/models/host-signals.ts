// What models need to hear of the host, and nothing more: the relay, and when the homeserver answers again.

import type { HostView } from "../../host/index.ts";
import type { RelayState } from "./joining.ts";
import type { Readable } from "./observable.ts";

export function relayState(status: Readable<HostView>): Readable<RelayState> {
  return { get: () => status.get().homeserver?.relay.state, subscribe: (changed) => status.subscribe(changed) };
}

/** Calls back whenever the homeserver begins to answer again. */
export function onHomeserverBack(status: Readable<HostView>): (back: () => void) => () => void {
  return (back) => {
    let phase = status.get().phase;
    return status.subscribe(() => {
      const before = phase;
      phase = status.get().phase;
      if (phase === "running" && before !== "running") back();
    });
  };
}
