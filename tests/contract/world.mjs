// What the cases of the contract find prepared: a homeserver of their own with people, rooms and messages in it.
import { createHmac } from "node:crypto";

const PASSWORD = "correct horse battery staple";

export class World {
  #url;
  #secret;
  #made = 0;
  #administrator;

  /**
   * @param {string} url of a homeserver that nobody else uses, with open registration
   * @param {string} secret by which accounts are made, too
   */
  constructor(url, secret) {
    this.#url = url;
    this.#secret = secret;
  }

  /** Ada and Bob are in a public room of Ada's; Bob wrote `said` into it. */
  async prepare() {
    [this.ada, this.bob] = [await this.user(), await this.user()];
    this.serverName = this.ada.id.slice(this.ada.id.indexOf(":") + 1);
    this.room = await this.newRoom(this.ada);
    await this.join(this.bob, this.room);
    this.said = await this.say(this.bob, this.room, "hello");
    return this;
  }

  /** Something nobody used before. */
  fresh(word = "n") {
    return `${word}${++this.#made}`;
  }

  /** Somebody new: `{ id, token, device, name, password }`. */
  async user() {
    const name = this.fresh("user");
    const account = await this.call(undefined, "POST", "/v3/register", { username: name, password: PASSWORD, auth: { type: "m.login.dummy" } });
    return { id: account.user_id, token: account.access_token, device: account.device_id, name, password: PASSWORD };
  }

  /** Who may administer the homeserver. */
  administrator() {
    return (this.#administrator ??= this.#newAdministrator());
  }

  async #newAdministrator() {
    const url = "/_synapse/admin/v1/register";
    const { body: { nonce } } = await this.ask({ method: "GET", url });
    const mac = createHmac("sha1", this.#secret).update([nonce, "admin", PASSWORD, "admin"].join("\0")).digest("hex");
    const { status, body } = await this.ask({ method: "POST", url, body: { nonce, username: "admin", password: PASSWORD, admin: true, mac } });
    if (status !== 200) throw new Error(`no administrator: ${status} ${JSON.stringify(body)}`);
    return { id: body.user_id, token: body.access_token };
  }

  /** Another device of the same person. */
  async login(user) {
    const session = await this.call(undefined, "POST", "/v3/login", passwordLogin(user));
    return { ...user, token: session.access_token, device: session.device_id };
  }

  async newRoom(owner, options = {}) {
    return (await this.call(owner, "POST", "/v3/createRoom", { preset: "public_chat", ...options })).room_id;
  }

  join(user, room) {
    return this.call(user, "POST", `/v3/rooms/${encodeURIComponent(room)}/join`, {});
  }

  say(user, room, body, more = {}) {
    return this.send(user, room, "m.room.message", { msgtype: "m.text", body, ...more });
  }

  async send(user, room, type, content) {
    return (await this.call(user, "PUT", `/v3/rooms/${encodeURIComponent(room)}/send/${type}/${this.fresh("txn")}`, content)).event_id;
  }

  async setState(user, room, type, content, key = "") {
    return (await this.call(user, "PUT", `/v3/rooms/${encodeURIComponent(room)}/state/${type}/${encodeURIComponent(key)}`, content)).event_id;
  }

  /** A request that prepares something, below `/_matrix/client`: it has to succeed. */
  async call(user, method, path, body) {
    const { status, body: answer } = await this.ask({ token: user?.token, method, url: `/_matrix/client${path}`, body });
    if (status !== 200) throw new Error(`cannot prepare: ${method} ${path}: ${status} ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Any request, with `raw` as its body if that is given; `body` of the answer is what its JSON says. */
  async ask({ token, method, url, body, raw = body && JSON.stringify(body) }) {
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(raw !== undefined && { "content-type": "application/json" }) };
    const response = await fetch(this.#url + url, { method, headers, body: raw, redirect: "manual" });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : undefined };
  }
}

/** A login with the password, or one step of interactive authentication by it. */
export function passwordLogin({ name, password }) {
  return { type: "m.login.password", identifier: { type: "m.id.user", user: name }, password };
}
