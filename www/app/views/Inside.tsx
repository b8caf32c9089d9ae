// The page of somebody who is in: rooms at the side, one thing in the middle, a panel beside it, the connection below.
// On narrow screens only one of them is shown at a time; which one, the route says.

import { useCallback, useEffect, type ReactNode } from "react";
import type { Account } from "../models/account.ts";
import type { Route } from "../models/route.ts";
import { APP_NAME, strings } from "../strings.ts";
import { JoinRoom } from "./JoinRoom.tsx";
import { Logo } from "./Logo.tsx";
import { NewRoomForm } from "./NewRoomForm.tsx";
import { PasteLink } from "./PasteLink.tsx";
import { RoomListPane } from "./RoomListPane.tsx";
import { RoomPane } from "./RoomPane.tsx";
import { Settings } from "./Settings.tsx";
import { StatusBar } from "./StatusBar.tsx";
import { usePaneFocus } from "./use-pane-focus.ts";
import { useReadable } from "./use-readable.ts";
import { useRoute } from "./use-route.ts";

export function Inside({ account }: { account: Account }) {
  const route = useRoute();
  usePaneFocus(route);
  useTitle(account);
  const peopleAt = useCallback((server: string) => account.peopleAt(server), [account]);
  return (
    <div className={`shell showing-${shownPane(route)}`}>
      <header className="contents">
        <a className="skip-link" href="#/" onClick={skipToMain}>
          {strings.general.skipToContent}
        </a>
        <h1 className="unseen">{APP_NAME}</h1>
      </header>
      <RoomListPane account={account} openRoomId={route.view === "room" ? route.roomId : undefined} />
      <main className="contents">{middle(route, account)}</main>
      <StatusBar peopleAt={peopleAt} />
    </div>
  );
}

function middle(route: Route, account: Account): ReactNode {
  switch (route.view) {
    case "home":
      return (
        <section className="main empty">
          <Logo />
          <p>{strings.rooms.pick}</p>
        </section>
      );
    case "room":
      return <RoomPane key={route.roomId} account={account} roomId={route.roomId} panel={route.panel} />;
    case "new-room":
      return <NewRoomForm account={account} />;
    case "paste-link":
      return <PasteLink />;
    case "settings":
      return <Settings account={account} />;
    case "join":
      return <JoinRoom key={route.hash} account={account} parsed={route.parsed} />;
  }
}

/** The pane that narrow screens show. */
function shownPane(route: Route): "list" | "main" | "panel" {
  if (route.view === "home") return "list";
  return route.view === "room" && route.panel ? "panel" : "main";
}

function useTitle(account: Account): void {
  const { unreadTotal } = useReadable(account.rooms.rows);
  useEffect(() => {
    document.title = unreadTotal > 0 ? `(${unreadTotal}) ${APP_NAME}` : APP_NAME;
  }, [unreadTotal]);
}

/** The fragment is the route, so the skip link moves the focus itself. */
function skipToMain(event: React.MouseEvent): void {
  event.preventDefault();
  document.querySelector<HTMLElement>("main [data-pane-title]")?.focus();
}
