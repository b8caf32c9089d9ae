// Accounts: making one, logging in and out, devices, what belongs to a user alone.
import { passwordLogin } from "../world.mjs";

const own = (user, more) => ({ as: user, path: { userId: user.id }, ...more });

export const accounts = {
  getVersions: { works: () => ({}), refused: { status: 405, errcode: "M_UNRECOGNIZED", request: () => ({ method: "DELETE" }) } },
  getWellknown: { refused: { status: 404, request: () => ({}) }, why: "a node behind a proxy does not know its public address" },
  getCapabilities: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
  getTokenOwner: { works: (w) => ({ as: w.ada }), refused: { status: 401, errcode: "M_UNKNOWN_TOKEN", request: () => ({ as: { token: "nobody" } }) } },

  register: {
    works: (w) => ({ body: { username: w.fresh("new"), password: "a long enough one", auth: { type: "m.login.dummy" } } }),
    refused: { status: 400, errcode: "M_USER_IN_USE", request: (w) => ({ body: { username: w.ada.name, password: "x", auth: { type: "m.login.dummy" } } }) },
  },
  checkUsernameAvailability: {
    works: (w) => ({ query: { username: w.fresh("free") } }),
    refused: { status: 400, errcode: "M_INVALID_USERNAME", request: () => ({ query: { username: "Not Valid" } }) },
  },
  registrationTokenValidity: { works: () => ({ query: { token: "anything" } }), refused: { status: 400, errcode: "M_MISSING_PARAM", request: () => ({}) } },
  getLoginFlows: { works: () => ({}), refused: { status: 405, errcode: "M_UNRECOGNIZED", request: () => ({ method: "PATCH" }) } },
  login: {
    works: (w) => ({ body: passwordLogin(w.ada), ignores: ["token"] }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ body: passwordLogin({ ...w.ada, password: "wrong" }) }) },
  },
  generateLoginToken: { works: (w) => ({ as: w.ada, proves: w.ada }), refused: { status: 401, request: (w) => ({ as: w.ada, body: {} }) } },
  refresh: {
    works: async (w) => {
      const user = await w.user();
      const { refresh_token: token } = await w.call(undefined, "POST", "/v3/login", { ...passwordLogin(user), refresh_token: true });
      return { body: { refresh_token: token } };
    },
    refused: { status: 401, errcode: "M_UNKNOWN_TOKEN", request: () => ({ body: { refresh_token: "nobody" } }) },
  },
  logout: { works: async (w) => ({ as: await w.user(), body: {} }), refused: withoutToken({ body: {} }) },
  logout_all: { works: async (w) => ({ as: await w.user(), body: {} }), refused: withoutToken({ body: {} }) },
  changePassword: {
    works: async (w) => {
      const user = await w.user();
      return { as: user, body: { new_password: "another long one" }, proves: user };
    },
    refused: { status: 401, request: (w) => ({ as: w.ada, body: { new_password: "another long one" } }) },
  },
  deactivateAccount: {
    works: async (w) => {
      const user = await w.user();
      return { as: user, body: {}, proves: user };
    },
    refused: { status: 401, request: (w) => ({ as: w.ada, body: {} }) },
  },
  requestOpenIdToken: {
    works: (w) => own(w.ada, { body: {} }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ ...own(w.ada, { body: {} }), as: w.bob }) },
  },

  getDevices: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
  getDevice: {
    works: (w) => ({ as: w.ada, path: { deviceId: w.ada.device } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { deviceId: w.bob.device } }) },
  },
  updateDevice: {
    works: (w) => ({ as: w.ada, path: { deviceId: w.ada.device }, body: { display_name: "Desk" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { deviceId: w.bob.device }, body: { display_name: "Mine now" } }) },
  },
  deleteDevice: {
    works: async (w) => ({ as: w.ada, path: { deviceId: (await w.login(w.ada)).device }, body: {}, proves: w.ada }),
    refused: { status: 401, request: (w) => ({ as: w.ada, path: { deviceId: w.ada.device }, body: {} }) },
  },
  deleteDevices: {
    works: async (w) => ({ as: w.ada, body: { devices: [(await w.login(w.ada)).device] }, proves: w.ada }),
    refused: { status: 401, request: (w) => ({ as: w.ada, body: { devices: [w.ada.device] } }) },
  },

  getUserProfile: { works: (w) => ({ path: { userId: w.ada.id } }), refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { userId: `@nobody:${w.serverName}` } }) } },
  getProfileField: {
    works: async (w) => {
      await w.call(w.ada, "PUT", `/v3/profile/${encodeURIComponent(w.ada.id)}/displayname`, { displayname: "Ada" });
      return { path: { userId: w.ada.id, keyName: "displayname" } };
    },
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ path: { userId: w.ada.id, keyName: "org.example.nothing" } }) },
  },
  setProfileField: {
    works: (w) => ({ as: w.ada, path: { userId: w.ada.id, keyName: "displayname" }, body: { displayname: "Ada" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.ada, path: { userId: w.bob.id, keyName: "displayname" }, body: { displayname: "Ada" } }) },
  },
  deleteProfileField: {
    works: async (w) => ({ as: await w.user().then((user) => (w.leaving = user)), path: { userId: w.leaving.id, keyName: "displayname" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.ada, path: { userId: w.bob.id, keyName: "displayname" } }) },
  },

  setAccountData: {
    works: (w) => own(w.ada, { path: { userId: w.ada.id, type: "org.example.colour" }, body: { colour: "red" } }),
    refused: { status: 405, errcode: "M_BAD_JSON", request: (w) => ({ as: w.ada, path: { userId: w.ada.id, type: "m.push_rules" }, body: {} }) },
  },
  getAccountData: {
    works: (w) => own(w.ada, { path: { userId: w.ada.id, type: "m.push_rules" } }),
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { userId: w.ada.id, type: "org.example.nothing" } }) },
  },
  setAccountDataPerRoom: {
    works: (w) => ({ as: w.ada, path: { userId: w.ada.id, roomId: w.room, type: "org.example.colour" }, body: { colour: "red" } }),
    refused: { status: 405, errcode: "M_BAD_JSON", request: (w) => ({ as: w.ada, path: { userId: w.ada.id, roomId: w.room, type: "m.fully_read" }, body: {} }) },
  },
  getAccountDataPerRoom: {
    works: async (w) => {
      await w.call(w.ada, "PUT", `/v3/user/${encodeURIComponent(w.ada.id)}/rooms/${encodeURIComponent(w.room)}/account_data/org.example.a`, {});
      return { as: w.ada, path: { userId: w.ada.id, roomId: w.room, type: "org.example.a" } };
    },
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { userId: w.ada.id, roomId: w.room, type: "org.example.a" } }) },
  },
  defineFilter: { works: (w) => own(w.ada, { body: { room: { timeline: { limit: 5 } } } }), refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { userId: w.ada.id }, body: {} }) } },
  getFilter: {
    works: async (w) => {
      const { filter_id: filterId } = await w.call(w.ada, "POST", `/v3/user/${encodeURIComponent(w.ada.id)}/filter`, { room: { timeline: { limit: 5 } } });
      return { as: w.ada, path: { userId: w.ada.id, filterId } };
    },
    refused: { status: 404, errcode: "M_NOT_FOUND", request: (w) => ({ as: w.ada, path: { userId: w.ada.id, filterId: "999999" } }) },
  },

  getWhoIs: {
    works: async (w) => ({ as: await w.administrator(), path: { userId: w.ada.id } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { userId: w.ada.id } }) },
  },
  getAdminSuspendUser: { works: async (w) => ({ as: await w.administrator(), path: { userId: w.ada.id } }), refused: notAdmin() },
  setAdminSuspendUser: { works: async (w) => ({ as: await w.administrator(), path: { userId: w.ada.id }, body: { suspended: false } }), refused: notAdmin({ suspended: true }) },
  getAdminLockUser: { works: async (w) => ({ as: await w.administrator(), path: { userId: w.ada.id } }), refused: notAdmin() },
  setAdminLockUser: { works: async (w) => ({ as: await w.administrator(), path: { userId: w.ada.id }, body: { locked: false } }), refused: notAdmin({ locked: true }) },

  setPresence: {
    works: (w) => own(w.ada, { body: { presence: "online", status_msg: "here" } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { userId: w.ada.id }, body: { presence: "online" } }) },
  },
  getPresence: {
    works: (w) => ({ as: w.bob, path: { userId: w.ada.id } }),
    refused: { status: 403, errcode: "M_FORBIDDEN", request: async (w) => ({ as: await w.user(), path: { userId: w.ada.id } }) },
  },
  searchUserDirectory: { works: (w) => ({ as: w.ada, body: { search_term: w.bob.name } }), refused: { status: 400, errcode: "M_BAD_JSON", request: (w) => ({ as: w.ada, body: { search_term: 5 } }) } },
  getMutualRooms: {
    works: (w) => ({ as: w.ada, query: { user_id: w.bob.id } }),
    refused: { status: 400, errcode: "M_INVALID_PARAM", request: (w) => ({ as: w.ada, query: { user_id: w.ada.id } }) },
  },
  getTurnServer: { works: (w) => ({ as: w.ada }), refused: withoutToken() },
};

/** What any operation that takes a token answers without one. */
export function withoutToken(more = {}) {
  return { status: 401, errcode: "M_MISSING_TOKEN", request: () => more };
}

function notAdmin(body) {
  return { status: 403, errcode: "M_FORBIDDEN", request: (w) => ({ as: w.bob, path: { userId: w.ada.id }, body }) };
}
