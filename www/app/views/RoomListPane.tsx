// The list of rooms and invitations, and the ways to get to more.

import { useState } from "react";
import type { Account } from "../models/account.ts";
import { explainError } from "../models/explain-error.ts";
import type { InviteRow, RoomRow } from "../models/room-list.ts";
import { formatRoute } from "../models/route.ts";
import { shortMoment } from "../models/time-words.ts";
import { APP_NAME, strings } from "../strings.ts";
import { Avatar } from "./Avatar.tsx";
import { Icon } from "./Icon.tsx";
import { Logo } from "./Logo.tsx";
import { goTo } from "./use-route.ts";
import { useNow } from "./use-now.ts";
import { useReadable } from "./use-readable.ts";

const CLOCK_MS = 60_000;

export function RoomListPane({ account, openRoomId }: { account: Account; openRoomId: string | undefined }) {
  const { rooms, invites } = useReadable(account.rooms.rows);
  const ready = useReadable(account.ready);
  const now = useNow(CLOCK_MS);
  const words = strings.rooms;
  return (
    <nav className="sidebar" aria-label={words.title}>
      <header className="sidebar-head">
        <Logo />
        <h2 tabIndex={-1} data-pane-title="">
          {APP_NAME}
        </h2>
        <a className="icon-button" href={formatRoute({ view: "paste-link" })} aria-label={words.openLink} title={words.openLink}>
          <Icon name="link" />
        </a>
        <a className="icon-button accented" href={formatRoute({ view: "new-room" })} aria-label={words.create} title={words.create}>
          <Icon name="plus" />
        </a>
      </header>
      <div className="sidebar-scroll">
        {invites.length > 0 && <Invitations account={account} invites={invites} />}
        {!ready && rooms.length === 0 && <p className="hint padded">{words.catchingUp}</p>}
        {ready && rooms.length === 0 && invites.length === 0 && <NoRooms />}
        <ul className="room-list">
          {rooms.map((room) => (
            <RoomLink key={room.roomId} room={room} now={now} open={room.roomId === openRoomId} />
          ))}
        </ul>
      </div>
      <OwnRow account={account} />
    </nav>
  );
}

function RoomLink({ room, now, open }: { room: RoomRow; now: number; open: boolean }) {
  const unread = open ? 0 : room.unread;
  return (
    <li>
      <a
        className={`room-row${unread > 0 ? " unread" : ""}`}
        href={formatRoute({ view: "room", roomId: room.roomId })}
        aria-current={open ? "page" : undefined}
      >
        <Avatar id={room.roomId} name={room.name} square />
        <span className="room-row-name">{room.name}</span>
        <span className="room-row-when">{room.lastAtMs > 0 && shortMoment(room.lastAtMs, now)}</span>
        <span className="room-row-last">{room.lastLine}</span>
        {unread > 0 && (
          <span className={`badge${room.mentioned ? " mentioned" : ""}`}>
            <span aria-hidden="true">{unread > 99 ? "99+" : unread}</span>
            <span className="unseen">{strings.rooms.unread(unread)}</span>
          </span>
        )}
      </a>
    </li>
  );
}

function Invitations({ account, invites }: { account: Account; invites: InviteRow[] }) {
  return (
    <section aria-labelledby="invitations-title">
      <h3 id="invitations-title" className="list-title">
        {strings.rooms.invites}
      </h3>
      <ul className="room-list">
        {invites.map((invite) => (
          <Invitation key={invite.roomId} account={account} invite={invite} />
        ))}
      </ul>
    </section>
  );
}

export function Invitation({ account, invite }: { account: Account; invite: InviteRow }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const answer = async (accepted: boolean): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await (accepted ? account.rooms.accept(invite.roomId) : account.rooms.decline(invite.roomId));
      if (accepted) goTo({ view: "room", roomId: invite.roomId });
    } catch (error) {
      setProblem(explainError(error));
      setBusy(false);
    }
  };
  return (
    <li className="invite">
      <Avatar id={invite.roomId} name={invite.name} square />
      <span className="room-row-name">{invite.name}</span>
      <span className="room-row-last">{strings.rooms.invitedBy(invite.inviter)}</span>
      <span className="invite-buttons">
        <button type="button" className="button primary small" disabled={busy} onClick={() => void answer(true)}>
          {busy ? strings.rooms.accepting : strings.rooms.accept}
        </button>
        <button type="button" className="button small" disabled={busy} onClick={() => void answer(false)}>
          {strings.rooms.decline}
        </button>
      </span>
      {problem !== undefined && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
    </li>
  );
}

function NoRooms() {
  const words = strings.rooms;
  return (
    <div className="no-rooms">
      <p>{words.none}</p>
      <p className="hint">{words.noneHint}</p>
      <a className="button primary" href={formatRoute({ view: "new-room" })}>
        <Icon name="plus" />
        {words.create}
      </a>
      <a className="button" href={formatRoute({ view: "paste-link" })}>
        <Icon name="link" />
        {words.openLink}
      </a>
    </div>
  );
}

function OwnRow({ account }: { account: Account }) {
  const name = useReadable(account.displayName);
  return (
    <a className="own-row" href={formatRoute({ view: "settings" })}>
      <Avatar id={account.userId} name={name} />
      <span className="own-name">{name}</span>
      <span className="own-hint">{strings.rooms.settings}</span>
    </a>
  );
}
