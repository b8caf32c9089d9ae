// Runs in every page before its own scripts: watches the page's host worker, puts requests to it as the page's own
// fetch does, and times the raw operations that are the limits.
(() => {
  const CLIENT = "/_matrix/client/v3";
  const COMMIT_BYTES = 1_024;
  const waiting = new Map();
  const syncs = new Set();
  let begin;
  /** The page's host worker, once the page has told it what to run: it passes over what comes before. */
  let hostWorker = new Promise((resolve) => (begin = resolve));
  let database;
  let echoing;

  const bench = {
    /** When the first `/sync` that the page itself asked for was answered, in milliseconds since navigation. */
    firstSyncMs: undefined,
    /** What the homeserver last said of itself. */
    status: undefined,
    ask,
    openDatabase,
    commit,
    openEcho,
    echo,
    ownSync,
    ping,
    answerPings,
    federation,
    fill,
    initialSyncs,
    nextSyncs,
    fetchAndCompile,
  };
  globalThis.bench = bench;

  globalThis.Worker = class extends Worker {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => received(data));
    }

    postMessage(message, ...rest) {
      const { type, request } = message;
      if (type === "request" && request.url.startsWith(`${CLIENT}/sync`)) syncs.add(request.id);
      super.postMessage(message, ...rest);
      if (type !== "begin") return;
      begin(this);
      hostWorker = Promise.resolve(this);
    }
  };

  function received(message) {
    if (message.type === "hosting") bench.status = message.hosting.status ?? bench.status;
    if (message.type !== "answer") return;
    if (syncs.has(message.answer.id)) bench.firstSyncMs ??= performance.now();
    waiting.get(message.answer.id)?.(message.answer);
    waiting.delete(message.answer.id);
  }

  /** One request to the homeserver; the body of its answer, which must be 200. Whoever fills rooms is told to wait at times. */
  async function ask(method, url, options) {
    const { status, text } = await answerTo(method, url, options);
    if (status === 429) {
      await new Promise((resolve) => setTimeout(resolve, JSON.parse(text).retry_after_ms));
      return ask(method, url, options);
    }
    if (status !== 200) throw new Error(`${method} ${url}: ${status} ${text}`);
    return JSON.parse(text);
  }

  async function answerTo(method, url, { token, body } = {}) {
    const id = `bench-${crypto.randomUUID()}`;
    const headers = [["content-type", "application/json"]];
    if (token) headers.push(["authorization", `Bearer ${token}`]);
    const answered = new Promise((resolve) => waiting.set(id, resolve));
    const bytes = body && new TextEncoder().encode(JSON.stringify(body));
    (await hostWorker).postMessage({ type: "request", request: { id, method, url, headers, body: bytes } });
    const answer = await answered;
    return { status: answer.status, text: new TextDecoder().decode(answer.body) };
  }

  function sync(token, since) {
    const query = since === undefined ? "?timeout=0" : `?timeout=30000&since=${encodeURIComponent(since)}`;
    return ask("GET", `${CLIENT}/sync${query}`, { token });
  }

  function send(token, room, text) {
    const path = `${CLIENT}/rooms/${encodeURIComponent(room)}/send/m.room.message/${crypto.randomUUID()}`;
    return ask("PUT", path, { token, body: { msgtype: "m.text", body: text } });
  }

  function bodiesIn({ rooms }, room) {
    return (rooms?.join?.[room]?.timeline?.events ?? []).map(({ content }) => content.body);
  }

  async function openDatabase() {
    const opening = indexedDB.open("bench", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("rows");
    await new Promise((resolve, reject) => Object.assign(opening, { onsuccess: resolve, onerror: reject }));
    database = opening.result;
  }

  /** Milliseconds that one small relaxed commit takes: the limit of whatever has to be stored. */
  async function commit() {
    const started = performance.now();
    const transaction = database.transaction("rows", "readwrite", { durability: "relaxed" });
    const done = new Promise((resolve, reject) => Object.assign(transaction, { oncomplete: resolve, onabort: reject }));
    transaction.objectStore("rows").put(new Uint8Array(COMMIT_BYTES), crypto.randomUUID());
    transaction.commit();
    await done;
    return performance.now() - started;
  }

  /** Connects to a WebSocket server that sends back what it gets. */
  async function openEcho({ url, size }) {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    echoing = { socket, size };
  }

  /** Milliseconds there and back. */
  async function echo() {
    const { socket, size } = echoing;
    const back = new Promise((resolve) => (socket.onmessage = resolve));
    const started = performance.now();
    socket.send(new Uint8Array(size));
    await back;
    return performance.now() - started;
  }

  /** Sends a message while a `/sync` waits: the raw commit just before, and until the sync told of the message. */
  async function ownSync({ token, room, rounds }) {
    let { next_batch: since } = await sync(token);
    const samples = { commit: [], send: [], sync: [] };
    for (let round = 0; round < rounds; round += 1) {
      samples.commit.push(await commit());
      const poll = sync(token, since);
      // Answered after the poll has reached the homeserver and waits there.
      await ask("GET", "/_matrix/client/versions");
      const text = `message ${round}`;
      const started = performance.now();
      const sending = send(token, room, text).then(() => samples.send.push(performance.now() - started));
      const news = await poll;
      samples.sync.push(performance.now() - started);
      await sending;
      if (!bodiesIn(news, room).includes(text)) throw new Error(`the sync told of something else: ${JSON.stringify(news)}`);
      since = news.next_batch;
    }
    return samples;
  }

  /** Until a message of ours was answered by `answerPings` of another tab, in milliseconds. */
  async function ping({ token, room, text }) {
    let { next_batch: since } = await sync(token);
    const started = performance.now();
    const sent = send(token, room, `ping ${text}`);
    for (;;) {
      const news = await sync(token, since);
      since = news.next_batch;
      if (bodiesIn(news, room).includes(`pong ${text}`)) break;
    }
    const tookMs = performance.now() - started;
    await sent;
    return tookMs;
  }

  /** Answers each ping in `room` as soon as it is told of it, for as long as the page lives. */
  async function answerPings({ token, room }) {
    let { next_batch: since } = await sync(token);
    void (async () => {
      for (;;) {
        const news = await sync(token, since);
        since = news.next_batch;
        for (const body of bodiesIn(news, room)) {
          const text = /^ping (.*)$/.exec(body)?.[1];
          if (text !== undefined) await send(token, room, `pong ${text}`);
        }
      }
    })();
  }

  /** Milliseconds of a request that our homeserver passes on to another one, and of one that it answers by itself. */
  async function federation({ token, userId }) {
    const timed = async (url) => {
      const started = performance.now();
      await ask("GET", url, { token });
      return performance.now() - started;
    };
    const own = await timed("/_matrix/client/versions");
    return { own, federation: await timed(`${CLIENT}/profile/${encodeURIComponent(userId)}`) };
  }

  /** Makes `rooms` rooms of `events` messages each, all rooms at once; resolves to their ids. */
  async function fill({ token, rooms, events }) {
    const fillOne = async () => {
      const { room_id: room } = await ask("POST", `${CLIENT}/createRoom`, { token, body: { preset: "public_chat" } });
      for (let n = 0; n < events; n += 1) {
        await send(token, room, `Message ${n}: the quick brown fox jumps over the lazy dog, and the dog sleeps on.`);
      }
      return room;
    };
    return Promise.all(Array.from({ length: rooms }, fillOne));
  }

  /** Milliseconds of each of `count` syncs of a client that knows nothing, one after the other. All tell of `rooms` rooms. */
  async function initialSyncs({ token, count, rooms }) {
    const samples = [];
    for (let n = 0; n < count; n += 1) {
      const started = performance.now();
      const told = Object.keys((await sync(token)).rooms.join).length;
      samples.push(performance.now() - started);
      if (told !== rooms) throw new Error(`the sync told of ${told} rooms and not of ${rooms}`);
    }
    return samples;
  }

  /** Milliseconds of each of `count` syncs of a client that goes on, each of which tells of a message sent before it. */
  async function nextSyncs({ token, count, rooms }) {
    let { next_batch: since } = await sync(token);
    const samples = [];
    for (let n = 0; n < count; n += 1) {
      const room = rooms[(n * 37) % rooms.length];
      await send(token, room, `news ${n}`);
      const started = performance.now();
      const news = await sync(token, since);
      samples.push(performance.now() - started);
      if (!bodiesIn(news, room).includes(`news ${n}`)) throw new Error(`the sync told of something else: ${JSON.stringify(news)}`);
      since = news.next_batch;
    }
    return samples;
  }

  /** Milliseconds from navigation until the wasm at `url` is fetched and compiled. */
  async function fetchAndCompile(url) {
    await WebAssembly.compileStreaming(fetch(url));
    return performance.now();
  }
})();
