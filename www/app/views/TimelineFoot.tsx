// Below our own newest message: who has seen it, or for whom it still waits.

import { useMemo } from "react";
import type { Room } from "matrix-js-sdk";
import type { Account } from "../models/account.ts";
import { waitingServers } from "../models/room-facts.ts";
import { namesOf } from "../models/status-words.ts";
import { strings } from "../strings.ts";
import { usePage } from "./page.ts";
import { useReadable } from "./use-readable.ts";
import { useSteady } from "./use-steady.ts";

const STEADY_MS = 800;

export function TimelineFoot({ account, room, seenBy }: { account: Account; room: Room; seenBy: string[] }) {
  const { host } = usePage();
  const outbox = useReadable(host.status).homeserver?.outbox;
  const waiting = useMemo(() => waitingServers(room, outbox ?? []), [room, outbox]);
  const text =
    waiting.length > 0
      ? strings.room.goesOutLater(namesOf(waiting, (server) => account.peopleAt(server)))
      : seenBy.length > 0
        ? strings.room.seenBy(strings.general.listOf(seenBy))
        : "";
  return <p className="timeline-foot">{useSteady(text, text, STEADY_MS)}</p>;
}
