// Calms a value that may flicker: what lasts shorter than the delay is never shown.

import { useEffect, useState } from "react";

/** The last value that stayed the same for `delayMs`; at first, the first value. `key` says when two values are the same. */
export function useSteady<T>(value: T, key: string, delayMs: number): T {
  const [shown, setShown] = useState({ value, key });
  useEffect(() => {
    if (key === shown.key) return undefined;
    const timer = setTimeout(() => setShown({ value, key }), delayMs);
    return () => clearTimeout(timer);
    // `value` is what `key` stands for.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [key, shown.key, delayMs]);
  return shown.value;
}
