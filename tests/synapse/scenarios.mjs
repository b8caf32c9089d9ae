// What two homeservers of different kinds must be able to do together, in words of clients alone: each scenario takes the
// side that makes the room (`host`), the other one (`guest`), a person on each, and a room version.
import assert from "node:assert/strict";

/** @typedef {{ host: object, guest: object, ada: import("./person.mjs").Person, bob: import("./person.mjs").Person, version: string }} Scene */

/** Ada's room with Bob in it. */
async function sharedRoom({ host, ada, bob, version }, options) {
  const room = await ada.createRoom(version, options);
  await bob.join(room, host.serverName);
  await ada.untilMembership(room, bob.id, "join");
  return room;
}

/** Both have the same state, event by event; they may need a moment. */
async function sameState(room, ...people) {
  let states;
  for (let tries = 0; tries < 60; tries++) {
    states = await Promise.all(people.map((person) => person.stateIds(room)));
    if (states.every((state) => String(state) === String(states[0]))) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.deepEqual(states[0], states[1]);
}

/** @type {Record<string, (scene: Scene) => Promise<void>>} */
export const SCENARIOS = {
  "join, messages both ways": async (scene) => {
    const { ada, bob } = scene;
    const room = await sharedRoom(scene);
    for (let n = 0; n < 3; n++) {
      await ada.say(room, `from ada ${n}`);
      await bob.untilHeard(room, `from ada ${n}`);
      await bob.say(room, `from bob ${n}`);
      await ada.untilHeard(room, `from bob ${n}`);
    }
    await sameState(room, ada, bob);
  },

  "a private room: invite, decline, invite, join, leave": async (scene) => {
    const { ada, bob } = scene;
    const room = await ada.createRoom(scene.version, { preset: "private_chat" });
    await ada.act(room, "invite", { user_id: bob.id });
    await bob.untilInvited(room);
    await bob.act(room, "leave");
    await ada.untilMembership(room, bob.id, "leave");
    await ada.act(room, "invite", { user_id: bob.id, reason: "once more" });
    await bob.untilInvited(room);
    await bob.join(room);
    await ada.untilMembership(room, bob.id, "join");
    await ada.say(room, "in private");
    await bob.untilHeard(room, "in private");
    await sameState(room, ada, bob);
    await bob.act(room, "leave");
    await ada.until("bob's leaving", () => true);
    await ada.say(room, "alone again");
  },

  "redaction both ways": async (scene) => {
    const { ada, bob } = scene;
    const room = await sharedRoom(scene);
    for (const [author, reader] of [[ada, bob], [bob, ada]]) {
      const said = await author.say(room, `regretted by ${author.id}`);
      await reader.untilHeard(room, `regretted by ${author.id}`);
      const redaction = await author.redact(room, said);
      await reader.untilEvent(room, (event) => event.event_id === redaction, "the redaction");
      for (const person of [author, reader]) assert.deepEqual((await person.event(room, said)).content, {});
    }
    // Who has the power redacts what others said.
    const said = await bob.say(room, "unwelcome");
    await ada.untilHeard(room, "unwelcome");
    const redaction = await ada.redact(room, said);
    await bob.untilEvent(room, (event) => event.event_id === redaction, "the redaction");
    assert.deepEqual((await bob.event(room, said)).content, {});
  },

  "power levels": async (scene) => {
    const { ada, bob } = scene;
    const room = await sharedRoom(scene);
    const refusal = await bob.refused("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/state/m.room.topic/`, { topic: "mine" });
    assert.equal(refusal.status, 403);
    const levels = await ada.getState(room, "m.room.power_levels");
    await ada.setState(room, "m.room.power_levels", { ...levels, users: { ...levels.users, [bob.id]: 50 } });
    await bob.untilState(room, "m.room.power_levels", (content) => content.users?.[bob.id] === 50);
    await bob.setState(room, "m.room.topic", { topic: "ours" });
    await ada.untilState(room, "m.room.topic", ({ topic }) => topic === "ours");
    await sameState(room, ada, bob);
  },

  "kick, ban, unban": async (scene) => {
    const { ada, bob, host } = scene;
    const room = await sharedRoom(scene);
    await ada.act(room, "kick", { user_id: bob.id, reason: "for now" });
    await bob.untilMembership(room, bob.id, "leave");
    await bob.join(room, host.serverName);
    await ada.say(room, "there you are");
    // A /sync of Synapse's that meets a join and a ban of its user at once may never be answered.
    await bob.untilHeard(room, "there you are");
    await ada.act(room, "ban", { user_id: bob.id });
    await bob.untilMembership(room, bob.id, "ban");
    const refusal = await bob.refused("POST", `/_matrix/client/v3/join/${encodeURIComponent(room)}?via=${host.serverName}&server_name=${host.serverName}`);
    assert.equal(refusal.status, 403);
    await ada.act(room, "unban", { user_id: bob.id });
    await bob.join(room, host.serverName);
    await ada.say(room, "welcome back");
    await bob.untilHeard(room, "welcome back");
  },

  "backfill": async (scene) => {
    const { host, ada, bob, version } = scene;
    const room = await ada.createRoom(version);
    const texts = Array.from({ length: 120 }, (_, n) => `old news ${n}`);
    for (const text of texts) await ada.say(room, text);
    await bob.join(room, host.serverName);
    let seen = [];
    // A page may be served before what is fetched in the background for it is there.
    for (let tries = 0; tries < 40 && seen.length < texts.length; tries++) {
      if (tries) await new Promise((resolve) => setTimeout(resolve, 250));
      seen = await bob.history(room);
    }
    assert.deepEqual(seen, texts);
  },

  "typing, receipts, presence": async (scene) => {
    const { ada, bob } = scene;
    const room = await sharedRoom(scene);
    // Whoever has not been told of the room yet may miss what passes meanwhile.
    await bob.untilMembership(room, bob.id, "join");
    for (const [one, other] of [[ada, bob], [bob, ada]]) {
      await one.request("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/typing/${encodeURIComponent(one.id)}`, { typing: true, timeout: 20_000 });
      await other.untilTyping(room, [one.id]);
      await one.request("PUT", `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/typing/${encodeURIComponent(one.id)}`, { typing: false });
      await other.untilTyping(room, []);
      const said = await other.say(room, `read this, ${one.id}`);
      await one.untilHeard(room, `read this, ${one.id}`);
      await one.act(room, `receipt/m.read/${encodeURIComponent(said)}`);
      await other.untilReceipt(room, said, one.id);
      const status = `here, says ${one.id}`;
      await one.request("PUT", `/_matrix/client/v3/presence/${encodeURIComponent(one.id)}/status`, { presence: "online", status_msg: status });
      await other.untilPresence(one.id, (content) => content.status_msg === status);
    }
  },

  "devices": async (scene) => {
    const { ada, bob } = scene;
    const room = await sharedRoom(scene);
    await bob.untilMembership(room, bob.id, "join");
    for (const [one, other] of [[ada, bob], [bob, ada]]) {
      // That the two share a room now is news of its own.
      await one.say(room, `devices of ${one.id}`);
      await other.untilHeard(room, `devices of ${one.id}`);
      for (let n = 0; n < 3; n++) await other.untilDevicesChange(one.id, () => one.logInOnceMore());
    }
  },

  "knock": async (scene) => {
    const { host, ada, bob, version } = scene;
    const join_rules = { type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } };
    const room = await ada.createRoom(version, { initial_state: [join_rules] });
    const query = `via=${encodeURIComponent(host.serverName)}&server_name=${encodeURIComponent(host.serverName)}`;
    await bob.request("POST", `/_matrix/client/v3/knock/${encodeURIComponent(room)}?${query}`, { reason: "please" });
    await bob.untilKnocked(room);
    await ada.untilMembership(room, bob.id, "knock");
    await ada.act(room, "invite", { user_id: bob.id });
    await bob.untilInvited(room);
    await bob.join(room, host.serverName);
    await ada.untilMembership(room, bob.id, "join");
  },

  "restricted join": async (scene) => {
    const { host, ada, bob, version } = scene;
    const club = await sharedRoom(scene);
    const allow = [{ type: "m.room_membership", room_id: club }];
    const join_rules = { type: "m.room.join_rules", state_key: "", content: { join_rule: "restricted", allow } };
    const room = await ada.createRoom(version, { initial_state: [join_rules] });
    await bob.join(room, host.serverName);
    await ada.untilMembership(room, bob.id, "join");
    await ada.say(room, "members only");
    await bob.untilHeard(room, "members only");
    // One who is no member of the club stays outside.
    const closed = await ada.createRoom(version, { preset: "private_chat" });
    const elsewhere = { ...join_rules, content: { join_rule: "restricted", allow: [{ type: "m.room_membership", room_id: closed }] } };
    const other = await ada.createRoom(version, { initial_state: [elsewhere] });
    const refusal = await bob.refused("POST", `/_matrix/client/v3/join/${encodeURIComponent(other)}?via=${host.serverName}&server_name=${host.serverName}`);
    assert.equal(refusal.status, 403);
  },

  "room upgrade": async (scene) => {
    const { host, ada, bob } = scene;
    const room = await sharedRoom(scene);
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/upgrade`;
    const { replacement_room: next } = await ada.request("POST", path, { new_version: "12" });
    await bob.untilState(room, "m.room.tombstone", (content) => content.replacement_room === next);
    await bob.join(next, host.serverName);
    await ada.untilMembership(next, bob.id, "join");
    await bob.say(next, "moved");
    await ada.untilHeard(next, "moved");
    assert.equal((await bob.getState(next, "m.room.create")).predecessor?.room_id, room);
  },

  "aliases, directory, profiles": async (scene) => {
    const { host, ada, bob, version } = scene;
    const word = `w${Math.random().toString(36).slice(2)}`;
    const room = await ada.createRoom(version, { room_alias_name: word, visibility: "public", name: `about ${word}` });
    assert.equal(await bob.join(`#${word}:${host.serverName}`), room);
    const query = `/_matrix/client/v3/publicRooms?server=${encodeURIComponent(host.serverName)}`;
    let listed = [];
    // A directory may take a moment to know of a room.
    for (let tries = 0; tries < 40 && !listed.length; tries++) {
      if (tries) await new Promise((resolve) => setTimeout(resolve, 250));
      listed = (await bob.request("POST", query, { filter: { generic_search_term: word }, limit: 10 })).chunk;
    }
    assert.deepEqual(listed.map((entry) => entry.room_id), [room]);
    await ada.request("PUT", `/_matrix/client/v3/profile/${encodeURIComponent(ada.id)}/displayname`, { displayname: `Ada ${word}` });
    await bob.untilState(room, "m.room.member", (content) => content.displayname === `Ada ${word}`, ada.id);
    const profile = await bob.request("GET", `/_matrix/client/v3/profile/${encodeURIComponent(ada.id)}`);
    assert.equal(profile.displayname, `Ada ${word}`);
  },

  "a partition that heals": async (scene) => {
    const { host, guest, ada, bob } = scene;
    const room = await sharedRoom(scene);
    const levels = await ada.getState(room, "m.room.power_levels");
    await ada.setState(room, "m.room.power_levels", { ...levels, users: { ...levels.users, [bob.id]: 50 } });
    await bob.untilState(room, "m.room.power_levels", (content) => content.users?.[bob.id] === 50);
    host.cut();
    guest.cut();
    try {
      for (let n = 0; n < 5; n++) {
        await ada.say(room, `ada, cut off ${n}`);
        await bob.say(room, `bob, cut off ${n}`);
      }
      await ada.setState(room, "m.room.topic", { topic: "ada's" });
      await bob.setState(room, "m.room.topic", { topic: "bob's" });
      await ada.setState(room, "m.room.name", { name: "only ada's" });
    } finally {
      host.mend();
      guest.mend();
    }
    // Somebody says something after it.
    await ada.say(room, "ada is back");
    await bob.say(room, "bob is back");
    await bob.untilHeard(room, "ada is back");
    await ada.untilHeard(room, "bob is back");
    for (let n = 0; n < 5; n++) {
      await bob.untilHeard(room, `ada, cut off ${n}`);
      await ada.untilHeard(room, `bob, cut off ${n}`);
    }
    await sameState(room, ada, bob);
  },
};
