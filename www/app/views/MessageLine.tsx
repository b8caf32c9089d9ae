// One message: who, what, when, how far it got, and what can be done about it.

import { linkify } from "../models/linkify.ts";
import { hueOf } from "../models/names.ts";
import type { RoomTimeline } from "../models/room-timeline.ts";
import type { MessageItem, Sending } from "../models/timeline-items.ts";
import { momentWords, timeWords } from "../models/time-words.ts";
import { strings } from "../strings.ts";
import { Avatar } from "./Avatar.tsx";
import { Icon, type IconName } from "./Icon.tsx";

export interface MessageLineProps {
  item: MessageItem;
  timeline: RoomTimeline;
  onDelete: (eventId: string) => void;
}

export function MessageLine({ item, timeline, onDelete }: MessageLineProps) {
  const { own, first, last, sender, senderName } = item;
  const classes = ["message", own ? "own" : "other", first && "first", last && "last", item.sending === "failed" && "failed"];
  return (
    // Focusable so that a tap shows, where nothing can hover, what can be done.
    <li className={classes.filter(Boolean).join(" ")} tabIndex={-1}>
      {!own && <span className="message-avatar">{last && <Avatar id={sender} name={senderName} />}</span>}
      <div className="bubble">
        <span className={first && !own ? `sender hue-${hueOf(sender)}` : "unseen"}>{own ? strings.room.ownMessage : senderName}</span>
        <Body item={item} />
        <span className="message-meta">
          <time dateTime={new Date(item.atMs).toISOString()} title={momentWords(item.atMs)}>
            {timeWords(item.atMs)}
          </time>
          {own && <SendingSign sending={item.sending} />}
        </span>
      </div>
      {item.mayDelete && (
        <button
          type="button"
          className="icon-button message-action"
          aria-label={strings.room.deleteOf(timeWords(item.atMs))}
          title={strings.room.delete}
          onClick={() => onDelete(item.eventId)}
        >
          <Icon name="trash" />
        </button>
      )}
      {item.sending === "failed" && <Failed item={item} timeline={timeline} />}
    </li>
  );
}

function Body({ item: { body, senderName } }: { item: MessageItem }) {
  if (body.kind === "placeholder") return <p className="body placeholder">{body.text}</p>;
  return (
    <p className={`body ${body.kind}`} dir="auto">
      {body.kind === "emote" && `${senderName} `}
      {linkify(body.text).map((piece, index) =>
        piece.url === undefined ? piece.text : <WebLink key={index} url={piece.url} text={piece.text} />,
      )}
      {body.edited && <span className="edited"> ({strings.room.edited})</span>}
    </p>
  );
}

/** A link to this page (an invitation to another room, say) opens here; any other in a tab of its own. */
function WebLink({ url, text }: { url: string; text: string }) {
  const here = new URL(url).origin === location.origin && new URL(url).pathname === location.pathname;
  return (
    <a href={here ? new URL(url).hash || "#/" : url} {...(!here && { target: "_blank", rel: "noopener noreferrer" })}>
      {text}
    </a>
  );
}

const SENDING_SIGNS: Record<Sending, { icon: IconName; label: string }> = {
  sent: { icon: "check", label: strings.room.sent },
  sending: { icon: "clock", label: strings.room.sending },
  queued: { icon: "clock", label: strings.room.queued },
  failed: { icon: "alert", label: strings.room.notSent },
};

function SendingSign({ sending }: { sending: Sending }) {
  const { icon, label } = SENDING_SIGNS[sending];
  return (
    <span className={`sending ${sending}`} title={label}>
      <Icon name={icon} />
      <span className="unseen">{label}</span>
    </span>
  );
}

function Failed({ item, timeline }: { item: MessageItem; timeline: RoomTimeline }) {
  return (
    <p className="message-failure" role="alert">
      {strings.room.notSent} {item.failure}{" "}
      <button type="button" className="link-button" onClick={() => timeline.retry(item.key)}>
        {strings.room.retry}
      </button>
      <button type="button" className="link-button" onClick={() => timeline.discard(item.key)}>
        {strings.room.discard}
      </button>
    </p>
  );
}
