// For the stories: a Matrix client that knows nothing but an origin, run inside a page by plain fetch.

/** One request by `fetch` from within `tab`; `{ status, body }`. */
export function request(tab, method, path, { token, body } = {}) {
  return tab.evaluate(
    async ({ method, path, token, body }) => {
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
      const text = await response.text();
      try {
        return { status: response.status, body: JSON.parse(text) };
      } catch {
        return { status: response.status, body: text };
      }
    },
    { method, path, token, body },
  );
}

/** The same, failing unless it is answered 200; only the body. */
export async function ask(tab, method, path, options) {
  const { status, body } = await request(tab, method, path, options);
  if (status !== 200) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
  return body;
}

export const CLIENT = "/_matrix/client/v3";

/** Registers `username` on the homeserver of this origin; `{ user_id, access_token }`. */
export function register(tab, username, base = "") {
  const body = { username, password: "a password nobody guesses", auth: { type: "m.login.dummy" } };
  return ask(tab, "POST", `${base}${CLIENT}/register`, { body });
}

/** What /sync says of `room`'s timeline: the bodies of its messages. */
export async function messagesIn(tab, token, room) {
  const { rooms } = await ask(tab, "GET", `${CLIENT}/sync`, { token });
  const events = rooms?.join?.[room]?.timeline?.events ?? [];
  return events.filter(({ type }) => type === "m.room.message").map(({ content }) => content.body);
}

let transactions = 0;
export function send(tab, token, room, text) {
  const path = `${CLIENT}/rooms/${encodeURIComponent(room)}/send/m.room.message/story-${transactions++}`;
  return ask(tab, "PUT", path, { token, body: { msgtype: "m.text", body: text } });
}

/** What a script reads out of a link to a room: `{ room, via }`. */
export function partsOf(link) {
  const [room, query] = new URL(link).hash.slice("#/join/".length).split("?");
  return { room: decodeURIComponent(room), via: new URLSearchParams(query).get("via") };
}
