// Says in plain words how the homeserver and its connections are: one line for the status bar, one warning when something is wrong.

import type { HostStatus, HostView } from "../../host/index.ts";
import { strings } from "../strings.ts";
import { connectedPeers } from "./peer-words.ts";

/** "good": all is well. "busy": wait. "away": works, but not connected. "bad": the user should do something. */
export type Tone = "good" | "busy" | "away" | "bad";

export interface StatusLine {
  tone: Tone;
  text: string;
}

export interface StatusWarning {
  tone: Tone;
  text: string;
  /** Reloading the page is what helps. */
  reload: boolean;
}

/** How long after a fault the page still speaks of it. */
export const RESTART_NOTICE_MS = 20_000;

/** Names of people at a homeserver, for "2 messages wait for Ada". */
export type PeopleOf = (serverName: string) => string[];

/** The status bar's line. */
export function statusLine(view: HostView, peopleOf: PeopleOf): StatusLine {
  const words = strings.status;
  if (view.phase === "failed") return { tone: "bad", text: problemWords(view) };
  if (view.phase === "stopped") return { tone: "away", text: words.stopped };
  if (view.phase === "restarting") return { tone: "busy", text: words.restarting };
  const status = view.homeserver;
  if (view.phase === "starting" || !status) return { tone: "busy", text: words.starting };

  const waiting = waitingWords(status, peopleOf);
  const connected = connectedPeers(status);
  const direct = connected.filter(({ path }) => path !== "relay").length;
  switch (status.relay.state) {
    case "offline":
      if (direct > 0) return { tone: "away", text: `${words.offlineButDirect(direct)} · ${waiting ?? words.nothingWaits}` };
      return { tone: "away", text: joined(words.offline, waiting) };
    case "none":
      return { tone: "away", text: joined(words.noRelay, waiting) };
    case "connecting":
      return { tone: "busy", text: joined(words.connecting, waiting) };
    case "connected": {
      const peers = words.peers(connected.length, direct);
      return { tone: "good", text: `${peers} · ${waiting ?? words.nothingWaits}` };
    }
  }
}

/** What the user must know beyond the line: storage in trouble, a fault just recovered from. */
export function statusWarning(view: HostView, nowMs: number): StatusWarning | undefined {
  const words = strings.status;
  const error = view.homeserver?.storage.error;
  if (error === "fenced") return { tone: "bad", text: words.fenced, reload: true };
  if (error === "quota") return { tone: "bad", text: words.full, reload: false };
  if (error === "failed") return { tone: "bad", text: words.storageFailed, reload: true };
  const restart = lastRestart(view);
  if (restart !== undefined && nowMs - restart < RESTART_NOTICE_MS) return { tone: "away", text: words.restarted, reload: false };
  if (keptInMemory(view)) return { tone: "away", text: words.memory[view.storage.reason ?? "unknown"], reload: false };
  if (view.outdated) return { tone: "away", text: words.outdated, reload: true };
  return undefined;
}

/** When the homeserver last came back from a fault, in ms since 1970. */
export function lastRestart(view: HostView): number | undefined {
  return view.notices.findLast((notice) => notice.kind === "restarted-after-fault")?.atMs;
}

/** How many PDUs and EDUs wait, and for whom; undefined when nothing waits. */
export function waitingWords(status: HostStatus, peopleOf: PeopleOf): string | undefined {
  const waiting = status.outbox.filter((row) => row.waiting > 0);
  if (waiting.length === 0) return undefined;
  const total = waiting.reduce((sum, row) => sum + row.waiting, 0);
  return strings.status.waits(total, namesOf(waiting.map((row) => row.destination), peopleOf));
}

/** "Ada, Bob and 2 others" for the people at these servers. */
export function namesOf(serverNames: string[], peopleOf: PeopleOf, shown = 3): string {
  const people = [...new Set(serverNames.flatMap((server) => peopleOf(server)))];
  if (people.length === 0) return strings.status.unknownPeople;
  if (people.length <= shown) return strings.general.listOf(people);
  return `${people.slice(0, shown - 1).join(", ")} ${strings.general.andOthers(people.length - shown + 1)}`;
}

/** Why the homeserver does not run. */
export function problemWords(view: HostView): string {
  switch (view.error?.code) {
    case "storage_unavailable":
      return strings.problem.storageUnavailable;
    case "storage_full":
      return strings.problem.storageFull;
    case "newer_schema":
      return strings.problem.newerSchema;
    case "fenced":
      return strings.problem.fenced;
    case "internal":
    case undefined:
      return strings.status.failed;
  }
}

function keptInMemory(view: HostView): boolean {
  return (view.homeserver?.storage.kind ?? view.storage.kind) === "memory";
}

function joined(first: string, second: string | undefined): string {
  return second === undefined ? first : `${first} ${second}.`;
}
