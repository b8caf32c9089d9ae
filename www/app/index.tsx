// The page's entry: finds the profile, connects to its homeserver, and shows the page.

import { StrictMode, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { connectHost } from "../host/index.ts";
import { Entrance } from "./models/entrance.ts";
import { onHomeserverBack } from "./models/host-signals.ts";
import { KeptValues } from "./models/kept-values.ts";
import { profileFromQuery, storageKey } from "./models/profile.ts";
import { keptTheme } from "./models/theme.ts";
import { App } from "./views/App.tsx";
import { applyTheme } from "./views/apply-theme.ts";
import { BadProfile } from "./views/BadProfile.tsx";
import { FaultBoundary } from "./views/FaultBoundary.tsx";
import { PageContext, type Page } from "./views/page.ts";
import "./styles/index.css";

const kept = new KeptValues(storageOrNone(() => localStorage));
applyTheme(keptTheme(kept));

const profile = profileFromQuery(location.search);
show(profile === undefined ? <BadProfile /> : <ConnectedPage page={connect(profile)} />);

function ConnectedPage({ page }: { page: Page }) {
  return (
    <PageContext value={page}>
      <App />
    </PageContext>
  );
}

function connect(profile: string): Page {
  const host = connectHost({ profile, mayReload });
  const homeserver = { baseUrl: host.baseUrl, fetch: host.fetch.bind(host) };
  const entrance = new Entrance({ homeserver, profile, kept, onHomeserverBack: onHomeserverBack(host.status) });
  // Another tab of the profile may be the one in which the name was typed.
  window.addEventListener("storage", ({ key }) => {
    if (key === storageKey(profile, "session")) entrance.resume();
  });
  return { host, entrance, profile, kept, keptInTab: new KeptValues(storageOrNone(() => sessionStorage)) };
}

/** A reload for a newer build must not take away what somebody is writing; the draft is kept, but the place would be lost. */
function mayReload(): boolean {
  const focused = document.activeElement;
  const writing = focused instanceof HTMLTextAreaElement || focused instanceof HTMLInputElement;
  return !(writing && focused.value !== "") && document.querySelector("dialog[open]") === null;
}

/** Where storage is blocked, even looking at it throws. */
function storageOrNone(storage: () => Storage): Storage | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}

function show(content: ReactNode): void {
  const root = document.getElementById("root");
  if (!root) throw new Error("the page has no #root");
  createRoot(root).render(
    <StrictMode>
      <FaultBoundary>{content}</FaultBoundary>
    </StrictMode>,
  );
}
