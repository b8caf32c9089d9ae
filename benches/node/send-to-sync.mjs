// How long a message takes until another connection has been told of it.
const CS = "/_matrix/client/v3";

/**
 * Microseconds from sending to the answer of a `/sync` that waits on another connection, of this server or another, and brings
 * the message. `send` sends it into `room` and resolves to its event id.
 */
export async function sendToSync({ sender, syncer, room, send }) {
  const { next_batch: since } = await syncer.request("GET", `${CS}/sync?timeout=0`);
  let tell;
  const sent = new Promise((resolve) => (tell = resolve));
  const seen = syncUntil(syncer, room, since, sent);
  // An answered request in between: the other one is being waited on by then.
  await sender.request("GET", "/_matrix/client/versions");
  const started = performance.now();
  tell(await send());
  return ((await seen) - started) * 1000;
}

/** When the message came; a server may wake a sync for less, such as somebody's presence, or for an earlier message. */
async function syncUntil(syncer, room, since, sent) {
  for (;;) {
    const news = await syncer.request("GET", `${CS}/sync?timeout=30000&since=${encodeURIComponent(since)}`);
    const ended = performance.now();
    const events = news.rooms?.join?.[room]?.timeline?.events ?? [];
    const id = events.length && (await sent);
    if (events.some((event) => event.event_id === id)) return ended;
    since = news.next_batch;
  }
}
