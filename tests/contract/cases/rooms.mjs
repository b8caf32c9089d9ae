// Rooms: making and finding them, who is in them, their state.
import { withoutToken } from "./accounts.mjs";

/** A room that the asking user may do nothing in. */
const elsewhere = async (w, more) => ({ as: w.bob, path: { roomId: await w.newRoom(w.ada, { preset: "private_chat" }), ...more?.path }, ...more?.rest });
const forbidden = (more) => ({ status: 403, errcode: "M_FORBIDDEN", request: (w) => elsewhere(w, more) });

export const rooms = {
  createRoom: {
    works: (w) => ({ as: w.ada, body: { name: "Tea", topic: "Hot or cold" } }),
    refused: { status: 400, errcode: "M_UNSUPPORTED_ROOM_VERSION", request: (w) => ({ as: w.ada, body: { room_version: "none-such" } }) },
  },
  upgradeRoom: {
    works: async (w) => ({ as: w.ada, path: { roomId: await w.newRoom(w.ada) }, body: { new_version: "11" } }),
    refused: { status: 400, errcode: "M_UNSUPPORTED_ROOM_VERSION", request: (w) => ({ as: w.ada, path: { roomId: w.room }, body: { new_version: "none-such" } }) },
  },
  getJoinedRooms: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
  setRoomAlias: {
    works: (w) => ({ as: w.ada, path: { roomAlias: `#${w.fresh("tea")}:${w.serverName}` }, body: { room_id: w.room } }),
    refused: { status: 409, errcode: "M_UNKNOWN", request: async (w) => ({ as: w.ada, path: { roomAlias: await alias(w) }, body: { room_id: w.room } }) },
  },
  getRoomIdByAlias: {
    works: async (w) => ({ path: { roomAlias: await alias(w) } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { roomAlias: `#none:${w.serverName}` } }) },
  },
  deleteRoomAlias: {
    works: async (w) => ({ as: w.ada, path: { roomAlias: await alias(w) } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { roomAlias: `#none:${w.serverName}` } }) },
  },
  getLocalAliases: { works: (w) => ({ as: w.ada, path: { roomId: w.room } }), refused: forbidden() },
  getRoomVisibilityOnDirectory: {
    works: (w) => ({ path: { roomId: w.room } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { roomId: `!none:${w.serverName}` } }) },
  },
  setRoomVisibilityOnDirectory: {
    works: (w) => ({ as: w.ada, path: { roomId: w.room }, body: { visibility: "public" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { roomId: `!none:${w.serverName}` }, body: { visibility: "public" } }) },
  },
  getPublicRooms: {
    works: async (w) => {
      await w.newRoom(w.ada, { visibility: "public", name: "Known to all", topic: "t" });
      return { query: { limit: 5 } };
    },
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: () => ({ query: { limit: "many" } }) },
  },
  queryPublicRooms: {
    works: (w) => ({ as: w.ada, body: { limit: 5, filter: { generic_search_term: "known" } }, ignores: ["include_all_networks", "third_party_instance_id"] }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: (w) => ({ as: w.ada, body: { limit: "many" } }) },
  },
  getRoomSummary: {
    works: (w) => ({ as: w.ada, path: { roomIdOrAlias: w.room }, forAnybody: true }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: async (w) => ({ as: w.bob, path: { roomIdOrAlias: await w.newRoom(w.ada, { preset: "private_chat" }) } }) },
  },
  getSpaceHierarchy: {
    works: async (w) => {
      const space = await w.newRoom(w.ada, { creation_content: { type: "m.space" }, name: "All" });
      await w.setState(w.ada, space, "m.space.child", { via: [w.serverName] }, w.room);
      return { as: w.ada, path: { roomId: space } };
    },
    refused: forbidden(),
  },

  inviteUser: {
    works: async (w) => ({ as: w.ada, path: { roomId: await w.newRoom(w.ada) }, body: { user_id: w.bob.id } }),
    refused: forbidden({ rest: { body: { user_id: "@cleo:example.org" } } }),
  },
  inviteBy3PID: {
    refused: { status: 403, request: (w) => ({ as: w.ada, path: { roomId: w.room }, body: { id_server: "id.example.org", id_access_token: "t", medium: "email", address: "a@example.org" } }) },
    why: "no identity server is asked for anything",
  },
  joinRoomById: { works: async (w) => ({ as: w.bob, path: { roomId: await w.newRoom(w.ada) }, body: {} }), refused: forbidden({ rest: { body: {} } }) },
  joinRoom: {
    works: async (w) => ({ as: w.bob, path: { roomIdOrAlias: await w.newRoom(w.ada) }, body: {} }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ as: w.bob, path: { roomIdOrAlias: await w.newRoom(w.ada, { preset: "private_chat" }) }, body: {} }) },
  },
  knockRoom: {
    works: async (w) => ({ as: w.bob, path: { roomIdOrAlias: await knockable(w) }, body: { reason: "Tea?" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ as: w.bob, path: { roomIdOrAlias: await w.newRoom(w.ada, { preset: "private_chat" }) }, body: {} }) },
  },
  leaveRoom: {
    works: async (w) => {
      const roomId = await w.newRoom(w.ada);
      await w.join(w.bob, roomId);
      return { as: w.bob, path: { roomId }, body: {} };
    },
    refused: withoutToken({ path: { roomId: "!none" }, body: {} }),
  },
  forgetRoom: {
    works: async (w) => {
      const roomId = await w.newRoom(w.ada);
      await w.call(w.ada, "POST", `/v3/rooms/${encodeURIComponent(roomId)}/leave`, {});
      return { as: w.ada, path: { roomId }, body: {} };
    },
    refused: { status: 400, errcode: "M_UNKNOWN", request: (w) => ({ as: w.ada, path: { roomId: w.room }, body: {} }) },
  },
  kick: {
    works: async (w) => ({ as: w.ada, path: { roomId: await roomWithBob(w) }, body: { user_id: w.bob.id, reason: "tea is over" } }),
    refused: forbidden({ rest: { body: { user_id: "@cleo:example.org" } } }),
  },
  ban: {
    works: async (w) => ({ as: w.ada, path: { roomId: await roomWithBob(w) }, body: { user_id: w.bob.id } }),
    refused: forbidden({ rest: { body: { user_id: "@cleo:example.org" } } }),
  },
  unban: {
    works: async (w) => {
      const roomId = await roomWithBob(w);
      await w.call(w.ada, "POST", `/v3/rooms/${encodeURIComponent(roomId)}/ban`, { user_id: w.bob.id });
      return { as: w.ada, path: { roomId }, body: { user_id: w.bob.id } };
    },
    refused: forbidden({ rest: { body: { user_id: "@cleo:example.org" } } }),
  },

  getRoomState: { works: (w) => ({ as: w.ada, path: { roomId: w.room } }), refused: forbidden() },
  getRoomStateWithKey: {
    works: (w) => ({ as: w.ada, path: { roomId: w.room, eventType: "m.room.create", stateKey: "" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { roomId: w.room, eventType: "m.room.topic", stateKey: "" } }) },
  },
  setRoomStateWithKey: {
    works: (w) => ({ as: w.ada, path: { roomId: w.room, eventType: "m.room.name", stateKey: "" }, body: { name: "Tea" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { roomId: w.room, eventType: "m.room.name", stateKey: "" }, body: { name: "Coffee" } }) },
  },
  getMembersByRoom: { works: (w) => ({ as: w.ada, path: { roomId: w.room } }), refused: forbidden() },
  getJoinedMembersByRoom: { works: (w) => ({ as: w.ada, path: { roomId: w.room } }), refused: forbidden() },
  roomInitialSync: { works: (w) => ({ as: w.ada, path: { roomId: w.room } }), refused: forbidden() },

  reportRoom: {
    works: (w) => ({ as: w.bob, path: { roomId: w.room }, body: { reason: "cold tea" } }),
    refused: { status: 400, errcode: "M_MISSING_PARAM", request: (w) => ({ as: w.bob, path: { roomId: w.room }, body: {} }) },
  },
  reportEvent: {
    works: (w) => ({ as: w.ada, path: { roomId: w.room, eventId: w.said }, body: { reason: "cold tea" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { roomId: w.room, eventId: "$none" }, body: {} }) },
  },
  reportUser: {
    works: (w) => ({ as: w.ada, path: { userId: w.bob.id }, body: { reason: "cold tea" } }),
    refused: { status: 400, errcode: "M_BAD_JSON", request: (w) => ({ as: w.ada, path: { userId: w.bob.id }, body: { reason: 5 } }) },
  },
};

async function alias(w) {
  const name = `#${w.fresh("tea")}:${w.serverName}`;
  await w.call(w.ada, "PUT", `/v3/directory/room/${encodeURIComponent(name)}`, { room_id: w.room });
  return name;
}

async function roomWithBob(w) {
  const room = await w.newRoom(w.ada);
  await w.join(w.bob, room);
  return room;
}

function knockable(w) {
  return w.newRoom(w.ada, { initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }] });
}
