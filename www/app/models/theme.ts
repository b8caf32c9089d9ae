// Light, dark, or as the system has it: chosen for the browser, not for a profile.

import type { KeptValues } from "./kept-values.ts";

export type Theme = "system" | "light" | "dark";

export const THEMES: readonly Theme[] = ["system", "light", "dark"];

const THEME_KEY = "warren:theme";

export function keptTheme(kept: KeptValues): Theme {
  const theme = kept.get(THEME_KEY);
  return THEMES.find((known) => known === theme) ?? "system";
}

export function keepTheme(kept: KeptValues, theme: Theme): void {
  if (theme === "system") kept.remove(THEME_KEY);
  else kept.set(THEME_KEY, theme);
}
