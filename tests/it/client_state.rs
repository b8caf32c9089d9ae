//! Reading the state of rooms and who is in them.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, kinds, list, next_batch},
};

fn get(server: &TestServer, user: &TestUser, room: &str, rest: &str) -> Answer {
    server.get(&format!("/_matrix/client/v3/rooms/{}/{rest}", escaped(room)), &user.token)
}

fn members(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members = list(&answer["chunk"]).iter();
    let mut members: Vec<_> =
        members.map(|event| (text(&event["state_key"]), text(&event["content"]["membership"]))).collect();
    members.sort();
    members
}

#[test]
fn state_is_read_whole_or_one_by_one() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.create_room(&alice, json!({ "preset": "private_chat", "name": "N" }));
    server.set_state(&alice, &room, "org.example.k", "key", json!({ "v": 1 }));
    let all = get(&server, &alice, &room, "state").ok();
    assert!(kinds(&all).contains(&("org.example.k".to_owned(), "key".to_owned())));
    assert_eq!(all[0]["room_id"], json!(room));
    assert_eq!(get(&server, &alice, &room, "state/m.room.name/").ok(), json!({ "name": "N" }));
    assert_eq!(get(&server, &alice, &room, "state/m.room.name").ok(), json!({ "name": "N" }));
    assert_eq!(get(&server, &alice, &room, "state/org.example.k/key").ok(), json!({ "v": 1 }));
    let event = get(&server, &alice, &room, "state/org.example.k/key?format=event").ok();
    assert_eq!((&event["content"], &event["sender"]), (&json!({ "v": 1 }), &json!(alice.id)));
    get(&server, &alice, &room, "state/org.example.k/other").is_error(404, "M_NOT_FOUND");
    for path in ["state", "state/m.room.name/", "members", "joined_members"] {
        get(&server, &bob, &room, path).is_error(403, "M_FORBIDDEN");
        get(&server, &bob, "!nowhere", path).is_error(403, "M_FORBIDDEN");
    }
    server.act_on(&alice, &room, "invite", &bob);
    get(&server, &bob, &room, "state").is_error(403, "M_FORBIDDEN");
}

#[test]
fn who_left_reads_the_state_as_it_was() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "then" }));
    server.join(&bob, &room);
    server.leave(&bob, &room);
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "now" }));
    let carol = server.register("carol");
    server.join(&carol, &room);
    assert_eq!(get(&server, &bob, &room, "state/m.room.name/").ok(), json!({ "name": "then" }));
    assert_eq!(get(&server, &alice, &room, "state/m.room.name/").ok(), json!({ "name": "now" }));
    let then = get(&server, &bob, &room, "members").ok();
    assert_eq!(members(&then), [(alice.id.clone(), "join".to_owned()), (bob.id.clone(), "leave".to_owned())]);
    get(&server, &bob, &room, "joined_members").is_error(403, "M_FORBIDDEN");
    let world = json!({ "history_visibility": "world_readable" });
    server.set_state(&alice, &room, "m.room.history_visibility", "", world);
    let dave = server.register("dave");
    assert_eq!(get(&server, &dave, &room, "state/m.room.name/").ok(), json!({ "name": "now" }), "open to the world");
    get(&server, &dave, &room, "joined_members").is_error(403, "M_FORBIDDEN");
}

#[test]
fn members_are_listed_by_membership_and_by_time() {
    let server = TestServer::new();
    let (alice, bob, carol) = (server.register("alice"), server.register("bob"), server.register("carol"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    let then = next_batch(&server.sync(&alice, None, ""));
    server.leave(&bob, &room);
    server.act_on(&alice, &room, "invite", &carol);
    let listed = |query: &str| members(&get(&server, &alice, &room, &format!("members{query}")).ok());
    let row = |user: &TestUser, membership: &str| (user.id.clone(), membership.to_owned());
    assert_eq!(listed(""), [row(&alice, "join"), row(&bob, "leave"), row(&carol, "invite")]);
    assert_eq!(listed("?membership=join"), [row(&alice, "join")]);
    assert_eq!(listed("?not_membership=leave"), [row(&alice, "join"), row(&carol, "invite")]);
    assert_eq!(listed(&format!("?at={then}")), [row(&alice, "join"), row(&bob, "join")]);
    get(&server, &alice, &room, "members?at=nonsense").is_error(400, "M_INVALID_PARAM");
    let profile = format!("/_matrix/client/v3/profile/{}/displayname", alice.id);
    server.put(&profile, &alice.token, json!({ "displayname": "Alice" })).ok();
    server.settle();
    let joined = get(&server, &alice, &room, "joined_members").ok();
    assert_eq!(joined["joined"], json!({ (alice.id.clone()): { "display_name": "Alice" } }));
}

#[test]
fn the_rooms_one_is_in() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rooms = || {
        let mut rooms = server.get("/_matrix/client/v3/joined_rooms", &bob.token).ok()["joined_rooms"].clone();
        rooms.as_array_mut().unwrap().sort_by_key(Value::to_string);
        rooms
    };
    assert_eq!(rooms(), json!([]));
    let (first, second) = (server.public_room(&alice), server.public_room(&alice));
    server.join(&bob, &first);
    server.join(&bob, &second);
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(rooms(), json!(both));
    server.leave(&bob, &first);
    server.act_on(&alice, &second, "invite", &server.register("carol"));
    assert_eq!(rooms(), json!([second]));
}
