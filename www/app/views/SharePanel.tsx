// How others get in: the room's link as text and as a QR code, or an invitation by user id.

import { useMemo, useState } from "react";
import { EventType, JoinRule, type Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { explainError } from "../models/explain-error.ts";
import { formatJoinLink, linkPageUrl, worksOnThisMachineOnly } from "../models/join-link.ts";
import { shortUserId } from "../models/names.ts";
import { viaServers, type RoomFacts } from "../models/room-facts.ts";
import { isUserId, RoomPeople } from "../models/room-people.ts";
import { strings } from "../strings.ts";
import { CopyButton } from "./CopyButton.tsx";
import { Icon } from "./Icon.tsx";
import { usePage } from "./page.ts";
import { PaneHeader } from "./PaneHeader.tsx";
import { QrCode } from "./QrCode.tsx";
import { useReadable } from "./use-readable.ts";

/** Our own server and two others: more would make the link longer than it helps. */
const VIA_SERVERS_MAX = 3;
const ADDRESSES_MAX = 3;

interface SharePanelProps {
  account: Account;
  room: Room;
  facts: RoomFacts;
}

export function SharePanel({ account, room, facts }: SharePanelProps) {
  return (
    <section className="panel" aria-label={strings.share.title}>
      <PaneHeader title={strings.share.title} back={{ view: "room", roomId: facts.roomId }} backShown="close" />
      <div className="panel-body">
        {facts.access === "link" ? <LinkSection account={account} room={room} facts={facts} /> : <NoLink account={account} facts={facts} />}
        {facts.mayInvite ? <InviteSection account={account} room={room} /> : <p className="hint">{strings.share.mayNotInvite}</p>}
      </div>
    </section>
  );
}

function LinkSection({ account, room, facts }: SharePanelProps) {
  const { host } = usePage();
  const view = useReadable(host.status);
  const words = strings.share;
  const pageUrl = linkPageUrl(location.href, view.config?.publicUrl);
  const addresses = view.homeserver?.addresses.slice(0, ADDRESSES_MAX) ?? [];
  const server = view.homeserver?.serverName ?? account.server;
  const link = formatJoinLink(pageUrl, { roomId: facts.roomId, via: viaServers(room, server, VIA_SERVERS_MAX), addresses });
  return (
    <section className="share-link" aria-labelledby="share-link-title">
      <h3 id="share-link-title">{words.linkTitle}</h3>
      <p className="hint">{words.linkHint}</p>
      {worksOnThisMachineOnly(pageUrl) && <Warning text={words.localOnly} />}
      {addresses.length === 0 && <Warning text={words.noAddress} />}
      <textarea
        className="field link-text"
        readOnly
        rows={6}
        aria-label={words.linkField}
        value={link}
        onFocus={(event) => event.target.select()}
      />
      <CopyButton text={link} label={words.copyLink} />
      <QrCode text={link} label={words.qr} />
    </section>
  );
}

function NoLink({ account, facts }: { account: Account; facts: RoomFacts }) {
  const [problem, setProblem] = useState<string>();
  const open = async (): Promise<void> => {
    try {
      await account.client.sendStateEvent(facts.roomId, EventType.RoomJoinRules, { join_rule: JoinRule.Public }, "");
    } catch (error) {
      setProblem(explainError(error));
    }
  };
  return (
    <section>
      <p>{strings.share.notByLink}</p>
      {facts.mayOpenToLink && (
        <button type="button" className="button" onClick={() => void open()}>
          <Icon name="link" />
          {strings.share.openToLink}
        </button>
      )}
      <p className="problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

type InviteOutcome = { kind: "busy" } | { kind: "invited"; userId: string } | { kind: "problem"; text: string };

function InviteSection({ account, room }: { account: Account; room: Room }) {
  const people = useMemo(() => new RoomPeople(account.client, room), [account, room]);
  const [userId, setUserId] = useState("");
  const [outcome, setOutcome] = useState<InviteOutcome>();
  const words = strings.share;
  const invite = async (): Promise<void> => {
    const whom = userId.trim();
    if (!isUserId(whom)) return setOutcome({ kind: "problem", text: words.badUserId });
    setOutcome({ kind: "busy" });
    try {
      await people.invite(whom);
      setOutcome({ kind: "invited", userId: shortUserId(whom) });
      setUserId("");
    } catch (error) {
      setOutcome({ kind: "problem", text: explainError(error) });
    }
  };
  return (
    <section aria-labelledby="invite-title">
      <h3 id="invite-title">{words.inviteTitle}</h3>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          void invite();
        }}
      >
        <label htmlFor="invite-user-id" className="unseen">{words.inviteLabel}</label>
        <input
          id="invite-user-id"
          className="field"
          spellCheck={false}
          autoCapitalize="none"
          autoComplete="off"
          placeholder={words.invitePlaceholder}
          value={userId}
          onChange={(event) => setUserId(event.target.value)}
          aria-describedby="invite-hint"
          aria-invalid={outcome?.kind === "problem"}
        />
        <p id="invite-hint" className="hint">
          {words.inviteHint}
        </p>
        {outcome?.kind === "problem" && (
          <p className="problem" role="alert">
            {outcome.text}
          </p>
        )}
        <button type="submit" className="button" disabled={outcome?.kind === "busy"}>
          {outcome?.kind === "busy" ? words.inviting : words.invite}
        </button>
        <p role="status">{outcome?.kind === "invited" && words.invited(outcome.userId)}</p>
      </form>
    </section>
  );
}

function Warning({ text }: { text: string }) {
  return (
    <p className="notice">
      <Icon name="alert" />
      <span>{text}</span>
    </p>
  );
}
