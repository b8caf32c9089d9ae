// Takes from matrix-js-sdk's events what the timeline shows of them.

import { EventStatus, RelationType, type MatrixEvent } from "matrix-js-sdk";
import { explainError } from "./explain-error.ts";
import type { Sending, TimelineEvent } from "./timeline-items.ts";

/** Edits and reactions change other messages and have no line of their own. */
export function isHiddenEvent(event: MatrixEvent): boolean {
  return event.isRelation(RelationType.Replace) || event.isRelation(RelationType.Annotation);
}

/** Undefined for an event without id or sender, of which nothing can be shown. */
export function timelineEvent(event: MatrixEvent): TimelineEvent | undefined {
  const eventId = event.getId();
  const sender = event.getSender();
  if (eventId === undefined || sender === undefined) return undefined;
  const sending = sendingOf(event.status);
  return {
    key: event.getTxnId() ?? event.getUnsigned().transaction_id ?? eventId,
    eventId,
    type: event.getType(),
    sender,
    atMs: event.getTs(),
    content: event.getContent(),
    previous: event.getUnsigned().prev_content,
    stateKey: event.getStateKey(),
    redacted: event.isRedacted(),
    edited: event.replacingEvent() !== null,
    hidden: isHiddenEvent(event),
    sending,
    ...(sending === "failed" && event.error && { failure: explainError(event.error) }),
  };
}

function sendingOf(status: EventStatus | null): Sending {
  switch (status) {
    case EventStatus.NOT_SENT:
    case EventStatus.CANCELLED:
      return "failed";
    case EventStatus.QUEUED:
      return "queued";
    case EventStatus.SENDING:
    case EventStatus.ENCRYPTING:
      return "sending";
    case EventStatus.SENT:
    case null:
      return "sent";
  }
}
