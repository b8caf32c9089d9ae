// Puts the chosen colours on the page; the style sheets do the rest.

import type { Theme } from "../models/theme.ts";

export function applyTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
}
