// What two people do with matrix-js-sdk, unmodified: in Node against a `warren node`, and in a page against its own homeserver.
import { ClientEvent, createClient, Direction, EventType, Filter, Preset, ReceiptType, RelationType, RoomEvent, SyncState } from "matrix-js-sdk";

const PASSWORD = "correct horse battery staple";

/** Ada and Bob register at the homeserver of `baseUrl`, meet in a room and talk there. Rejects with what was not as it should be. */
export async function talk(baseUrl) {
  const [ada, bob] = [await registered(baseUrl, "sdk-ada"), await registered(baseUrl, "sdk-bob")];
  try {
    const { room_id: room } = await ada.createRoom({ preset: Preset.PublicChat, name: "Tea" });
    await bob.joinRoom(room);
    await Promise.all([started(ada), started(bob)]);
    same(ada.getRoom(room).name, "Tea");

    const heard = once(ada, RoomEvent.Timeline, (event) => event.getSender() === bob.getUserId() && event.getType() === EventType.RoomMessage);
    const { event_id: said } = await bob.sendTextMessage(room, "Hello");
    same((await heard).getContent().body, "Hello");

    await ada.sendReceipt(ada.getRoom(room).findEventById(said), ReceiptType.Read);
    await ada.sendEvent(room, EventType.Reaction, { "m.relates_to": { rel_type: RelationType.Annotation, event_id: said, key: "tea" } });
    const thread = { rel_type: RelationType.Thread, event_id: said };
    await ada.sendMessage(room, { msgtype: "m.text", body: "In a thread", "m.relates_to": thread });
    const related = await bob.relations(room, said, RelationType.Thread, null, { dir: Direction.Backward });
    same(related.events.map((event) => event.getContent().body), ["In a thread"]);

    const filter = new Filter(bob.getUserId());
    filter.setDefinition({ room: { timeline: { limit: 1 } } });
    same(typeof (await bob.getOrCreateFilter("one", filter)), "string");
    await bob.setDisplayName("Bob");
    same((await ada.getProfileInfo(bob.getUserId())).displayname, "Bob");
    const redacted = once(ada, RoomEvent.Redaction, (event) => event.getAssociatedId() === said);
    await bob.redactEvent(room, said);
    await redacted;
    await bob.leave(room);
    await ada.logout(true);
  } finally {
    ada.stopClient();
    bob.stopClient();
  }
}

async function registered(baseUrl, username) {
  const anyone = createClient({ baseUrl });
  const account = await anyone.registerRequest({ username, password: PASSWORD, auth: { type: "m.login.dummy" }, refresh_token: false });
  return createClient({ baseUrl, userId: account.user_id, accessToken: account.access_token, deviceId: account.device_id });
}

function once(emitter, event, matches) {
  return new Promise((resolve) => {
    const listener = (...args) => {
      if (!matches(...args)) return;
      emitter.off(event, listener);
      resolve(args[0]);
    };
    emitter.on(event, listener);
  });
}

async function started(client) {
  const prepared = once(client, ClientEvent.Sync, (state) => state === SyncState.Prepared);
  await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true, threadSupport: true });
  await prepared;
}

/** Without Node's assertions: this runs in pages, too. */
function same(actual, expected) {
  const [is, was] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== was) throw new Error(`${is} instead of ${was}`);
}
