//! Inviting, joining, leaving and being made to, within one homeserver: who may, who may not, and what is left of it.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, filter, list, next_batch, texts},
};

/// Alice, who made a room; Bob and Carol, who are not in it.
struct Burrow {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    carol: TestUser,
    room: String,
}

impl Burrow {
    fn new(preset: &str) -> Self {
        let server = TestServer::new();
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
        let room = server.create_room(&alice, json!({ "preset": preset }));
        Self { server, alice, bob, carol, room }
    }

    fn post(&self, user: &TestUser, what: &str, body: Value) -> Answer {
        self.server.post(&format!("/_matrix/client/v3/rooms/{}/{what}", escaped(&self.room)), &user.token, body)
    }

    /// Invites, kicks, bans or unbans.
    fn act(&self, user: &TestUser, action: &str, target: &TestUser) -> Answer {
        self.post(user, action, json!({ "user_id": target.id }))
    }

    fn join(&self, user: &TestUser) -> Answer {
        self.post(user, "join", json!({}))
    }

    /// The content of a user's membership event, as Alice sees it; `null` if there is none.
    fn member(&self, user: &TestUser) -> Value {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.member/{}", escaped(&self.room), user.id);
        let answer = self.server.get(&path, &self.alice.token);
        if answer.status == 404 { Value::Null } else { answer.ok() }
    }

    fn membership(&self, user: &TestUser) -> String {
        self.member(user)["membership"].as_str().unwrap_or_default().to_owned()
    }

    fn events(&self) -> usize {
        list(&self.server.messages(&self.alice, &self.room, "dir=f&limit=100")["chunk"]).len()
    }

    /// Where the room is in a user's first sync: "join", "invite", "leave" or nowhere.
    fn shown_in(&self, user: &TestUser) -> Option<String> {
        let all = filter(json!({ "room": { "include_leave": true } }));
        let answer = self.server.sync(user, None, &all);
        let sections = answer["rooms"].as_object()?;
        sections.iter().find(|(_, rooms)| rooms.get(&self.room).is_some()).map(|(section, _)| section.clone())
    }
}

#[test]
fn a_public_room_is_joined_by_its_id() {
    let burrow = Burrow::new("public_chat");
    let answer = burrow.post(&burrow.bob, "join", json!({ "reason": "curious" })).ok();
    assert_eq!(answer, json!({ "room_id": burrow.room }));
    assert_eq!(burrow.member(&burrow.bob), json!({ "membership": "join", "reason": "curious" }));
    let events = burrow.events();
    assert_eq!(burrow.join(&burrow.bob).ok(), json!({ "room_id": burrow.room }), "who is in may say so again");
    assert_eq!(burrow.events(), events, "and nothing comes of it");
    assert_eq!(burrow.shown_in(&burrow.bob).as_deref(), Some("join"));
    assert_eq!(burrow.shown_in(&burrow.carol), None);
    burrow.server.say(&burrow.bob, &burrow.room, "hello");
    burrow
        .server
        .post("/_matrix/client/v3/rooms/!nowhere/join", &burrow.bob.token, json!({}))
        .is_error(404, "M_NOT_FOUND");
    burrow
        .server
        .post("/_matrix/client/v3/rooms/nonsense/join", &burrow.bob.token, json!({}))
        .is_error(400, "M_INVALID_PARAM");
}

#[test]
fn an_invite_to_an_address_is_not_taken_on_trust() {
    let burrow = Burrow::new("public_chat");
    let signed = json!({
        "sender": burrow.alice.id, "mxid": burrow.bob.id, "token": "t",
        "signatures": { "identity.example": { "ed25519:0": "x" } },
    });
    burrow.post(&burrow.bob, "join", json!({ "third_party_signed": signed })).is_error(403, "M_FORBIDDEN");
    let path = format!("/_matrix/client/v3/join/{}", escaped(&burrow.room));
    let join = |body: Value| burrow.server.post(&path, &burrow.bob.token, body);
    join(json!({ "third_party_signed": signed })).is_error(403, "M_FORBIDDEN");
    join(json!({ "third_party_signed": "trust me" })).is_error(400, "M_BAD_JSON");
    assert_eq!(burrow.shown_in(&burrow.bob), None);
    join(json!({})).ok();
}

#[test]
fn a_room_is_joined_by_its_id_or_by_a_name_it_has_here() {
    let server = TestServer::new();
    let [alice, bob, carol, dan] = ["alice", "bob", "carol", "dan"].map(|name| server.register(name));
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "room_alias_name": "burrow" }));
    let join = |user: &TestUser, named: &str| {
        server.post(&format!("/_matrix/client/v3/join/{}", escaped(named)), &user.token, json!({ "reason": "curious" }))
    };
    let alias = format!("#burrow:{}", server.server_name());
    for (user, named) in [(&bob, &room), (&carol, &alias)] {
        assert_eq!(join(user, named).ok(), json!({ "room_id": room }));
        let member = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/{}", user.id);
        assert_eq!(server.get(&member, &alice.token).ok(), json!({ "membership": "join", "reason": "curious" }));
        assert_eq!(join(user, named).ok(), json!({ "room_id": room }), "who is in may say so again");
    }
    join(&dan, &format!("#other:{}", server.server_name())).is_error(404, "M_NOT_FOUND");
    join(&dan, "#burrow:elsewhere.example").is_error(502, "M_UNKNOWN");
    join(&dan, "!nowhere").is_error(404, "M_NOT_FOUND");
    join(&dan, "burrow").is_error(400, "M_INVALID_PARAM");
    server.act_on(&alice, &room, "ban", &dan);
    join(&dan, &alias).is_error(403, "M_FORBIDDEN");
    let private = server.create_room(&alice, json!({ "preset": "private_chat", "room_alias_name": "den" }));
    join(&bob, &private).is_error(403, "M_FORBIDDEN");
    join(&bob, &format!("#den:{}", server.server_name())).is_error(403, "M_FORBIDDEN");
}

#[test]
fn who_is_invited_may_come_in() {
    let burrow = Burrow::new("private_chat");
    burrow.join(&burrow.bob).is_error(403, "M_FORBIDDEN");
    let body = json!({ "user_id": burrow.bob.id, "reason": "come and dig" });
    assert_eq!(burrow.post(&burrow.alice, "invite", body.clone()).ok(), json!({}));
    assert_eq!(burrow.member(&burrow.bob), json!({ "membership": "invite", "reason": "come and dig" }));
    assert_eq!(burrow.shown_in(&burrow.bob).as_deref(), Some("invite"));
    burrow.post(&burrow.alice, "invite", body).ok();
    assert_eq!(burrow.membership(&burrow.bob), "invite", "twice is once");
    burrow.join(&burrow.bob).ok();
    assert_eq!(burrow.shown_in(&burrow.bob).as_deref(), Some("join"));
    // An invite is good once.
    burrow.post(&burrow.bob, "leave", json!({})).ok();
    burrow.join(&burrow.bob).is_error(403, "M_FORBIDDEN");
}

#[test]
fn an_invite_takes_somebody_who_may_and_somebody_who_can() {
    let burrow = Burrow::new("private_chat");
    let (alice, bob, carol) = (&burrow.alice, &burrow.bob, &burrow.carol);
    burrow.act(bob, "invite", carol).is_error(403, "M_FORBIDDEN");
    burrow.act(bob, "invite", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "invite", bob).ok();
    burrow.act(bob, "invite", carol).is_error(403, "M_FORBIDDEN");
    burrow.join(bob).ok();
    burrow.act(alice, "invite", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "invite", alice).is_error(403, "M_FORBIDDEN");
    burrow.act(bob, "invite", carol).ok();
    burrow.act(alice, "kick", carol).ok();
    let levels = json!({ "users": { &bob.id: 10 }, "invite": 20 });
    burrow.server.set_state(alice, &burrow.room, "m.room.power_levels", "", levels);
    burrow.act(bob, "invite", carol).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "ban", carol).ok();
    burrow.act(alice, "invite", carol).is_error(403, "M_FORBIDDEN");
    assert_eq!(burrow.membership(carol), "ban");

    let nobody = format!("@nobody:{}", burrow.server.server_name());
    burrow.post(alice, "invite", json!({ "user_id": nobody })).is_error(404, "M_NOT_FOUND");
    burrow.post(alice, "invite", json!({ "user_id": "bob" })).is_error(400, "M_BAD_JSON");
    burrow.post(alice, "invite", json!({})).is_error(400, "M_BAD_JSON");
    let by_mail = json!({ "id_server": "x", "id_access_token": "x", "medium": "email", "address": "a@b" });
    burrow.post(alice, "invite", by_mail).is_error(403, "M_FORBIDDEN");
    let nowhere = "/_matrix/client/v3/rooms/!nowhere/invite";
    burrow.server.post(nowhere, &alice.token, json!({ "user_id": bob.id })).is_error(403, "M_FORBIDDEN");
}

#[test]
fn whoever_leaves_is_out_and_may_say_so_again() {
    let burrow = Burrow::new("public_chat");
    let (bob, carol) = (&burrow.bob, &burrow.carol);
    burrow.join(bob).ok();
    let since = next_batch(&burrow.server.sync(bob, None, ""));
    assert_eq!(burrow.post(bob, "leave", json!({ "reason": "too dark" })).ok(), json!({}));
    assert_eq!(burrow.member(bob), json!({ "membership": "leave", "reason": "too dark" }));
    assert!(burrow.server.sync(bob, Some(&since), "")["rooms"]["leave"].get(&burrow.room).is_some());
    let events = burrow.events();
    burrow.post(bob, "leave", json!({})).ok();
    assert_eq!(burrow.events(), events, "nothing comes of leaving twice");
    burrow.server.say(&burrow.alice, &burrow.room, "without Bob");
    let send = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/x", burrow.room);
    burrow.server.put(&send, &bob.token, json!({ "body": "x" })).is_error(403, "M_FORBIDDEN");
    assert!(texts(&burrow.server.messages(bob, &burrow.room, "dir=b")["chunk"]).is_empty());
    burrow.join(bob).ok();

    // Who was never there cannot leave; who was invited declines.
    burrow.post(carol, "leave", json!({})).is_error(404, "M_NOT_FOUND");
    burrow.act(&burrow.alice, "invite", carol).ok();
    burrow.post(carol, "leave", json!({})).ok();
    assert_eq!((burrow.membership(carol).as_str(), burrow.shown_in(carol).as_deref()), ("leave", Some("leave")));
    // Nobody leaves by being banned, or out of it.
    burrow.act(&burrow.alice, "ban", carol).ok();
    burrow.post(carol, "leave", json!({})).is_error(403, "M_FORBIDDEN");
    assert_eq!(burrow.membership(carol), "ban");
}

#[test]
fn a_kick_puts_out_but_does_not_keep_out() {
    let burrow = Burrow::new("public_chat");
    let (alice, bob, carol) = (&burrow.alice, &burrow.bob, &burrow.carol);
    burrow.act(alice, "kick", bob).is_error(403, "M_FORBIDDEN");
    burrow.join(bob).ok();
    burrow.act(carol, "kick", bob).is_error(403, "M_FORBIDDEN");
    burrow.join(carol).ok();
    burrow.act(carol, "kick", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(bob, "kick", alice).is_error(403, "M_FORBIDDEN");
    assert_eq!((burrow.membership(bob).as_str(), burrow.membership(alice).as_str()), ("join", "join"));
    let body = json!({ "user_id": bob.id, "reason": "muddy feet" });
    assert_eq!(burrow.post(alice, "kick", body.clone()).ok(), json!({}));
    assert_eq!(burrow.member(bob), json!({ "membership": "leave", "reason": "muddy feet" }));
    assert_eq!(burrow.shown_in(bob).as_deref(), Some("leave"));
    burrow.post(alice, "kick", body).is_error(403, "M_FORBIDDEN");
    burrow.join(bob).ok();
    // The right to kick is power, and reaches no further than those with less of it.
    let levels = json!({ "users": { &bob.id: 50, &carol.id: 50 } });
    burrow.server.set_state(alice, &burrow.room, "m.room.power_levels", "", levels);
    burrow.act(bob, "kick", carol).is_error(403, "M_FORBIDDEN");
    let dan = burrow.server.register("dan");
    burrow.act(alice, "invite", &dan).ok();
    burrow.act(bob, "kick", &dan).ok();
    assert_eq!(burrow.membership(&dan), "leave", "an invite is taken back likewise");
    burrow.post(alice, "kick", json!({})).is_error(400, "M_MISSING_PARAM");
    burrow.post(alice, "kick", json!({ "user_id": "bob" })).is_error(400, "M_BAD_JSON");
}

#[test]
fn a_ban_keeps_out_whether_or_not_one_was_in() {
    let burrow = Burrow::new("public_chat");
    let (alice, bob, carol) = (&burrow.alice, &burrow.bob, &burrow.carol);
    burrow.join(bob).ok();
    burrow.act(carol, "ban", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(bob, "ban", alice).is_error(403, "M_FORBIDDEN");
    burrow.act(bob, "ban", carol).is_error(403, "M_FORBIDDEN");
    let body = json!({ "user_id": bob.id, "reason": "cat" });
    assert_eq!(burrow.post(alice, "ban", body.clone()).ok(), json!({}));
    assert_eq!(burrow.member(bob), json!({ "membership": "ban", "reason": "cat" }));
    assert_eq!(burrow.shown_in(bob).as_deref(), Some("leave"));
    burrow.join(bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "invite", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "kick", bob).is_error(403, "M_FORBIDDEN");
    let events = burrow.events();
    burrow.post(alice, "ban", body).ok();
    assert_eq!(burrow.events(), events, "nothing comes of banning twice");
    burrow.act(carol, "ban", bob).is_error(403, "M_FORBIDDEN");
    burrow.post(alice, "ban", json!({ "user_id": bob.id, "reason": "still a cat" })).ok();
    assert_eq!(burrow.member(bob)["reason"], "still a cat", "another reason is another ban");
    // Nobody need have been in the room, or exist.
    burrow.act(alice, "ban", carol).ok();
    burrow.join(carol).is_error(403, "M_FORBIDDEN");
    burrow.post(alice, "ban", json!({ "user_id": "@owl:elsewhere.example" })).ok();
    burrow.post(alice, "ban", json!({})).is_error(400, "M_MISSING_PARAM");
}

#[test]
fn unbanning_opens_the_door_and_does_not_push_through_it() {
    let burrow = Burrow::new("public_chat");
    let (alice, bob, carol) = (&burrow.alice, &burrow.bob, &burrow.carol);
    burrow.act(alice, "unban", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "ban", bob).ok();
    burrow.act(bob, "unban", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(carol, "unban", bob).is_error(403, "M_FORBIDDEN");
    burrow.join(carol).ok();
    burrow.act(carol, "unban", bob).is_error(403, "M_FORBIDDEN");
    burrow.act(alice, "unban", carol).is_error(403, "M_FORBIDDEN");
    assert_eq!((burrow.membership(bob).as_str(), burrow.membership(carol).as_str()), ("ban", "join"));
    let body = json!({ "user_id": bob.id, "reason": "it was a hedgehog" });
    assert_eq!(burrow.post(alice, "unban", body.clone()).ok(), json!({}));
    assert_eq!(burrow.member(bob), json!({ "membership": "leave", "reason": "it was a hedgehog" }));
    burrow.post(alice, "unban", body).is_error(403, "M_FORBIDDEN");
    burrow.join(bob).ok();
}

#[test]
fn a_room_is_forgotten_by_whoever_is_out_of_it() {
    let burrow = Burrow::new("public_chat");
    let (alice, bob, carol) = (&burrow.alice, &burrow.bob, &burrow.carol);
    burrow.post(bob, "forget", json!({})).is_error(404, "M_NOT_FOUND");
    burrow.join(bob).ok();
    burrow.post(bob, "forget", json!({})).is_error(400, "M_UNKNOWN");
    burrow.server.say(alice, &burrow.room, "remember this");
    burrow.post(bob, "leave", json!({})).ok();
    let messages = format!("/_matrix/client/v3/rooms/{}/messages?dir=b", burrow.room);
    assert_eq!(texts(&burrow.server.get(&messages, &bob.token).ok()["chunk"]), ["remember this"]);
    assert_eq!(burrow.post(bob, "forget", json!({})).ok(), json!({}));
    burrow.post(bob, "forget", json!({})).ok();
    assert_eq!(burrow.shown_in(bob), None);
    burrow.server.get(&messages, &bob.token).is_error(403, "M_FORBIDDEN");
    assert_eq!(burrow.shown_in(alice).as_deref(), Some("join"), "others remember");
    burrow.join(bob).ok();
    assert_eq!(burrow.shown_in(bob).as_deref(), Some("join"), "coming back brings it back");
    assert_eq!(texts(&burrow.server.get(&messages, &bob.token).ok()["chunk"]), ["remember this"]);
    // The banned may forget; a new invite reminds.
    burrow.act(alice, "ban", carol).ok();
    burrow.post(carol, "forget", json!({})).ok();
    burrow.act(alice, "unban", carol).ok();
    assert_eq!(burrow.shown_in(carol), None);
    burrow.act(alice, "invite", carol).ok();
    assert_eq!(burrow.shown_in(carol).as_deref(), Some("invite"));
    burrow.post(carol, "forget", json!({})).is_error(400, "M_UNKNOWN");
}

#[test]
fn memberships_are_not_for_those_without_a_token() {
    let burrow = Burrow::new("public_chat");
    for what in ["join", "invite", "leave", "forget", "kick", "ban", "unban"] {
        let path = format!("/_matrix/client/v3/rooms/{}/{what}", burrow.room);
        let body = json!({ "user_id": burrow.bob.id });
        burrow.server.request("POST", &path, None, body).is_error(401, "M_MISSING_TOKEN");
    }
    burrow
        .server
        .request("POST", &format!("/_matrix/client/v3/join/{}", burrow.room), None, json!({}))
        .is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn who_wants_no_invites_gets_none() {
    let burrow = Burrow::new("private_chat");
    let (alice, bob) = (&burrow.alice, &burrow.bob);
    let config = format!("/_matrix/client/v3/user/{}/account_data/m.invite_permission_config", bob.id);
    let set = |content: Value| burrow.server.put(&config, &bob.token, content).ok();
    burrow.act(alice, "invite", bob).ok();
    set(json!({ "default_action": "block" }));
    assert_eq!(burrow.shown_in(bob), None, "those there are not shown either");
    let other = burrow.server.create_room(alice, json!({ "invite": [bob.id] }));
    burrow.act(alice, "invite", bob).is_error(403, "M_INVITE_BLOCKED");
    let member = format!("/_matrix/client/v3/rooms/{other}/state/m.room.member/{}", bob.id);
    burrow.server.put(&member, &alice.token, json!({ "membership": "invite" })).is_error(403, "M_INVITE_BLOCKED");
    burrow.server.get(&member, &alice.token).is_error(404, "M_NOT_FOUND");
    burrow.join(bob).ok();
    for harmless in [json!({}), json!({ "default_action": "allow" }), json!({ "default_action": 5 })] {
        set(harmless);
        burrow.server.put(&member, &alice.token, json!({ "membership": "invite" })).ok();
    }
    assert!(burrow.server.sync(bob, None, "")["rooms"]["invite"].get(&other).is_some());
}
