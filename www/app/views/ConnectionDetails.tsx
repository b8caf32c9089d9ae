// Everything the host knows of its connections, for those who want to know why.

import type { HostView, PeerStatus } from "../../host/index.ts";
import { shortServerName } from "../models/names.ts";
import { connectionReport, peerFacts, peerReason, peerState, type KnownPaths } from "../models/peer-words.ts";
import { namesOf, type PeopleOf } from "../models/status-words.ts";
import { momentWords, untilWords } from "../models/time-words.ts";
import { strings } from "../strings.ts";
import { CopyButton } from "./CopyButton.tsx";
import { Icon } from "./Icon.tsx";

export interface ConnectionDetailsProps {
  view: HostView;
  peopleAt: PeopleOf;
  paths: KnownPaths;
  nowMs: number;
  onClose: () => void;
}

export function ConnectionDetails({ view, paths, peopleAt, nowMs, onClose }: ConnectionDetailsProps) {
  const words = strings.status;
  const status = view.homeserver;
  return (
    <>
      <div className="popover-head">
        <h2>{words.detailsTitle}</h2>
        <button type="button" className="icon-button" onClick={onClose} aria-label={strings.general.close}>
          <Icon name="close" />
        </button>
      </div>
      <dl className="facts">
        <dt>{words.row.tab}</dt>
        <dd>{view.role === "leader" ? words.tabHosts : view.role === "follower" ? words.tabUses : words.starting}</dd>
        <dt>{words.row.storage}</dt>
        <dd>{words.storageKinds[status?.storage.kind ?? view.storage.kind]}</dd>
        {status && (
          <>
            <dt>{words.row.relay}</dt>
            <dd>
              {words.relayStates[status.relay.state]}
              {status.relay.address !== undefined && <code>{status.relay.address}</code>}
              {status.relay.error !== undefined && <span className="problem">{status.relay.error}</span>}
            </dd>
            <dt>{words.row.peers}</dt>
            <dd>
              {status.peers.length === 0 && words.nobody}
              <Peers peers={status.peers} paths={paths} peopleAt={peopleAt} nowMs={nowMs} />
            </dd>
            <dt>{words.row.waiting}</dt>
            <dd>
              {status.outbox.every((row) => row.waiting === 0) && words.nothing}
              <PlainList rows={outboxRows(status.outbox, peopleAt)} />
            </dd>
            <dt>{words.row.server}</dt>
            <dd>
              <code>{status.serverName}</code>
            </dd>
            <dt>{words.row.peer}</dt>
            <dd>
              <code>{status.peerId}</code>
            </dd>
            <dt>{words.row.addresses}</dt>
            <dd>
              {status.addresses.length === 0 && words.nothing}
              {status.addresses.map((address) => (
                <code key={address}>{address}</code>
              ))}
            </dd>
          </>
        )}
        {view.notices.length > 0 && (
          <>
            <dt>{words.row.events}</dt>
            <dd>
              <PlainList
                rows={view.notices.map((notice) => ({
                  key: `${notice.atMs} ${notice.kind}`,
                  text: `${momentWords(notice.atMs)}: ${notice.message}${notice.detail === undefined ? "" : ` (${notice.detail})`}`,
                }))}
              />
            </dd>
          </>
        )}
        {view.error && (
          <>
            <dt>{words.row.fault}</dt>
            <dd>{view.error.message}</dd>
          </>
        )}
      </dl>
      <div className="report">
        <CopyButton text={() => connectionReport(view, paths, Date.now(), navigator.userAgent)} label={strings.peers.copyReport} />
        <p className="hint">{strings.peers.reportHint}</p>
      </div>
    </>
  );
}

function outboxRows(outbox: NonNullable<HostView["homeserver"]>["outbox"], peopleAt: PeopleOf): { key: string; text: string }[] {
  const now = Date.now();
  return outbox
    .filter((row) => row.waiting > 0)
    .map((row) => {
      const when = row.retryAtMs === undefined ? undefined : untilWords(row.retryAtMs, now);
      const names = `${namesOf([row.destination], peopleAt)} (${shortServerName(row.destination)})`;
      const error = row.error === undefined ? "" : `. ${row.error}`;
      return { key: row.destination, text: `${names}: ${strings.status.waitingRow(row.waiting, when)}${error}` };
    });
}

function Peers({ peers, paths, peopleAt, nowMs }: { peers: PeerStatus[]; paths: KnownPaths; peopleAt: PeopleOf; nowMs: number }) {
  if (peers.length === 0) return null;
  return (
    <ul className="plain-list peers">
      {peers.map((peer) => {
        const reason = peerReason(peer);
        return (
          <li key={peer.serverName} data-path={peer.path}>
            {namesOf([peer.serverName], peopleAt)} ({shortServerName(peer.serverName)}): {peerState(peer, nowMs)}
            {reason !== undefined && <p>{reason}</p>}
            {peerFacts(peer, paths).map((fact) => (
              <p key={fact}>{fact}</p>
            ))}
          </li>
        );
      })}
    </ul>
  );
}

function PlainList({ rows }: { rows: { key: string; text: string }[] }) {
  if (rows.length === 0) return null;
  return (
    <ul className="plain-list">
      {rows.map((row) => (
        <li key={row.key}>{row.text}</li>
      ))}
    </ul>
  );
}
