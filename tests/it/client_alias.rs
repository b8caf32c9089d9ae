//! Names of rooms on this server: given, looked up, listed and taken away.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::escaped,
};

struct Names {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    room: String,
}

impl Names {
    fn new() -> Self {
        let server = TestServer::new();
        let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
        let room = server.public_room(&alice);
        Self { server, alice, bob, room }
    }

    fn alias(&self, name: &str) -> String {
        format!("#{name}:{}", self.server.server_name())
    }

    fn path(&self, name: &str) -> String {
        format!("/_matrix/client/v3/directory/room/{}", escaped(&self.alias(name)))
    }

    fn give(&self, user: &TestUser, name: &str) -> Answer {
        self.server.put(&self.path(name), &user.token, json!({ "room_id": self.room }))
    }

    fn look_up(&self, name: &str) -> Answer {
        self.server.request("GET", &self.path(name), None, Value::Null)
    }

    fn take(&self, user: &TestUser, name: &str) -> Answer {
        self.server.delete(&self.path(name), &user.token)
    }

    fn list(&self, user: &TestUser) -> Answer {
        self.server.get(&format!("/_matrix/client/v3/rooms/{}/aliases", escaped(&self.room)), &user.token)
    }
}

#[test]
fn a_name_is_given_once_by_who_is_in_the_room() {
    let names = Names::new();
    names.give(&names.bob, "burrow").is_error(403, "M_FORBIDDEN");
    assert_eq!(names.give(&names.alice, "burrow").ok(), json!({}));
    names.give(&names.alice, "burrow").is_error(409, "M_UNKNOWN");
    let other = names.server.public_room(&names.bob);
    let taken = names.server.put(&names.path("burrow"), &names.bob.token, json!({ "room_id": other }));
    taken.is_error(409, "M_UNKNOWN");
    assert_eq!(names.look_up("burrow").ok()["room_id"], json!(names.room), "it stays where it was");
    names.give(&names.alice, "warren").ok();

    let put = |path: &str, body: Value| names.server.put(path, &names.alice.token, body);
    let foreign = "/_matrix/client/v3/directory/room/%23burrow:elsewhere.example";
    put(foreign, json!({ "room_id": names.room })).is_error(400, "M_INVALID_PARAM");
    put("/_matrix/client/v3/directory/room/burrow", json!({ "room_id": names.room })).is_error(400, "M_INVALID_PARAM");
    put(&names.path("x"), json!({ "room_id": "!nowhere" })).is_error(403, "M_FORBIDDEN");
    put(&names.path("x"), json!({ "room_id": "nonsense" })).is_error(400, "M_BAD_JSON");
    put(&names.path("x"), json!({})).is_error(400, "M_MISSING_PARAM");
    names.look_up("x").is_error(404, "M_NOT_FOUND");
    let nobody = names.server.request("PUT", &names.path("x"), None, json!({ "room_id": names.room }));
    nobody.is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn a_name_leads_to_the_room_and_to_servers_in_it_for_anybody() {
    let names = Names::new();
    names.give(&names.alice, "burrow").ok();
    let expected = json!({ "room_id": names.room, "servers": [names.server.server_name()] });
    assert_eq!(names.look_up("burrow").ok(), expected);
    names.look_up("Burrow").is_error(404, "M_NOT_FOUND");
    names.look_up("other").is_error(404, "M_NOT_FOUND");
    let look_up = |path: &str| names.server.request("GET", path, None, Value::Null);
    look_up("/_matrix/client/v3/directory/room/%23burrow:elsewhere.example").is_error(502, "M_UNKNOWN");
    look_up("/_matrix/client/v3/directory/room/burrow").is_error(400, "M_INVALID_PARAM");
    let again = TestServer::on(names.server.disk.clone());
    assert_eq!(again.request("GET", &names.path("burrow"), None, Value::Null).ok(), expected, "after a restart too");
}

#[test]
fn a_name_is_taken_away_by_who_gave_it_or_may_set_the_rooms_names() {
    let names = Names::new();
    let (alice, bob, carol) = (&names.alice, &names.bob, &names.server.register("carol"));
    names.take(alice, "burrow").is_error(404, "M_NOT_FOUND");
    names.server.join(bob, &names.room);
    names.give(bob, "bobs").ok();
    names.give(bob, "bobs_too").ok();
    names.give(alice, "alices").ok();
    names.take(carol, "bobs").is_error(403, "M_FORBIDDEN");
    names.take(bob, "alices").is_error(403, "M_FORBIDDEN");
    assert_eq!(names.take(bob, "bobs").ok(), json!({}), "who gave it");
    names.look_up("bobs").is_error(404, "M_NOT_FOUND");
    names.take(alice, "bobs_too").ok();
    let levels = json!({ "users": { &bob.id: 30 }, "events": { "m.room.canonical_alias": 30 } });
    names.server.set_state(alice, &names.room, "m.room.power_levels", "", levels);
    names.take(bob, "alices").ok();
    names.take(bob, "alices").is_error(404, "M_NOT_FOUND");
    names
        .server
        .delete("/_matrix/client/v3/directory/room/%23a:elsewhere.example", &bob.token)
        .is_error(400, "M_INVALID_PARAM");
    names.server.request("DELETE", &names.path("x"), None, Value::Null).is_error(401, "M_MISSING_TOKEN");
    names.give(bob, "alices").ok();
}

#[test]
fn the_names_of_a_room_are_listed_for_who_is_in_it() {
    let names = Names::new();
    assert_eq!(names.list(&names.alice).ok(), json!({ "aliases": [] }));
    names.give(&names.alice, "b").ok();
    names.give(&names.alice, "a").ok();
    let other = names.server.public_room(&names.alice);
    names.server.put(&names.path("other"), &names.alice.token, json!({ "room_id": other })).ok();
    let mut listed = names.list(&names.alice).ok()["aliases"].clone();
    listed.as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(listed, json!([names.alias("a"), names.alias("b")]));
    names.take(&names.alice, "a").ok();
    assert_eq!(names.list(&names.alice).ok(), json!({ "aliases": [names.alias("b")] }));
    names.list(&names.bob).is_error(403, "M_FORBIDDEN");
    let readable = json!({ "history_visibility": "world_readable" });
    names.server.set_state(&names.alice, &names.room, "m.room.history_visibility", "", readable);
    assert_eq!(names.list(&names.bob).ok(), json!({ "aliases": [names.alias("b")] }), "whoever may read it");
    names.server.get("/_matrix/client/v3/rooms/!nowhere/aliases", &names.alice.token).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_room_calls_itself_only_what_leads_to_it() {
    let names = Names::new();
    names.give(&names.alice, "burrow").ok();
    let other = names.server.create_room(&names.alice, json!({ "room_alias_name": "elsewhere" }));
    let call = |user: &TestUser, content: Value| {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.canonical_alias", escaped(&names.room));
        names.server.put(&path, &user.token, content)
    };
    let (right, wrong, none) = (names.alias("burrow"), names.alias("elsewhere"), names.alias("none"));
    for bad in [&wrong, &none] {
        call(&names.alice, json!({ "alias": bad })).is_error(400, "M_BAD_ALIAS");
        call(&names.alice, json!({ "alias": right, "alt_aliases": [bad] })).is_error(400, "M_BAD_ALIAS");
    }
    for malformed in ["burrow", "#burrow", "@burrow:elsewhere.example"] {
        call(&names.alice, json!({ "alias": malformed })).is_error(400, "M_INVALID_PARAM");
        call(&names.alice, json!({ "alt_aliases": [malformed] })).is_error(400, "M_INVALID_PARAM");
    }
    names.server.join(&names.bob, &names.room);
    call(&names.bob, json!({ "alias": right })).is_error(403, "M_FORBIDDEN");
    call(&names.alice, json!({ "alias": right, "alt_aliases": [right] })).ok();
    // A name may outlive what it is for, and be taken back.
    names.take(&names.alice, "burrow").ok();
    call(&names.alice, json!({})).ok();
    assert_ne!(names.room, other);
}
