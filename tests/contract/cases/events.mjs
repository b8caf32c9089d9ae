// Events: sending, reading, relating and reading marks; sync; push.
import { withoutToken } from "./accounts.mjs";

const inRoom = (w, more = {}) => ({ as: w.ada, path: { roomId: w.room, ...more.path }, query: more.query, body: more.body });
const about = (w, eventId, more = {}) => inRoom(w, { ...more, path: { eventId, ...more.path } });
const noEvent = (more) => ({ status: 404, errcode: "M_NOT_FOUND", request: (w) => about(w, "$none", more) });
const notIn = (more = {}) => ({
  status: 403,
  errcode: "M_FORBIDDEN",
  request: async (w) => ({ as: w.bob, path: { roomId: await w.newRoom(w.ada, { preset: "private_chat" }), ...more.path }, query: more.query, body: more.body }),
});
const RULE = { kind: "content", ruleId: "tea" };
const noRule = (body) => ({ status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { kind: "content", ruleId: "none" }, body }) });
const PUSHER = {
  kind: "http", app_id: "org.example.app", pushkey: "key", app_display_name: "App", device_display_name: "Phone", lang: "en",
  data: { url: "https://push.example.org/_matrix/push/v1/notify" },
};

export const events = {
  sync: {
    works: (w) => ({ as: w.ada, query: { timeout: 0 } }),
    refused: { status: 400, request: (w) => ({ as: w.ada, query: { since: "nonsense" } }) },
  },
  getKeysChanges: {
    works: async (w) => {
      const { next_batch: from } = await w.call(w.ada, "GET", "/v3/sync?timeout=0");
      await w.join(await w.user(), w.room);
      const { next_batch: to } = await w.call(w.ada, "GET", `/v3/sync?timeout=0&since=${from}`);
      const expects = ({ changed }) => (changed.length === 1 ? "" : `one came into a room, and ${changed.length} are told`);
      return { as: w.ada, query: { from, to }, expects };
    },
    refused: { status: 400, errcode: "M_MISSING_PARAM", request: (w) => ({ as: w.ada, query: { from: "1" } }) },
  },
  sendMessage: {
    works: (w) => inRoom(w, { path: { eventType: "m.room.message", txnId: w.fresh("t") }, body: { msgtype: "m.text", body: "hello" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ ...inRoom(w, { path: { eventType: "m.room.message", txnId: w.fresh("t") }, body: {} }), as: await w.user() }) },
  },
  redactEvent: {
    works: async (w) => about(w, await w.say(w.ada, w.room, "oops"), { path: { txnId: w.fresh("t") }, body: { reason: "typo" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ ...about(w, w.said, { path: { txnId: w.fresh("t") }, body: {} }), as: await w.user() }) },
  },
  getRoomEvents: { works: (w) => inRoom(w, { query: { dir: "b", limit: 3 } }), refused: notIn({ query: { dir: "b" } }) },
  getOneRoomEvent: { works: (w) => about(w, w.said), refused: noEvent() },
  getEventContext: { works: (w) => about(w, w.said, { query: { limit: 4 } }), refused: noEvent() },
  getEventByTimestamp: {
    works: (w) => inRoom(w, { query: { ts: 0, dir: "f" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => inRoom(w, { query: { ts: 0, dir: "b" } }) },
  },
  getRelatingEvents: { works: async (w) => about(w, await answered(w)), refused: noEvent() },
  getRelatingEventsWithRelType: { works: async (w) => about(w, await answered(w), { path: { relType: "m.thread" } }), refused: noEvent({ path: { relType: "m.thread" } }) },
  getRelatingEventsWithRelTypeAndEventType: {
    works: async (w) => about(w, await answered(w), { path: { relType: "m.thread", eventType: "m.room.message" } }),
    refused: noEvent({ path: { relType: "m.thread", eventType: "m.room.message" } }),
  },
  getThreadRoots: {
    works: async (w) => {
      await answered(w);
      return inRoom(w, { query: { limit: 2 } });
    },
    refused: notIn(),
  },
  peekEvents: { works: (w) => ({ as: w.ada, query: { timeout: 0, room_id: w.room } }), refused: { status: 400, request: (w) => ({ as: w.ada, query: { from: "nonsense", room_id: w.room } }) } },
  getEvents: { works: (w) => ({ as: w.ada, query: { timeout: 0 } }), refused: { status: 400, request: (w) => ({ as: w.ada, query: { from: "nonsense" } }) } },
  initialSync: { works: (w) => ({ as: w.ada, query: { limit: 2 } }), refused: withoutToken() },
  getOneEvent: { works: (w) => ({ as: w.ada, path: { eventId: w.said } }), refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { eventId: "$none" } }) } },

  sendToDevice: {
    works: (w) => ({ as: w.ada, path: { eventType: "m.dummy", txnId: w.fresh("t") }, body: { messages: { [w.bob.id]: { "*": { text: "hello" } } } } }),
    refused: withoutToken({ path: { eventType: "m.dummy", txnId: "t" }, body: { messages: {} } }),
  },
  setTyping: {
    works: (w) => inRoom(w, { path: { userId: w.ada.id }, body: { typing: true, timeout: 1000 } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => inRoom(w, { path: { userId: w.bob.id }, body: { typing: true } }) },
  },
  postReceipt: {
    works: (w) => about(w, w.said, { path: { receiptType: "m.read" }, body: {} }),
    refused: { status: 400, request: (w) => about(w, w.said, { path: { receiptType: "m.none" }, body: {} }) },
  },
  setReadMarker: { works: (w) => inRoom(w, { body: { "m.fully_read": w.said, "m.read": w.said } }), refused: notIn({ body: { "m.fully_read": "$none" } }) },
  getRoomTags: { works: (w) => inRoom(w, { path: { userId: w.ada.id } }), refused: notOnesOwn() },
  setRoomTag: { works: (w) => inRoom(w, { path: { userId: w.ada.id, tag: "u.tea" }, body: { order: 0.5 } }), refused: notOnesOwn({ path: { tag: "u.tea" }, body: {} }) },
  deleteRoomTag: { works: (w) => inRoom(w, { path: { userId: w.ada.id, tag: "u.tea" } }), refused: notOnesOwn({ path: { tag: "u.tea" } }) },

  getPushRules: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
  getPushRulesGlobal: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
  setPushRule: {
    works: (w) => ({ as: w.ada, path: RULE, body: { pattern: "tea", actions: ["notify"] }, ignores: ["conditions"] }),
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: (w) => ({ as: w.ada, path: { kind: "content", ruleId: "other" }, query: { before: "none" }, body: { pattern: "tea", actions: ["notify"] } }) },
  },
  getPushRule: { works: ruleOfTea, refused: noRule() },
  deletePushRule: { works: ruleOfTea, refused: noRule() },
  isPushRuleEnabled: { works: ruleOfTea, refused: noRule() },
  setPushRuleEnabled: { works: (w) => ruleOfTea(w, { enabled: false }), refused: noRule({ enabled: false }) },
  getPushRuleActions: { works: ruleOfTea, refused: noRule() },
  setPushRuleActions: { works: (w) => ruleOfTea(w, { actions: ["notify"] }), refused: noRule({ actions: ["notify"] }) },
  getPushers: {
    works: async (w) => {
      await w.call(w.ada, "POST", "/v3/pushers/set", PUSHER);
      return { as: w.ada };
    },
    refused: withoutToken(),
  },
  postPusher: {
    works: (w) => ({ as: w.ada, body: PUSHER }),
    refused: { status: 400, errcode: "M_MISSING_PARAM", request: (w) => ({ as: w.ada, body: { ...PUSHER, data: {} } }) },
  },
  getNotifications: {
    works: async (w) => {
      const room = await w.newRoom(w.ada);
      await w.join(w.bob, room);
      await w.say(w.bob, room, `${w.ada.name}: tea?`, { "m.mentions": { user_ids: [w.ada.id] } });
      return { as: w.ada, query: { limit: 5 } };
    },
    refused: withoutToken(),
  },
};

/** A message of Ada's that Bob answered in a thread. */
async function answered(w) {
  const root = await w.say(w.ada, w.room, "tea?");
  await w.say(w.bob, w.room, "please", { "m.relates_to": { rel_type: "m.thread", event_id: root } });
  return root;
}

async function ruleOfTea(w, body) {
  await w.call(w.ada, "PUT", `/v3/pushrules/global/${RULE.kind}/${RULE.ruleId}`, { pattern: "tea", actions: ["notify"] });
  return { as: w.ada, path: RULE, body };
}

function notOnesOwn(more = {}) {
  return { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ ...inRoom(w, { ...more, path: { userId: w.ada.id, ...more.path } }), as: w.bob }) };
}
