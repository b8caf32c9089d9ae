// What a room is, how private it is, and the way out of it.

import { useState } from "react";
import type { Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { ROOM_NAME_MAX_CHARS, roomNameProblem } from "../models/new-room.ts";
import type { RoomFacts } from "../models/room-facts.ts";
import { strings } from "../strings.ts";
import { ConfirmDialog } from "./ConfirmDialog.tsx";
import { PaneHeader } from "./PaneHeader.tsx";
import { outcomeOf, SaveForm, type Outcome } from "./SaveForm.tsx";
import { replaceRoute } from "./use-route.ts";

export function InfoPanel({ account, room, facts }: { account: Account; room: Room; facts: RoomFacts }) {
  const words = strings.info;
  const access = facts.access === "link" ? words.accessLink : facts.access === "invite" ? words.accessInvite : words.accessOther;
  return (
    <section className="panel" aria-label={words.title}>
      <PaneHeader title={words.title} back={{ view: "room", roomId: facts.roomId }} backShown="close" />
      <div className="panel-body">
        {facts.mayRename && <Rename account={account} facts={facts} />}
        <dl className="facts">
          <dt>{words.access}</dt>
          <dd>{access}</dd>
          <dt>{words.privacy}</dt>
          <dd>{words.privacyText}</dd>
          <dt>{words.version}</dt>
          <dd>{facts.version}</dd>
          <dt>{words.roomId}</dt>
          <dd>
            <code>{facts.roomId}</code>
          </dd>
        </dl>
        <Leave account={account} room={room} facts={facts} />
      </div>
    </section>
  );
}

function Rename({ account, facts }: { account: Account; facts: RoomFacts }) {
  const [name, setName] = useState(facts.name);
  const [outcome, setOutcome] = useState<Outcome>();
  const save = async (): Promise<void> => {
    setOutcome(await outcomeOf(roomNameProblem(name), () => account.client.setRoomName(facts.roomId, name.trim())));
  };
  return (
    <SaveForm onSave={() => void save()} outcome={outcome}>
      <label htmlFor="rename-room">{strings.info.nameLabel}</label>
      <div className="field-row">
        <input
          id="rename-room"
          className="field"
          maxLength={ROOM_NAME_MAX_CHARS * 2}
          value={name}
          onChange={(event) => {
            setName(event.target.value);
            setOutcome(undefined);
          }}
        />
        <button type="submit" className="button" disabled={name.trim() === facts.name}>
          {strings.general.save}
        </button>
      </div>
    </SaveForm>
  );
}

function Leave({ account, room, facts }: { account: Account; room: Room; facts: RoomFacts }) {
  const [asking, setAsking] = useState(false);
  const [forget, setForget] = useState(false);
  const words = strings.info;
  const leave = async (): Promise<void> => {
    await account.leave(room.roomId, forget);
    replaceRoute({ view: "home" });
  };
  return (
    <>
      <button type="button" className="button danger" onClick={() => setAsking(true)}>
        {words.leave}
      </button>
      {asking && (
        <ConfirmDialog
          title={words.leaveTitle}
          text={facts.access === "link" ? words.leaveText : words.leaveTextInviteOnly}
          action={words.leave}
          onConfirm={leave}
          onClose={() => setAsking(false)}
        >
          <label className="check">
            <input type="checkbox" checked={forget} onChange={(event) => setForget(event.target.checked)} />
            {words.forget}
          </label>
        </ConfirmDialog>
      )}
    </>
  );
}
