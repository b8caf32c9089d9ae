// What every view may need and nobody wants to pass down: the host, the profile, what is kept.

import { createContext, useContext } from "react";
import type { HostConnection } from "../../host/index.ts";
import type { Entrance } from "../models/entrance.ts";
import type { KeptValues } from "../models/kept-values.ts";

export interface Page {
  host: HostConnection;
  entrance: Entrance;
  profile: string;
  /** Kept across reloads of the browser. */
  kept: KeptValues;
  /** Kept while the tab lives. */
  keptInTab: KeptValues;
}

export const PageContext = createContext<Page | undefined>(undefined);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("a view outside of the page");
  return page;
}
