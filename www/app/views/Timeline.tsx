// The messages of a room, oldest at the top; loads older ones as the reader goes up, and marks as read what was at the end.

import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { bodyLine } from "../models/message-body.ts";
import type { RoomTimeline, TimelineView } from "../models/room-timeline.ts";
import type { MessageItem, TimelineItem } from "../models/timeline-items.ts";
import { dayWords } from "../models/time-words.ts";
import { strings } from "../strings.ts";
import { ConfirmDialog } from "./ConfirmDialog.tsx";
import { Icon } from "./Icon.tsx";
import { MessageLine } from "./MessageLine.tsx";
import { TimelineFoot } from "./TimelineFoot.tsx";
import { useNow } from "./use-now.ts";
import { useReadable } from "./use-readable.ts";
import { useTimelineScroll } from "./use-timeline-scroll.ts";
import { usePageVisible } from "./use-page-visible.ts";

/** "Today" becomes "Yesterday" within a minute of midnight. */
const CLOCK_MS = 60_000;

export interface TimelineProps {
  account: Account;
  room: Room;
  timeline: RoomTimeline;
  arriving: boolean;
}

export function Timeline({ account, room, timeline, arriving }: TimelineProps) {
  const view = useReadable(timeline.view);
  const { items, older } = view;
  const [deleting, setDeleting] = useState<string>();
  const visible = usePageVisible();
  const now = useNow(CLOCK_MS);
  const onNearTop = useCallback(() => {
    if (older === "some") void timeline.loadOlder();
  }, [older, timeline]);
  const lastKey = items.at(-1)?.key;
  const { scroller, atEnd, toEnd } = useTimelineScroll(items[0]?.key, lastKey, onNearTop);
  const unseen = useUnseen(items, atEnd);
  useEffect(() => {
    if (atEnd && visible && lastKey !== undefined) timeline.markRead();
  }, [atEnd, visible, lastKey, timeline]);
  const newest = items.findLast((item) => item.kind === "message");
  const ownNewest = newest?.own === true && newest.sending === "sent" ? newest : undefined;
  return (
    <div className="timeline-frame">
      {/* A scrolling region must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div className="timeline" ref={scroller} tabIndex={0} role="region" aria-label={strings.room.timeline}>
        <div className="timeline-content">
          <Beginning older={older} arriving={arriving} onLoad={() => void timeline.loadOlder()} />
          <ol className="lines">
            {items.map((item) => (
              <Line key={item.key} item={item} now={now} timeline={timeline} onDelete={setDeleting} />
            ))}
          </ol>
          {ownNewest && <TimelineFoot account={account} room={room} seenBy={view.seenBy} />}
        </div>
      </div>
      {!atEnd && (
        <button type="button" className="jump" onClick={toEnd}>
          <Icon name="down" />
          {unseen > 0 ? strings.room.newMessages(unseen) : <span className="unseen">{strings.room.jumpToLatest}</span>}
        </button>
      )}
      <p className="typing" role="status">
        {strings.room.typing(view.typing)}
      </p>
      <Announcer items={items} />
      {deleting !== undefined && (
        <ConfirmDialog
          title={strings.room.deleteTitle}
          text={strings.room.deleteText}
          action={strings.room.delete}
          onConfirm={() => timeline.remove(deleting)}
          onClose={() => setDeleting(undefined)}
        />
      )}
    </div>
  );
}

interface LineProps {
  item: TimelineItem;
  now: number;
  timeline: RoomTimeline;
  onDelete: (eventId: string) => void;
}

/** A room may have thousands of lines, of which a message changes one. */
const Line = memo(function Line({ item, now, timeline, onDelete }: LineProps) {
  switch (item.kind) {
    case "day":
      return (
        <li className="day">
          <h2>{dayWords(item.atMs, now)}</h2>
        </li>
      );
    case "unread":
      return (
        <li className="unread-marker" data-unread-marker="">
          <span>{strings.room.unreadMarker}</span>
        </li>
      );
    case "change":
      return <li className="change">{item.text}</li>;
    case "message":
      return <MessageLine item={item} timeline={timeline} onDelete={onDelete} />;
  }
});

function Beginning({ older, arriving, onLoad }: { older: TimelineView["older"]; arriving: boolean; onLoad: () => void }) {
  const words = strings.room;
  if (arriving) return <p className="beginning">{words.receiving}</p>;
  switch (older) {
    case "none":
      return <p className="beginning">{words.beginning}</p>;
    case "loading":
      return (
        <p className="beginning" role="status">
          {words.loadingOlder}
        </p>
      );
    case "failed":
      return (
        <p className="beginning" role="alert">
          {words.olderFailed}{" "}
          <button type="button" className="link-button" onClick={onLoad}>
            {words.retry}
          </button>
        </p>
      );
    case "some":
      return (
        <p className="beginning">
          <button type="button" className="link-button" onClick={onLoad}>
            {words.loadOlder}
          </button>
        </p>
      );
  }
}

/** How many messages of others came since the reader left the end, or opened the room away from it. */
function useUnseen(items: TimelineItem[], atEnd: boolean): number {
  const newestAtMs = useMemo(() => items.findLast((item) => item.kind === "message")?.atMs ?? 0, [items]);
  const [seenAtMs, setSeenAtMs] = useState(newestAtMs);
  if (atEnd && seenAtMs !== newestAtMs) setSeenAtMs(newestAtMs);
  if (atEnd) return 0;
  return items.filter((item) => item.kind === "message" && !item.own && item.atMs > seenAtMs).length;
}

/** Reads new messages of others to screen readers, and nothing of what was there before or is loaded from the past. */
function Announcer({ items }: { items: TimelineItem[] }) {
  const newest = items.findLast((item): item is MessageItem => item.kind === "message" && !item.own);
  const openedWith = useRef(newest?.key);
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!newest || newest.key === openedWith.current) return;
    openedWith.current = newest.key;
    setSaid(strings.room.announce(newest.senderName, bodyLine(newest.body, newest.senderName)));
  }, [newest]);
  return (
    <p className="unseen" aria-live="polite">
      {said}
    </p>
  );
}
