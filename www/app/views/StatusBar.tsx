// Says in plain words how we are connected, whether anything waits to be sent, and what is wrong if something is.

import { useId, useRef, useState } from "react";
import { statusLine, statusWarning, type PeopleOf } from "../models/status-words.ts";
import { strings } from "../strings.ts";
import { ConnectionDetails } from "./ConnectionDetails.tsx";
import { Icon } from "./Icon.tsx";
import { usePage } from "./page.ts";
import { useDirectPaths } from "./use-direct-paths.ts";
import { useNow } from "./use-now.ts";
import { useReadable } from "./use-readable.ts";
import { useSteady } from "./use-steady.ts";

/** A message is on its way for a moment each time one is written; only what lasts is worth a word. */
const STEADY_MS = 800;
const CLOCK_MS = 5_000;

export function StatusBar({ peopleAt }: { peopleAt: PeopleOf }) {
  const { host } = usePage();
  const view = useReadable(host.status);
  const current = statusLine(view, peopleAt);
  const line = useSteady(current, `${current.tone} ${current.text}`, STEADY_MS);
  const nowMs = useNow(CLOCK_MS);
  const warning = statusWarning(view, nowMs);
  const [isOpen, setOpen] = useState(false);
  const paths = useDirectPaths(isOpen);
  const detailsId = useId();
  const details = useRef<HTMLDivElement>(null);
  return (
    <footer className="status" aria-label={strings.status.region}>
      <div role="alert">
        {warning && (
          <p className={`status-warning ${warning.tone}`}>
            <Icon name="alert" />
            <span>{warning.text}</span>
            {warning.reload && (
              <button type="button" className="link-button" onClick={() => location.reload()}>
                {strings.status.reload}
              </button>
            )}
          </p>
        )}
      </div>
      <div className="status-line">
        <span className={`dot ${line.tone}`} aria-hidden="true" />
        <span role="status" className="status-text">
          {line.text}
        </span>
        {view.role === "follower" && <span className="status-guest">{strings.status.guest}</span>}
        <button type="button" className="link-button" popoverTarget={detailsId}>
          {strings.status.details}
        </button>
      </div>
      <div
        ref={details}
        id={detailsId}
        popover="auto"
        className="popover"
        role="dialog"
        aria-label={strings.status.detailsTitle}
        onToggle={({ newState }) => setOpen(newState === "open")}
      >
        <ConnectionDetails view={view} paths={paths} peopleAt={peopleAt} nowMs={nowMs} onClose={() => details.current?.hidePopover()} />
      </div>
    </footer>
  );
}
