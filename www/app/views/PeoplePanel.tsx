// The people of a room, what they may do, and what we may do to them.

import { useEffect, useMemo, useState } from "react";
import type { Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { explainError } from "../models/explain-error.ts";
import { shortServerName } from "../models/names.ts";
import type { RoomFacts } from "../models/room-facts.ts";
import { RoomPeople, type Person } from "../models/room-people.ts";
import { formatRoute } from "../models/route.ts";
import { strings } from "../strings.ts";
import { Avatar } from "./Avatar.tsx";
import { ConfirmDialog } from "./ConfirmDialog.tsx";
import { Icon } from "./Icon.tsx";
import { usePage } from "./page.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { useReadable } from "./use-readable.ts";

type Action = { kind: "remove" | "ban"; person: Person };

export function PeoplePanel({ account, room, facts }: { account: Account; room: Room; facts: RoomFacts }) {
  const { host } = usePage();
  const model = useMemo(() => new RoomPeople(account.client, room), [account, room]);
  const people = useReadable(model.people);
  const peers = useReadable(host.status).homeserver?.peers;
  const connected = useMemo(() => new Set(peers?.filter(({ state }) => state === "connected").map((peer) => peer.serverName)), [peers]);
  const [action, setAction] = useState<Action>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    model.load().catch((error: unknown) => setProblem(explainError(error)));
  }, [model]);
  const unban = (person: Person): void => {
    model.unban(person.userId).catch((error: unknown) => setProblem(strings.people.failed(explainError(error))));
  };
  const groups = [
    { title: undefined, people: people.filter((person) => person.membership === "join") },
    { title: strings.people.invited, people: people.filter((person) => person.membership === "invite") },
    { title: strings.people.banned, people: people.filter((person) => person.membership === "ban") },
  ];
  return (
    <section className="panel" aria-label={strings.people.title}>
      <PaneHeader title={strings.people.title} back={{ view: "room", roomId: facts.roomId }} backShown="close" />
      <div className="panel-body">
        {facts.mayInvite && (
          <a className="button wide" href={formatRoute({ view: "room", roomId: facts.roomId, panel: "share" })}>
            <Icon name="plus" />
            {strings.people.invite}
          </a>
        )}
        {problem !== undefined && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        {groups.map(
          (group) =>
            group.people.length > 0 && (
              <section key={group.title ?? "joined"}>
                {group.title !== undefined && <h3 className="list-title">{group.title}</h3>}
                <ul className="people">
                  {group.people.map((person) => (
                    <PersonRow
                      key={person.userId}
                      person={person}
                      connected={!person.own && connected.has(person.server)}
                      onRemove={() => setAction({ kind: "remove", person })}
                      onBan={() => setAction({ kind: "ban", person })}
                      onUnban={() => unban(person)}
                    />
                  ))}
                </ul>
              </section>
            ),
        )}
      </div>
      {action && <ActionDialog model={model} action={action} onClose={() => setAction(undefined)} />}
    </section>
  );
}

interface PersonRowProps {
  person: Person;
  connected: boolean;
  onRemove: () => void;
  onBan: () => void;
  onUnban: () => void;
}

function PersonRow({ person, connected, onRemove, onBan, onUnban }: PersonRowProps) {
  const [open, setOpen] = useState(false);
  const words = strings.people;
  const mayAct = person.mayRemove || person.mayBan || person.mayUnban;
  return (
    <li className="person">
      <Avatar id={person.userId} name={person.name} />
      <span className="person-name">
        {person.name}
        {person.own && <span className="hint"> ({words.you})</span>}
      </span>
      <span className="person-facts" title={person.userId}>
        {connected && (
          <>
            <span className="dot good" aria-hidden="true" />
            {words.connected} ·{" "}
          </>
        )}
        {words.roles[person.role]} · {shortServerName(person.server)}
      </span>
      {mayAct && (
        <button type="button" className="icon-button person-more" aria-expanded={open} aria-label={words.actionsFor(person.name)} onClick={() => setOpen(!open)}>
          <Icon name="more" />
        </button>
      )}
      {mayAct && open && (
        <span className="person-actions">
          {person.mayRemove && (
            <button type="button" className="button small" onClick={onRemove}>
              {person.membership === "invite" ? words.withdraw : words.remove}
            </button>
          )}
          {person.mayBan && (
            <button type="button" className="button small danger" onClick={onBan}>
              {words.ban}
            </button>
          )}
          {person.mayUnban && (
            <button type="button" className="button small" onClick={onUnban}>
              {words.unban}
            </button>
          )}
        </span>
      )}
    </li>
  );
}

function ActionDialog({ model, action, onClose }: { model: RoomPeople; action: Action; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const { kind, person } = action;
  const words = strings.people;
  return (
    <ConfirmDialog
      title={kind === "ban" ? words.banTitle(person.name) : words.removeTitle(person.name)}
      text={kind === "ban" ? words.banText : words.removeText}
      action={kind === "ban" ? words.ban : person.membership === "invite" ? words.withdraw : words.remove}
      onConfirm={() => (kind === "ban" ? model.ban(person.userId, reason.trim()) : model.remove(person.userId, reason.trim()))}
      onClose={onClose}
    >
      <label htmlFor="reason">{words.reason}</label>
      <input id="reason" className="field" maxLength={200} value={reason} onChange={(event) => setReason(event.target.value)} />
    </ConfirmDialog>
  );
}
