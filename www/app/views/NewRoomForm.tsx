// Makes a room: a name, and who may come in.

import { useState } from "react";
import type { Account } from "../models/account.ts";
import { explainError } from "../models/explain-error.ts";
import { newRoom, ROOM_NAME_MAX_CHARS, roomNameProblem } from "../models/new-room.ts";
import { strings } from "../strings.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { replaceRoute } from "./use-route.ts";

export function NewRoomForm({ account }: { account: Account }) {
  const [asked, setAsked] = useState(() => newRoom("", "link"));
  const { name, access } = asked;
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const words = strings.newRoom;
  const create = async (): Promise<void> => {
    const wrong = roomNameProblem(name);
    setProblem(wrong);
    if (wrong !== undefined) return;
    setBusy(true);
    try {
      const roomId = await account.createRoom(asked);
      // A new room is empty: the next thing to do is to invite somebody.
      replaceRoute({ view: "room", roomId, panel: "share" });
    } catch (error) {
      setProblem(explainError(error));
      setBusy(false);
    }
  };
  return (
    <section className="main page">
      <PaneHeader title={words.title} back={{ view: "home" }} backShown="close" />
      <form
        className="form page-body"
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <label htmlFor="room-name">{words.nameLabel}</label>
        <input
          id="room-name"
          className="field"
          data-autofocus=""
          maxLength={ROOM_NAME_MAX_CHARS * 2}
          placeholder={words.namePlaceholder}
          value={name}
          onChange={(event) => setAsked(newRoom(event.target.value, access))}
          aria-describedby="room-name-problem"
          aria-invalid={problem !== undefined}
        />
        <p id="room-name-problem" className="problem" role="alert">
          {problem}
        </p>
        <fieldset className="choices">
          <legend>{words.whoLabel}</legend>
          <Choice title={words.link} hint={words.linkHint} chosen={access === "link"} onChoose={() => setAsked(newRoom(name, "link"))} />
          <Choice title={words.invite} hint={words.inviteHint} chosen={access === "invite"} onChoose={() => setAsked(newRoom(name, "invite"))} />
        </fieldset>
        <button type="submit" className="button primary large" disabled={busy}>
          {busy ? words.creating : words.create}
        </button>
      </form>
    </section>
  );
}

interface ChoiceProps {
  title: string;
  hint: string;
  chosen: boolean;
  onChoose: () => void;
}

function Choice({ title, hint, chosen, onChoose }: ChoiceProps) {
  return (
    <label className="choice">
      <input type="radio" name="access" checked={chosen} onChange={onChoose} />
      <span className="choice-title">{title}</span>
      <span className="hint">{hint}</span>
    </label>
  );
}
