// Turns whatever a request failed with into a sentence for people. Knows Matrix error codes; never shows a stack.

import { plainName, shortServerName } from "./names.ts";
import { strings } from "../strings.ts";

/** What a failed request says of itself; matrix-js-sdk's MatrixError and HTTPError have this shape. */
export interface RequestFailure {
  errcode?: string;
  httpStatus?: number;
  message?: string;
  /** Two homeservers have no way to each other, and `message` says why. */
  apart?: boolean;
}

const DETAIL_MAX_CHARS = 200;
/** A server named by its key: only its end tells it apart. */
const KEY_NAMES = /\bk51[a-z0-9]{59}\.[a-z0-9.-]*[a-z0-9]/g;
/** As homeservers mark such errors (docs/protocol.md). */
const APART = "org.warren.apart";

export function failureOf(error: unknown): RequestFailure {
  if (typeof error !== "object" || error === null) return { message: String(error) };
  const { errcode, httpStatus, message, data } = error as Record<string, unknown>;
  const body = typeof data === "object" && data !== null ? (data as Record<string, unknown>) : {};
  const fromBody = body.error;
  return {
    errcode: typeof errcode === "string" ? errcode : undefined,
    httpStatus: typeof httpStatus === "number" ? httpStatus : undefined,
    message: typeof fromBody === "string" ? fromBody : typeof message === "string" ? message : undefined,
    apart: body[APART] === true,
  };
}

/** One sentence: what happened, and where it helps, what to do. */
export function explainError(error: unknown): string {
  const words = strings.problem;
  const { errcode, httpStatus, message, apart } = failureOf(error);
  if (apart && message) return words.apart(sentence(message));
  switch (errcode) {
    case "M_FORBIDDEN":
      return words.forbidden;
    case "M_LIMIT_EXCEEDED":
      return words.rateLimited;
    case "M_TOO_LARGE":
      return words.tooLarge;
    default:
      return explainStatus(error, httpStatus, message ?? errcode ?? "");
  }
}

/** What a homeserver says of itself, or passes on of another: without its full stop, and with names as they are shown here. */
function sentence(text: string): string {
  return plainName(text).replace(KEY_NAMES, shortServerName).slice(0, DETAIL_MAX_CHARS).replace(/\.$/, "");
}

function explainStatus(error: unknown, httpStatus: number | undefined, detail: string): string {
  const words = strings.problem;
  switch (httpStatus) {
    case 403:
      return words.forbidden;
    case 413:
      return words.tooLarge;
    case 502:
    case 504:
      return words.unreachable;
    case 503:
      return words.hostBusy;
    case 507:
      return words.storageFull;
    default:
      if (isConnectionError(error)) return words.noAnswer;
      return words.unexpected((detail || String(httpStatus ?? error)).slice(0, DETAIL_MAX_CHARS));
  }
}

/** True when the homeserver did not answer at all. */
export function isConnectionError(error: unknown): boolean {
  return typeof error === "object" && error !== null && (error as { name?: unknown }).name === "ConnectionError";
}

/** Why a join failed; the keys are those of `strings.join.failed`. */
export type JoinFailure = keyof typeof strings.join.failed | "apart" | "other";

/** `offline`: the relay could not be reached either. */
export function joinFailure(error: unknown, offline: boolean): JoinFailure {
  const { errcode, httpStatus, apart } = failureOf(error);
  if (apart) return "apart";
  if (errcode === "M_FORBIDDEN" || errcode === "M_UNAUTHORIZED") return "forbidden";
  if (errcode === "M_UNSUPPORTED_ROOM_VERSION" || errcode === "M_INCOMPATIBLE_ROOM_VERSION") return "version";
  if (httpStatus === 507) return "full";
  if (offline) return "offline";
  if (errcode === "M_NOT_FOUND") return "notFound";
  if (httpStatus === 502 || httpStatus === 503 || httpStatus === 504 || isConnectionError(error)) return "unreachable";
  return "other";
}
