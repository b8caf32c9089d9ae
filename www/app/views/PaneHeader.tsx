// The head of a pane: the way back on narrow screens, the title, and what belongs beside it.

import type { ReactNode } from "react";
import { formatRoute } from "../models/route.ts";
import { strings } from "../strings.ts";
import { Icon } from "./Icon.tsx";
import type { NamedRoute } from "./use-route.ts";

export interface PaneHeaderProps {
  title: string;
  back: NamedRoute;
  /** "narrow": the way back is shown where there is room for one pane only. "close": always, as a cross on wide screens. */
  backShown: "narrow" | "close";
  subtitle?: ReactNode;
  children?: ReactNode;
}

export function PaneHeader({ title, back, backShown, subtitle, children }: PaneHeaderProps) {
  return (
    <header className="pane-header">
      <a className="icon-button narrow-only" href={formatRoute(back)} aria-label={strings.general.back}>
        <Icon name="back" />
      </a>
      <div className="pane-title">
        <h2 tabIndex={-1} data-pane-title="">
          {title}
        </h2>
        {subtitle !== undefined && <div className="pane-subtitle">{subtitle}</div>}
      </div>
      {children}
      {backShown === "close" && (
        <a className="icon-button wide-only" href={formatRoute(back)} aria-label={strings.general.close}>
          <Icon name="close" />
        </a>
      )}
    </header>
  );
}
