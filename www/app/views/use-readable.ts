// Lets a component follow a model's value.

import { useCallback, useSyncExternalStore } from "react";
import type { Readable } from "../models/observable.ts";

export function useReadable<T>(readable: Readable<T>): T {
  // The same function at each render: another one would mean to leave and to come back.
  const subscribe = useCallback((changed: () => void) => readable.subscribe(changed), [readable]);
  return useSyncExternalStore(subscribe, () => readable.get());
}
