// A user of one homeserver, as a Matrix client sees it: what it asks for, and everything that `/sync` has told it so far.
const PATIENCE_MS = 40_000;
const CS = "/_matrix/client/v3";
const PASSWORD = "correct horse";

export class Refused extends Error {
  constructor(method, path, status, body) {
    super(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
    this.status = status;
    this.errcode = body?.errcode;
  }
}

export class Person {
  #since;
  #number = 0;
  /** By room: events of timelines and states, in the order they came. */
  #events = new Map();
  #typing = new Map();
  #receipts = new Map();
  #presence = new Map();
  #invites = new Set();
  #knocks = new Set();
  /** By user: how often their devices were said to have changed. */
  #devices = new Map();

  constructor(url, id, token) {
    Object.assign(this, { url, id, token });
  }

  /** Makes an account. */
  static async register(url, username) {
    const anybody = new Person(url);
    const body = { username, password: PASSWORD, auth: { type: "m.login.dummy" } };
    const { user_id: id, access_token: token } = await anybody.request("POST", `${CS}/register`, body);
    return new Person(url, id, token);
  }

  /** Logs in with one more device. */
  async logInOnceMore() {
    const identifier = { type: "m.id.user", user: this.id };
    await this.request("POST", `${CS}/login`, { type: "m.login.password", identifier, password: PASSWORD });
  }

  /** The JSON of a success; anything else is thrown as `Refused`. */
  async request(method, path, body) {
    const headers = { "content-type": "application/json", ...(this.token && { authorization: `Bearer ${this.token}` }) };
    const sent = body === undefined && method === "GET" ? undefined : JSON.stringify(body ?? {});
    const signal = AbortSignal.timeout(3 * PATIENCE_MS);
    const answer = await fetch(this.url + path, { method, headers, body: sent, signal });
    const content = await answer.json().catch(() => undefined);
    if (!answer.ok) throw new Refused(method, path, answer.status, content);
    return content;
  }

  /** Resolves with the refusal of what must be refused. */
  async refused(method, path, body) {
    try {
      await this.request(method, path, body);
    } catch (error) {
      if (error instanceof Refused) return error;
      throw error;
    }
    throw new Error(`${method} ${path} was not refused`);
  }

  async createRoom(version, options = {}) {
    const body = { preset: "public_chat", room_version: version, ...options };
    return (await this.request("POST", `${CS}/createRoom`, body)).room_id;
  }

  async join(room, via) {
    const query = via ? `?via=${encodeURIComponent(via)}&server_name=${encodeURIComponent(via)}` : "";
    return (await this.request("POST", `${CS}/join/${encodeURIComponent(room)}${query}`)).room_id;
  }

  /** Does something with a room: kick, ban, invite, leave, unban. */
  act(room, action, body) {
    return this.request("POST", `${CS}/rooms/${encodeURIComponent(room)}/${action}`, body);
  }

  /** The id of the message. */
  async say(room, text) {
    const path = `${this.#at(room)}/send/m.room.message/m${this.#number++}`;
    return (await this.request("PUT", path, { msgtype: "m.text", body: text })).event_id;
  }

  async redact(room, eventId) {
    const path = `${this.#at(room)}/redact/${encodeURIComponent(eventId)}/r${this.#number++}`;
    return (await this.request("PUT", path, { reason: "said in error" })).event_id;
  }

  setState(room, type, content, key = "") {
    return this.request("PUT", `${this.#at(room)}/state/${type}/${encodeURIComponent(key)}`, content);
  }

  getState(room, type, key = "") {
    return this.request("GET", `${this.#at(room)}/state/${type}/${encodeURIComponent(key)}`);
  }

  /** Ids of all events of the current state, sorted. */
  async stateIds(room) {
    return (await this.request("GET", `${this.#at(room)}/state`)).map(({ event_id: id }) => id).sort();
  }

  event(room, eventId) {
    return this.request("GET", `${this.#at(room)}/event/${encodeURIComponent(eventId)}`);
  }

  /** Texts of all messages, oldest first, paged through from the end. */
  async history(room) {
    const texts = [];
    let from = "";
    for (let page = 0; page < 50; page++) {
      const answer = await this.request("GET", `${this.#at(room)}/messages?dir=b&limit=50${from}`);
      for (const { type, content } of answer.chunk) if (type === "m.room.message" && content.body) texts.unshift(content.body);
      if (!answer.end) break;
      from = `&from=${encodeURIComponent(answer.end)}`;
    }
    return texts;
  }

  #at(room) {
    return `${CS}/rooms/${encodeURIComponent(room)}`;
  }

  // What /sync has told.

  /** Resolves with the first event of the room that `wanted` holds for. */
  untilEvent(room, wanted, what = "an event") {
    return this.until(`${what} in ${room}`, () => this.#events.get(room)?.find(wanted));
  }

  untilHeard(room, text) {
    return this.untilEvent(room, ({ type, content }) => type === "m.room.message" && content.body === text, JSON.stringify(text));
  }

  untilState(room, type, wanted, key = "") {
    return this.untilEvent(room, (event) => event.type === type && event.state_key === key && wanted(event.content), type);
  }

  untilMembership(room, userId, membership) {
    return this.untilState(room, "m.room.member", (content) => content.membership === membership, userId);
  }

  untilTyping(room, userIds) {
    return this.until(`${userIds} typing`, () => String(this.#typing.get(room) ?? []) === String(userIds));
  }

  untilReceipt(room, eventId, userId) {
    return this.until(`a receipt of ${userId}`, () => this.#receipts.get(room)?.some(([id, user]) => id === eventId && user === userId));
  }

  untilPresence(userId, wanted) {
    return this.until(`the presence of ${userId}`, () => this.#presence.has(userId) && wanted(this.#presence.get(userId)));
  }

  /**
   * Has the user's devices change until they are said to have changed. The first change may go untold: a Synapse that has not
   * followed the list asks for it, and of devices without keys it finds none.
   */
  async untilDevicesChange(userId, change) {
    const before = this.#devices.get(userId) ?? 0;
    for (let tries = 0; tries < 10 && (this.#devices.get(userId) ?? 0) === before; tries++) {
      await change();
      await this.#sync();
    }
    await this.until(`news of the devices of ${userId}`, () => (this.#devices.get(userId) ?? 0) > before);
  }

  untilInvited(room) {
    return this.until(`an invite to ${room}`, () => this.#invites.has(room));
  }

  untilKnocked(room) {
    return this.until(`the knock on ${room}`, () => this.#knocks.has(room));
  }

  /** Syncs until `look` finds something. */
  async until(what, look) {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = look();
      if (found) return found;
      if (performance.now() > deadline) throw new Error(`${this.id} waits in vain for ${what}`);
      await this.#sync();
    }
  }

  async #between(room, events, from) {
    const known = new Set(events.map(({ event_id: id }) => id));
    const found = [];
    for (let page = 0; page < 5 && from; page++) {
      const answer = await this.request("GET", `${this.#at(room)}/messages?dir=b&limit=100&from=${encodeURIComponent(from)}`);
      found.unshift(...answer.chunk.toReversed());
      from = answer.chunk.some(({ event_id: id }) => known.has(id)) ? undefined : answer.end;
    }
    return found;
  }

  async #sync() {
    const filter = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: 100 } } }));
    const since = this.#since ? `&since=${encodeURIComponent(this.#since)}&timeout=2000` : "";
    const news = await this.request("GET", `${CS}/sync?filter=${filter}${since}`);
    this.#since = news.next_batch;
    for (const [room, { state, timeline, ephemeral }] of Object.entries({ ...news.rooms?.join, ...news.rooms?.leave })) {
      const events = this.#events.get(room) ?? [];
      // Between what was told before and what is told now there may be more, which clients page to.
      if (events.length && timeline?.limited && news.rooms?.join?.[room]) events.push(...(await this.#between(room, events, timeline.prev_batch)));
      events.push(...(state?.events ?? []), ...(timeline?.events ?? []));
      this.#events.set(room, events);
      for (const { type, content } of ephemeral?.events ?? []) {
        if (type === "m.typing") this.#typing.set(room, content.user_ids);
        if (type === "m.receipt") this.#receipts.set(room, [...(this.#receipts.get(room) ?? []), ...receiptsOf(content)]);
      }
    }
    for (const { sender, content } of news.presence?.events ?? []) this.#presence.set(sender, content);
    for (const user of news.device_lists?.changed ?? []) this.#devices.set(user, (this.#devices.get(user) ?? 0) + 1);
    for (const room of Object.keys(news.rooms?.invite ?? {})) this.#invites.add(room);
    for (const room of Object.keys(news.rooms?.knock ?? {})) this.#knocks.add(room);
  }
}

function receiptsOf(content) {
  return Object.entries(content).flatMap(([id, kinds]) => Object.keys(kinds["m.read"] ?? {}).map((user) => [id, user]));
}
