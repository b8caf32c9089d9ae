// One room in the middle: its head, its messages, the composer, and the panel that is open beside it.

import { useEffect, useMemo } from "react";
import { KnownMembership, type Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { Drafts } from "../models/drafts.ts";
import { roomFacts, type RoomFacts } from "../models/room-facts.ts";
import { RoomTimeline } from "../models/room-timeline.ts";
import { formatRoute, type RoomPanel } from "../models/route.ts";
import { strings } from "../strings.ts";
import { Composer } from "./Composer.tsx";
import { Icon, type IconName } from "./Icon.tsx";
import { InfoPanel } from "./InfoPanel.tsx";
import { usePage } from "./page.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { PeoplePanel } from "./PeoplePanel.tsx";
import { Invitation } from "./RoomListPane.tsx";
import { SharePanel } from "./SharePanel.tsx";
import { Timeline } from "./Timeline.tsx";
import { useReadable } from "./use-readable.ts";

export interface RoomPaneProps {
  account: Account;
  roomId: string;
  panel: RoomPanel | undefined;
}

export function RoomPane({ account, roomId, panel }: RoomPaneProps) {
  // The list of rooms changes with each sync that brings or removes a room.
  const { invites } = useReadable(account.rooms.rows);
  useReadable(account.ready);
  const room = account.room(roomId);
  const membership = room?.getMyMembership();
  const invite = invites.find((row) => row.roomId === roomId);
  if (room && membership === KnownMembership.Join) return <OpenRoom account={account} room={room} panel={panel} />;
  return (
    <section className="main page">
      <PaneHeader title={invite?.name ?? strings.rooms.title} back={{ view: "home" }} backShown="close" />
      <div className="page-body centred">
        {invite ? (
          <ul className="room-list">
            <Invitation account={account} invite={invite} />
          </ul>
        ) : membership === undefined && account.isArriving(roomId) ? (
          <>
            <span className="spinner" aria-hidden="true" />
            <p role="status">{strings.room.receiving}</p>
          </>
        ) : (
          <>
            <p>{strings.rooms.leftRoom}</p>
            <p className="hint">{strings.rooms.leftRoomHint}</p>
          </>
        )}
      </div>
    </section>
  );
}

function OpenRoom({ account, room, panel }: { account: Account; room: Room; panel: RoomPanel | undefined }) {
  const { keptInTab, profile } = usePage();
  const facts = useReadable(useMemo(() => roomFacts(account.client, room), [account, room]));
  const timeline = useMemo(() => new RoomTimeline(account.client, room), [account, room]);
  useEffect(() => {
    // Without them people are called by the names in their ids.
    timeline.loadMembers().catch(() => undefined);
  }, [timeline]);
  const drafts = useMemo(() => new Drafts(keptInTab, profile), [keptInTab, profile]);
  return (
    <>
      <section className="main">
        <RoomHeader facts={facts} panel={panel} />
        <Timeline account={account} room={room} timeline={timeline} arriving={facts.arriving} />
        <Composer account={account} facts={facts} timeline={timeline} drafts={drafts} />
      </section>
      {panel === "people" && <PeoplePanel account={account} room={room} facts={facts} />}
      {panel === "share" && <SharePanel account={account} room={room} facts={facts} />}
      {panel === "info" && <InfoPanel account={account} room={room} facts={facts} />}
    </>
  );
}

const PANEL_BUTTONS: { panel: RoomPanel; icon: IconName; label: string }[] = [
  { panel: "share", icon: "share", label: strings.room.share },
  { panel: "people", icon: "people", label: strings.room.people },
  { panel: "info", icon: "info", label: strings.room.info },
];

function RoomHeader({ facts, panel }: { facts: RoomFacts; panel: RoomPanel | undefined }) {
  const { roomId, name, people, topic } = facts;
  return (
    <PaneHeader title={name} back={{ view: "home" }} backShown="narrow" subtitle={topic || strings.room.peopleCount(people)}>
      {PANEL_BUTTONS.map((button) => (
        <a
          key={button.panel}
          className="icon-button"
          href={formatRoute({ view: "room", roomId, panel: panel === button.panel ? undefined : button.panel })}
          aria-label={button.label}
          title={button.label}
          aria-current={panel === button.panel ? "true" : undefined}
        >
          <Icon name={button.icon} />
        </a>
      ))}
    </PaneHeader>
  );
}
