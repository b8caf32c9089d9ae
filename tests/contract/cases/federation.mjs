// What other homeservers ask: each operation of the Server-Server API once so that it works and once so that it is refused.
import { eventId, SigningKey } from "../signing.mjs";
import { VERSION } from "../neighbours.mjs";

const NO_FILES = "files come with the content repository";
/** A room that exists and that nobody of elsewhere is in. */
const closed = (w) => w.newRoom({ preset: "private_chat" });
/** Asking for something of a room that one is not in. */
const outside = (more = {}) => ({
  status: 403,
  errcode: "M_FORBIDDEN",
  request: async (w) => ({ path: { roomId: await closed(w), ...more.path?.(w) }, query: more.query?.(w), body: more.body?.(w) }),
});
/** Who takes no parameters can be asked wrongly by the method alone. */
const byMethod = { status: 405, errcode: "M_UNRECOGNIZED", request: () => ({ method: "POST", body: {} }) };
const atSaid = (w) => ({ event_id: w.said });
const event = (w) => ({ eventId: w.said });
const member = (membership) => (w) => ({ type: "m.room.member", sender: w.zoe, state_key: w.zoe, content: { membership } });

export const federation = {
  getWellKnown: { works: () => ({}), refused: byMethod },
  getVersion: { works: () => ({}), refused: byMethod },
  getServerKey: { works: () => ({ expects: (body) => namesServer(body.server_name) }), refused: byMethod },
  perspectivesKeyQuery: {
    works: (w) => ({ path: { serverName: w.elsewhere.name }, expects: (body) => isKeyOf(w, body) }),
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: (w) => ({ path: { serverName: w.elsewhere.name }, query: { minimum_valid_until_ts: "soon" } }) },
  },
  bulkPerspectivesKeyQuery: {
    works: (w) => ({ body: { server_keys: { [w.elsewhere.name]: {} } }, expects: (body) => isKeyOf(w, body) }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: () => ({ body: { server_keys: ["all"] } }) },
  },

  backfillRoom: {
    works: (w) => ({ path: { roomId: w.room }, query: { v: w.said, limit: 5 }, expects: (body) => has(body.pdus, w.said) }),
    refused: outside({ query: (w) => ({ v: w.said, limit: 5 }) }),
  },
  getMissingPreviousEvents: {
    works: (w) => ({ path: { roomId: w.room }, body: { earliest_events: [], latest_events: [eventId(w.state.at(-1), VERSION)], limit: 5 } }),
    refused: outside({ body: (w) => ({ earliest_events: [], latest_events: [w.said] }) }),
  },
  getEventAuth: {
    works: (w) => ({ path: { roomId: w.room, eventId: w.said } }),
    refused: outside({ path: event }),
  },
  getRoomState: { works: (w) => ({ path: { roomId: w.room }, query: atSaid(w) }), refused: outside({ query: atSaid }) },
  getRoomStateIds: { works: (w) => ({ path: { roomId: w.room }, query: atSaid(w) }), refused: outside({ query: atSaid }) },
  getEvent: {
    works: (w) => ({ path: { eventId: w.said }, expects: (body) => has(body.pdus, w.said) }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: () => ({ path: { eventId: "$none" } }) },
  },
  getEventByTimestamp: {
    works: (w) => ({ path: { roomId: w.room }, query: { ts: 0, dir: "f" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { roomId: w.room }, query: { ts: 0, dir: "b" } }) },
  },

  makeJoin: {
    works: async (w) => ({ path: { roomId: w.room, userId: w.stranger() }, query: { ver: VERSION } }),
    refused: { status: 400, errcode: "M_INCOMPATIBLE_ROOM_VERSION", request: (w) => ({ path: { roomId: w.room, userId: w.stranger() }, query: { ver: "1" } }) },
  },
  sendJoinV2: {
    works: async (w) => {
      const join = await w.template("make_join", w.room, w.stranger(), { ver: VERSION });
      return { path: { roomId: w.room, eventId: eventId(join, VERSION) }, body: join, isEvent: true };
    },
    refused: {
      status: 400,
      errcode: "M_INVALID_PARAM",
      request: async (w) => {
        const leave = await w.pdu(member("leave")(w));
        return { path: { roomId: w.room, eventId: eventId(leave, VERSION) }, body: leave };
      },
    },
  },
  makeKnock: {
    works: async (w) => ({ path: { roomId: await knockable(w), userId: w.stranger() }, query: { ver: VERSION } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ path: { roomId: await closed(w), userId: w.stranger() }, query: { ver: VERSION } }) },
  },
  sendKnock: {
    works: async (w) => {
      const roomId = await knockable(w);
      const knock = await w.template("make_knock", roomId, w.stranger(), { ver: VERSION });
      return { path: { roomId, eventId: eventId(knock, VERSION) }, body: knock, isEvent: true };
    },
    refused: {
      status: 403,
      errcode: "M_FORBIDDEN",
      request: async (w) => {
        const roomId = await knockable(w);
        const knock = await w.template("make_knock", roomId, w.stranger(), { ver: VERSION });
        await w.here.setState(w.ada, roomId, "m.room.join_rules", { join_rule: "invite" });
        return { path: { roomId, eventId: eventId(knock, VERSION) }, body: knock };
      },
    },
  },
  makeLeave: {
    works: (w) => ({ path: { roomId: w.room, userId: w.zoe } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ path: { roomId: w.room, userId: w.stranger() } }) },
  },
  sendLeaveV2: {
    works: async (w) => {
      const user = w.stranger();
      await w.join(w.room, user);
      const leave = await w.template("make_leave", w.room, user);
      return { path: { roomId: w.room, eventId: eventId(leave, VERSION) }, body: leave, isEvent: true };
    },
    refused: {
      status: 400,
      errcode: "M_INVALID_PARAM",
      request: async (w) => {
        const join = await w.template("make_join", w.room, w.stranger(), { ver: VERSION });
        return { path: { roomId: w.room, eventId: eventId(join, VERSION) }, body: join };
      },
    },
  },
  sendInviteV1: {
    works: (w) => {
      const { room, id, event, shown } = w.invite("2");
      const signedHere = ([, { event }]) => (event.signatures[w.serverName] ? "" : "the invite comes back without a signature of the server");
      return { path: { roomId: room, eventId: id }, body: { ...event, unsigned: { invite_room_state: shown } }, isEvent: true, expects: signedHere };
    },
    refused: {
      status: 400,
      errcode: "M_INVALID_PARAM",
      request: (w) => {
        const { room, id, event } = w.invite("2", { content: { membership: "ban" } });
        return { path: { roomId: room, eventId: id }, body: event };
      },
    },
  },
  sendInviteV2: {
    works: (w) => {
      const { room, id, event, shown } = w.invite(VERSION);
      const signedHere = ({ event }) => (event.signatures[w.serverName] ? "" : "the invite comes back without a signature of the server");
      return { path: { roomId: room, eventId: id }, body: { room_version: VERSION, event, invite_room_state: shown }, expects: signedHere };
    },
    refused: {
      status: 400,
      errcode: "M_INVALID_PARAM",
      request: (w) => {
        const { room, id, event, shown } = w.invite(VERSION, { state_key: `@bob:other.example.org` });
        return { path: { roomId: room, eventId: id }, body: { room_version: VERSION, event, invite_room_state: shown } };
      },
    },
  },
  exchangeThirdPartyInvite: {
    works: async (w) => {
      const { roomId, invite } = await addressed(w);
      const arrived = () => (w.elsewhere.received("/_matrix/federation/v2/invite/").some(({ event }) => event.room_id === roomId) ? "" : "nobody was invited");
      return { path: { roomId }, body: invite, expects: arrived };
    },
    refused: {
      status: 403,
      errcode: "M_FORBIDDEN",
      request: async (w) => {
        const { roomId, invite } = await addressed(w, new SigningKey(), new SigningKey());
        return { path: { roomId }, body: invite };
      },
    },
  },
  onBindThirdPartyIdentifier: {
    works: (w) => ({ body: { medium: "email", address: "ada@example.org", mxid: w.ada.id, invites: [] } }),
    refused: { status: 400, errcode: "M_MISSING_PARAM", request: (w) => ({ body: { medium: "email", address: "ada@example.org", mxid: w.ada.id, invites: [{}] } }) },
  },

  sendTransaction: {
    works: async (w) => {
      const pdu = await w.pdu({ type: "m.room.message", content: { msgtype: "m.text", body: "hello from elsewhere" } });
      const taken = ({ pdus }) => (JSON.stringify(pdus) === JSON.stringify({ [eventId(pdu, VERSION)]: {} }) ? "" : `the event was answered with ${JSON.stringify(pdus)}`);
      return { path: { txnId: w.here.fresh("txn") }, body: { origin: w.elsewhere.name, origin_server_ts: Date.now(), pdus: [pdu], edus: [] }, expects: taken };
    },
    refused: {
      status: 413,
      errcode: "M_TOO_LARGE",
      request: (w) => ({ path: { txnId: w.here.fresh("txn") }, body: { origin: w.elsewhere.name, origin_server_ts: 1, pdus: Array.from({ length: 51 }, () => ({})) } }),
    },
  },

  exchangeOpenIdToken: {
    works: async (w) => {
      const { access_token } = await w.here.call(w.ada, "POST", `/v3/user/${encodeURIComponent(w.ada.id)}/openid/request_token`, {});
      return { query: { access_token }, expects: ({ sub }) => (sub === w.ada.id ? "" : `it is said to be of ${sub}`) };
    },
    refused: { status: 401, errcode: "M_UNKNOWN_TOKEN", request: () => ({ query: { access_token: "nobody" } }) },
  },
  getPublicRooms: {
    works: async (w) => {
      await w.newRoom({ visibility: "public", name: "Known to all" });
      return { query: { limit: 5 } };
    },
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: () => ({ query: { limit: "many" } }) },
  },
  queryPublicRooms: {
    works: () => ({ body: { limit: 5, filter: { generic_search_term: "known" } }, ignores: ["include_all_networks", "third_party_instance_id"] }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: () => ({ body: { limit: "many" } }) },
  },
  queryInfo: {
    works: (w) => ({ path: { queryType: "profile" }, query: { user_id: w.ada.id } }),
    refused: { status: 404, errcode: "M_UNRECOGNIZED", request: () => ({ path: { queryType: "weather" } }) },
  },
  queryRoomDirectory: {
    works: async (w) => {
      const room_alias = `#${w.here.fresh("tea")}:${w.serverName}`;
      await w.here.call(w.ada, "PUT", `/v3/directory/room/${encodeURIComponent(room_alias)}`, { room_id: w.room });
      return { query: { room_alias } };
    },
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ query: { room_alias: `#none:${w.serverName}` } }) },
  },
  queryProfile: {
    works: (w) => ({ query: { user_id: w.ada.id } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ query: { user_id: `@nobody:${w.serverName}` } }) },
  },
  getSpaceHierarchy: {
    works: async (w) => {
      const space = await w.newRoom({ creation_content: { type: "m.space" }, name: "All" });
      await w.here.setState(w.ada, space, "m.space.child", { via: [w.serverName] }, w.room);
      return { path: { roomId: space } };
    },
    refused: { status: 404, errcode: "M_NOT_FOUND", request: async (w) => ({ path: { roomId: await closed(w) } }) },
  },
  getUserDevices: {
    works: (w) => ({ path: { userId: w.ada.id } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { userId: w.zoe } }) },
  },
  claimUserEncryptionKeys: {
    works: (w) => ({ body: { one_time_keys: { [w.ada.id]: { NONE: "signed_curve25519" } } } }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: () => ({ body: { one_time_keys: [] } }) },
  },
  queryUserEncryptionKeys: {
    works: (w) => ({ body: { device_keys: { [w.ada.id]: [] } } }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: () => ({ body: { device_keys: [] } }) },
  },
  getContent: { refused: { status: 404, errcode: "M_NOT_FOUND", request: () => ({ path: { mediaId: "none" } }) }, why: NO_FILES },
  getContentThumbnail: {
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: () => ({ path: { mediaId: "none" }, query: { width: 0, height: 1 } }) },
    why: NO_FILES,
  },
};

function namesServer(name) {
  return /^localhost:\d+$/.test(name) ? "" : `the keys are of ${name}`;
}

/** A notary tells the keys of elsewhere, with its own signature beside theirs. */
function isKeyOf(w, { server_keys: [keys] }) {
  if (keys?.verify_keys[w.elsewhere.key.id]?.key !== w.elsewhere.key.public) return `that is not the key of elsewhere: ${JSON.stringify(keys)}`;
  return keys.signatures[w.serverName] && keys.signatures[w.elsewhere.name] ? "" : "a signature is missing";
}

function has(pdus, id) {
  return pdus.some((pdu) => eventId(pdu, VERSION) === id) ? "" : `${id} is not among them: ${JSON.stringify(pdus)}`;
}

async function knockable(w) {
  const room = await w.newRoom();
  await w.here.setState(w.ada, room, "m.room.join_rules", { join_rule: "knock" });
  return room;
}

/** An invite of Ada's to somebody's mail address, and the one to the user whose it is, as `key` says for an identity server. */
async function addressed(w, published = new SigningKey(), key = published) {
  const roomId = await closed(w);
  const token = w.here.fresh("token");
  const content = { display_name: "z...", key_validity_url: "https://id.example.org/valid", public_key: published.public, public_keys: [{ public_key: published.public }] };
  await w.here.setState(w.ada, roomId, "m.room.third_party_invite", content, token);
  const mxid = w.stranger();
  const signed = key.signed("id.example.org", { mxid, token });
  const invite = { membership: "invite", third_party_invite: { display_name: "z...", signed } };
  return { roomId, invite: { type: "m.room.member", room_id: roomId, sender: w.ada.id, state_key: mxid, content: invite } };
}
