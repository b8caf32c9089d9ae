// Where one writes: Enter sends, Shift+Enter begins a new line, and what is not sent yet stays.

import { useEffect, useMemo, useRef, useState } from "react";
import type { Account } from "../models/account.ts";
import type { Drafts } from "../models/drafts.ts";
import { messageBytes, MESSAGE_MAX_BYTES } from "../models/message-body.ts";
import type { RoomFacts } from "../models/room-facts.ts";
import type { RoomTimeline } from "../models/room-timeline.ts";
import { TypingNotice } from "../models/typing-notice.ts";
import { strings } from "../strings.ts";
import { Icon } from "./Icon.tsx";

export interface ComposerProps {
  account: Account;
  facts: RoomFacts;
  timeline: RoomTimeline;
  drafts: Drafts;
}

export function Composer({ account, facts, timeline, drafts }: ComposerProps) {
  const { roomId } = facts;
  const [text, setText] = useState(() => drafts.get(roomId));
  const field = useRef<HTMLTextAreaElement>(null);
  const typing = useMemo(() => new TypingNotice(account.client, roomId), [account, roomId]);
  useEffect(() => () => typing.stop(), [typing]);
  const bytes = messageBytes(text);
  const tooLong = bytes > MESSAGE_MAX_BYTES;
  const write = (value: string): void => {
    setText(value);
    drafts.set(roomId, value);
    typing.changed(value.trim());
  };
  const send = (): void => {
    if (text.trim() === "" || tooLong) return;
    timeline.send(text.trim());
    write("");
    field.current?.focus();
  };
  if (!facts.mayWrite && !facts.arriving) return <p className="composer refused">{strings.room.mayNotSend}</p>;
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-grow" data-text={text}>
        <textarea
          ref={field}
          rows={1}
          value={text}
          enterKeyHint="send"
          aria-label={strings.room.composerLabel}
          placeholder={strings.room.composerPlaceholder}
          aria-describedby={tooLong ? "too-long" : undefined}
          aria-invalid={tooLong}
          dir="auto"
          onChange={(event) => write(event.target.value)}
          onBlur={() => typing.stop()}
          onKeyDown={(event) => {
            // While a character is being composed, Enter chooses it.
            if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
            event.preventDefault();
            send();
          }}
        />
      </div>
      <button type="submit" className="icon-button send" disabled={text.trim() === "" || tooLong} aria-label={strings.room.send} title={strings.room.send}>
        <Icon name="send" />
      </button>
      {tooLong && (
        <p id="too-long" className="problem" role="alert">
          {strings.room.tooLong(bytes, MESSAGE_MAX_BYTES)}
        </p>
      )}
    </form>
  );
}
