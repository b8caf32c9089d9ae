// matrix-js-sdk, unmodified, in Node: two people talk in a room. Argument: the base URL of a homeserver.
import assert from "node:assert/strict";
import { ClientEvent, createClient, Direction, EventType, Filter, Preset, ReceiptType, RelationType, RoomEvent, SyncState } from "matrix-js-sdk";

// Part of JavaScript since 2024, and used by the SDK; Node 20 does not have it.
Promise.withResolvers ??= () => {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

const PASSWORD = "correct horse battery staple";
const [, , baseUrl] = process.argv;

async function registered(username) {
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

const [ada, bob] = [await registered("sdk-ada"), await registered("sdk-bob")];
try {
  const { room_id: room } = await ada.createRoom({ preset: Preset.PublicChat, name: "Tea" });
  await bob.joinRoom(room);
  await Promise.all([started(ada), started(bob)]);
  assert.equal(ada.getRoom(room).name, "Tea");

  const heard = once(ada, RoomEvent.Timeline, (event) => event.getSender() === bob.getUserId() && event.getType() === EventType.RoomMessage);
  const { event_id: said } = await bob.sendTextMessage(room, "Hello");
  assert.equal((await heard).getContent().body, "Hello");

  await ada.sendReceipt(ada.getRoom(room).findEventById(said), ReceiptType.Read);
  await ada.sendEvent(room, EventType.Reaction, { "m.relates_to": { rel_type: RelationType.Annotation, event_id: said, key: "tea" } });
  const thread = { rel_type: RelationType.Thread, event_id: said };
  await ada.sendMessage(room, { msgtype: "m.text", body: "In a thread", "m.relates_to": thread });
  const related = await bob.relations(room, said, RelationType.Thread, null, { dir: Direction.Backward });
  assert.deepEqual(related.events.map((event) => event.getContent().body), ["In a thread"]);

  const filter = new Filter(bob.getUserId());
  filter.setDefinition({ room: { timeline: { limit: 1 } } });
  assert.ok(await bob.getOrCreateFilter("one", filter));
  await bob.setDisplayName("Bob");
  assert.equal((await ada.getProfileInfo(bob.getUserId())).displayname, "Bob");
  await bob.redactEvent(room, said);
  await bob.leave(room);
  await ada.logout(true);
} finally {
  ada.stopClient();
  bob.stopClient();
}
// Its timers go on without it.
process.exit(process.exitCode);
