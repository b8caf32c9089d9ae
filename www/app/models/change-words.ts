// Says in a sentence what a state event changed. Content is what anybody could have written, so every field is checked.

import { strings } from "../strings.ts";
import { plainName } from "./names.ts";

export interface StateChange {
  type: string;
  sender: string;
  stateKey: string;
  content: Record<string, unknown>;
  /** The content it replaced; absent when it is the first of its kind, or when that is not known. */
  previous?: Record<string, unknown>;
}

export type NameOf = (userId: string) => string;

const QUOTED_MAX_CHARS = 200;

/** Undefined when the change is not worth a line: the defaults a room is made with, and what only programs care about. */
export function changeWords(change: StateChange, nameOf: NameOf): string | undefined {
  const words = strings.change;
  const who = nameOf(change.sender);
  const { content, previous } = change;
  switch (change.type) {
    case "m.room.create":
      return words.created(who);
    case "m.room.member":
      return memberWords(change, nameOf);
    case "m.room.name": {
      const name = text(content.name);
      return name === "" ? words.unnamed(who) : words.named(who, name);
    }
    case "m.room.topic": {
      const topic = text(content.topic);
      return topic === "" ? words.topicRemoved(who) : words.topic(who, topic);
    }
    case "m.room.power_levels":
      return previous && words.powers(who);
    case "m.room.history_visibility":
      return previous && words.visibility(who);
    case "m.room.join_rules":
      if (!previous) return undefined;
      if (content.join_rule === "public") return words.openedToLink(who);
      return content.join_rule === "invite" ? words.inviteOnly(who) : words.joinRule(who);
    case "m.room.encryption":
      return words.encryption(who);
    case "m.room.tombstone":
      return words.upgraded(who);
    default:
      return undefined;
  }
}

function memberWords({ sender, stateKey, content, previous }: StateChange, nameOf: NameOf): string | undefined {
  const words = strings.change;
  const own = sender === stateKey;
  const who = nameOf(sender);
  const whom = nameOf(stateKey);
  const before = previous?.membership;
  const reason = text(content.reason);
  const because = reason === "" ? "" : words.because(reason);
  switch (content.membership) {
    case "join":
      if (before === "join") return profileWords(content, previous ?? {}, who);
      return words.joined(whom);
    case "invite":
      return words.invited(who, whom) + because;
    case "ban":
      return words.banned(who, whom) + because;
    case "knock":
      return words.knocked(whom);
    case "leave":
      if (before === "ban") return words.unbanned(who, whom);
      if (before === "invite") return own ? words.declined(who) : words.withdrew(who, whom);
      return own ? words.left(who) + because : words.kicked(who, whom) + because;
    default:
      return undefined;
  }
}

function profileWords(content: Record<string, unknown>, previous: Record<string, unknown>, who: string): string | undefined {
  const from = text(previous.displayname);
  const to = text(content.displayname);
  if (from !== to) return strings.change.renamedSelf(from || who, to || who);
  return content.avatar_url === previous.avatar_url ? undefined : strings.change.newAvatar(who);
}

function text(value: unknown): string {
  return typeof value === "string" ? plainName(value).slice(0, QUOTED_MAX_CHARS) : "";
}
