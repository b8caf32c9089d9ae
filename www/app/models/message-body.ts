// What a room event says as a message, taken from content that anybody could have written.

import { strings } from "../strings.ts";

export type MessageBody =
  | { kind: "text"; text: string; edited: boolean }
  | { kind: "emote"; text: string; edited: boolean }
  /** Something that can be named but not shown, or is gone. */
  | { kind: "placeholder"; text: string };

/** Longer texts are cut on screen, not in storage. */
const SHOWN_MAX_CHARS = 64 * 1024;

export function messageBody(type: string, content: Record<string, unknown>, redacted: boolean, edited: boolean): MessageBody {
  if (redacted) return placeholder(strings.room.deleted);
  if (type === "m.room.encrypted") return placeholder(strings.room.encrypted);
  if (type !== "m.room.message") return placeholder(strings.room.unknownMessage);
  const body = typeof content.body === "string" ? content.body.slice(0, SHOWN_MAX_CHARS) : "";
  switch (content.msgtype) {
    case "m.text":
    case "m.notice":
      return { kind: "text", text: body, edited };
    case "m.emote":
      return { kind: "emote", text: body, edited };
    case "m.image":
    case "m.file":
    case "m.audio":
    case "m.video":
      return placeholder(strings.room.attachment(body));
    default:
      return body === "" ? placeholder(strings.room.unknownMessage) : { kind: "text", text: body, edited };
  }
}

/** The body as one line, for the room list and for screen readers. */
export function bodyLine(body: MessageBody, senderName: string): string {
  const line = body.text.replace(/\s+/g, " ").trim();
  return body.kind === "emote" ? `${senderName} ${line}` : line;
}

/** Message content is limited by the size of an event; this leaves room for everything else in it. */
export const MESSAGE_MAX_BYTES = 48 * 1024;

/** Bytes the text takes inside an event, where control characters and quotes are escaped. */
export function messageBytes(text: string): number {
  return new TextEncoder().encode(JSON.stringify(text)).length;
}

function placeholder(text: string): MessageBody {
  return { kind: "placeholder", text };
}
