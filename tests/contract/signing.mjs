// Canonical JSON, signatures, hashes and identifiers of events, as the Matrix specification defines them: what the contract
// says about them is independent of what the homeserver makes of them.
import { createHash, generateKeyPairSync, sign } from "node:crypto";

/** What redaction leaves of an event, and of its content by its type, since room version 11. */
const KEPT = ["type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events", "auth_events", "origin_server_ts"];
const KEPT_CONTENT = {
  "m.room.member": ["membership", "join_authorised_via_users_server"],
  "m.room.join_rules": ["join_rule", "allow"],
  "m.room.power_levels": ["ban", "events", "events_default", "invite", "kick", "redact", "state_default", "users", "users_default"],
  "m.room.history_visibility": ["history_visibility"],
  "m.room.redaction": ["redacts"],
};
/** The versions before kept more of the event and less of its content. */
const KEPT_OF_OLD = [...KEPT, "event_id", "origin", "prev_state", "membership"];
const KEPT_CONTENT_OF_OLD = { ...KEPT_CONTENT, "m.room.create": ["creator"], "m.room.redaction": [], "m.room.member": ["membership"], "m.room.join_rules": ["join_rule"] };

export class SigningKey {
  #secret;
  id = "ed25519:contract";

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.#secret = privateKey;
    this.public = unpadded(Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url"));
  }

  /** `object` with the signature of `name` beside those it has. */
  signed(name, object) {
    const signature = this.#signature(object);
    return { ...object, signatures: { ...object.signatures, [name]: { ...object.signatures?.[name], [this.id]: signature } } };
  }

  /** `event` with its hash and the signature of `name`. */
  signedEvent(name, event, version) {
    const hashed = { ...event, hashes: { sha256: unpadded(sha256(without(event, "unsigned", "signatures", "hashes"))) } };
    const { signatures } = this.signed(name, redacted(hashed, version));
    return { ...hashed, signatures };
  }

  #signature(object) {
    return unpadded(sign(null, Buffer.from(canonicalJson(without(object, "signatures", "unsigned"))), this.#secret));
  }
}

/** The id of an event, in the room versions where it is its hash; its parts may be as received. */
export function eventId(event, version) {
  return `$${referenceHash(event, version).toString("base64url")}`;
}

export function referenceHash(event, version) {
  return sha256(without(redacted(event, version), "signatures", "unsigned", "age_ts"));
}

export function canonicalJson(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  const inOrder = entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${inOrder.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(",")}}`;
}

export function unpadded(bytes) {
  return bytes.toString("base64").replace(/=+$/, "");
}

function redacted(event, version) {
  const isOld = Number(version) < 11;
  const contentKept = (isOld ? KEPT_CONTENT_OF_OLD : KEPT_CONTENT)[event.type] ?? [];
  const keepsAll = event.type === "m.room.create" && !isOld;
  return { ...only(event, isOld ? KEPT_OF_OLD : KEPT), content: keepsAll ? event.content : only(event.content, contentKept) };
}

function only(object, keys) {
  return Object.fromEntries(Object.entries(object).filter(([key]) => keys.includes(key)));
}

function without(object, ...keys) {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function sha256(object) {
  return createHash("sha256").update(canonicalJson(object)).digest();
}
