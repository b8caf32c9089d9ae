// The paths of the direct connections, asked for again and again while somebody wants to see them.

import { useEffect, useState } from "react";
import type { KnownPaths } from "../models/peer-words.ts";
import { usePage } from "./page.ts";

const EVERY_MS = 2_000;

/** While `isWanted` is false nobody is asked. */
export function useDirectPaths(isWanted: boolean): KnownPaths {
  const { host } = usePage();
  const [paths, setPaths] = useState<KnownPaths>();
  useEffect(() => {
    if (!isWanted) return undefined;
    let isCurrent = true;
    const ask = async (): Promise<void> => {
      const latest = await host.directPaths();
      if (isCurrent) setPaths(latest ?? "unknown");
    };
    void ask();
    const timer = setInterval(() => void ask(), EVERY_MS);
    return () => {
      isCurrent = false;
      clearInterval(timer);
      setPaths(undefined);
    };
  }, [host, isWanted]);
  return paths;
}
