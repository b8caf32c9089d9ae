//! Upgrading a room: what carries over to its replacement, what becomes of the old one, and who follows.
use serde_json::{Value, json};
use warren::ports::StoreError;

use crate::{
    fakes::Mishap,
    federation_network::Network,
    harness::{Answer, TestServer, TestUser, request},
    talk::{escaped, list},
};

/// From the oldest and the newest to all, from all to them, and where the rules of upgrades differ.
fn upgrades() -> Vec<(String, String)> {
    let all: Vec<u8> = (1..=12).collect();
    let to_and_fro = all.iter().flat_map(|version| [(1, *version), (*version, 1), (12, *version), (*version, 12)]);
    let pairs: std::collections::BTreeSet<(u8, u8)> = to_and_fro.chain([(10, 11), (11, 10), (6, 10), (9, 8)]).collect();
    pairs.into_iter().map(|(from, to)| (from.to_string(), to.to_string())).collect()
}

fn try_upgrade(server: &TestServer, user: &TestUser, room: &str, body: Value) -> Answer {
    let answer = server.post(&format!("/_matrix/client/v3/rooms/{}/upgrade", escaped(room)), &user.token, body);
    server.settle();
    answer
}

fn upgrade(server: &TestServer, user: &TestUser, room: &str, version: &str) -> String {
    let answer = try_upgrade(server, user, room, json!({ "new_version": version })).ok();
    answer["replacement_room"].as_str().unwrap().to_owned()
}

fn event(server: &TestServer, user: &TestUser, room: &str, kind: &str, key: &str) -> Option<Value> {
    let state = server.get(&format!("/_matrix/client/v3/rooms/{}/state", escaped(room)), &user.token).ok();
    list(&state).iter().find(|event| event["type"] == kind && event["state_key"] == key).cloned()
}

fn content(server: &TestServer, user: &TestUser, room: &str, kind: &str) -> Value {
    event(server, user, room, kind, "").map_or(Value::Null, |event| event["content"].clone())
}

fn account_data(server: &TestServer, user: &TestUser, path: &str) -> Value {
    server.get(&format!("/_matrix/client/v3/user/{}/{path}", user.id), &user.token).body
}

fn put_account_data(server: &TestServer, user: &TestUser, path: &str, content: Value) {
    server.put(&format!("/_matrix/client/v3/user/{}/{path}", user.id), &user.token, content).ok();
}

#[test]
fn a_room_goes_on_in_another_version() {
    for (from, to) in upgrades() {
        let (from, to) = (from.as_str(), to.as_str());
        let server = TestServer::new();
        let [alice, bob, mallory] = ["alice", "bob", "mallory"].map(|name| server.register(name));
        let state = |kind: &str, content: Value| json!({ "type": kind, "state_key": "", "content": content });
        let room = server.create_room(
            &alice,
            json!({
                "room_version": from, "preset": "public_chat", "visibility": "public", "name": "Den", "topic": "roots",
                "room_alias_name": "den", "creation_content": { "type": "m.space", "m.federate": false },
                "initial_state": [
                    state("m.room.avatar", json!({ "url": "mxc://x/y" })),
                    state("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
                    state("m.room.server_acl", json!({ "allow": ["*"] })),
                    state("org.example.private", json!({ "secret": true })),
                    { "type": "m.space.child", "state_key": "!child", "content": { "via": ["x.alt"] } },
                    { "type": "m.space.child", "state_key": "!gone", "content": {} },
                ],
                "power_level_content_override": power(from, &alice, json!({ &bob.id: 60 })),
            }),
        );
        server.join(&bob, &room);
        server.act_on(&alice, &room, "ban", &mallory);
        let new = upgrade(&server, &alice, &room, to);
        let of_new = |kind: &str| content(&server, &alice, &new, kind);
        let create = of_new("m.room.create");
        assert_eq!((&create["room_version"], &create["type"]), (&json!(to), &json!("m.space")), "{from} {to}");
        assert_eq!((&create["predecessor"]["room_id"], &create["m.federate"]), (&json!(room), &json!(false)));
        for kind in
            ["name", "topic", "avatar", "encryption", "server_acl", "join_rules", "history_visibility", "guest_access"]
        {
            let kind = format!("m.room.{kind}");
            let of_old = content(&server, &alice, &room, &kind);
            assert!(of_old.is_object() && of_new(&kind) == of_old, "{from} {to} {kind}");
        }
        assert_eq!(of_new("org.example.private"), Value::Null);
        let child = |key: &str| event(&server, &alice, &new, "m.space.child", key);
        assert!(child("!child").is_some() && child("!gone").is_none());
        let banned = event(&server, &alice, &new, "m.room.member", &mallory.id).unwrap();
        assert_eq!(banned["content"]["membership"], "ban");
        assert!(event(&server, &alice, &new, "m.room.member", &bob.id).is_none(), "nobody is moved");
        let levels = of_new("m.room.power_levels");
        let listed = if to == "12" { json!({ &bob.id: 60 }) } else { json!({ &alice.id: 100, &bob.id: 60 }) };
        assert_eq!((&levels["users"], &levels["kick"]), (&listed, &json!(55)), "{from} {to}");

        let tombstone = event(&server, &alice, &room, "m.room.tombstone", "").unwrap();
        assert_eq!(tombstone["content"]["replacement_room"], new);
        let stated = if to == "12" { &Value::Null } else { &tombstone["event_id"] };
        assert_eq!(create["predecessor"].get("event_id").unwrap_or(&Value::Null), stated);
        let closed = content(&server, &alice, &room, "m.room.power_levels");
        assert_eq!((&closed["events_default"], &closed["invite"]), (&json!(50), &json!(50)));

        let alias = format!("#den:{}", server.server_name());
        let led = server.get(&format!("/_matrix/client/v3/directory/room/{}", escaped(&alias)), &bob.token).ok();
        assert_eq!(led["room_id"], new);
        assert_eq!(of_new("m.room.canonical_alias"), json!({ "alias": alias }));
        assert_eq!(content(&server, &alice, &room, "m.room.canonical_alias"), json!({}));
        let listed = |room: &str| {
            let path = format!("/_matrix/client/v3/directory/list/room/{}", escaped(room));
            server.get(&path, &bob.token).ok()["visibility"].clone()
        };
        assert_eq!((listed(&room), listed(&new)), (json!("private"), json!("public")));
        server.join(&bob, &new);
        server.say(&bob, &new, "still here");
    }
}

/// Power levels with what others than the creator have.
fn power(version: &str, creator: &TestUser, mut users: Value) -> Value {
    if version != "12" {
        users[&creator.id] = json!(100);
    }
    json!({ "users": users, "kick": 55 })
}

#[test]
fn creators_are_named_anew() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.create_room(&alice, json!({ "creation_content": { "additional_creators": [bob.id] } }));
    let new = upgrade(&server, &alice, &room, "12");
    assert_eq!(content(&server, &alice, &new, "m.room.create").get("additional_creators"), None);
    let body = json!({ "new_version": "12", "additional_creators": [bob.id, alice.id, bob.id] });
    let newer = try_upgrade(&server, &alice, &new, body.clone()).ok()["replacement_room"].clone();
    let newer = newer.as_str().unwrap();
    assert_eq!(content(&server, &alice, newer, "m.room.create")["additional_creators"], json!([bob.id]));
    let mut body = body;
    body["new_version"] = json!("11");
    let older = try_upgrade(&server, &alice, newer, body).ok()["replacement_room"].clone();
    let older = older.as_str().unwrap();
    assert_eq!(content(&server, &alice, older, "m.room.create").get("additional_creators"), None);
    let levels = content(&server, &alice, older, "m.room.power_levels");
    assert_eq!(levels["users"], json!({ &alice.id: 100, &bob.id: 100 }), "infinite is the most that can be listed");
}

#[test]
fn only_who_may_end_a_room_replaces_it() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    let new_version = json!({ "new_version": "11" });
    for outsider in [&bob, &carol] {
        try_upgrade(&server, outsider, &room, new_version.clone()).is_error(403, "M_FORBIDDEN");
    }
    try_upgrade(&server, &alice, "!nowhere", new_version.clone()).is_error(403, "M_FORBIDDEN");
    try_upgrade(&server, &alice, "nowhere", new_version.clone()).is_error(400, "M_INVALID_PARAM");
    for version in ["13", "org.example.odd"] {
        let answer = try_upgrade(&server, &alice, &room, json!({ "new_version": version }));
        answer.is_error(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    try_upgrade(&server, &alice, &room, json!({})).is_error(400, "M_MISSING_PARAM");
    try_upgrade(&server, &alice, &room, json!({ "new_version": 11 })).is_error(400, "M_BAD_JSON");
    let creators = |creators: Value| json!({ "new_version": "12", "additional_creators": creators });
    try_upgrade(&server, &alice, &room, creators(json!("bob"))).is_error(400, "M_BAD_JSON");
    try_upgrade(&server, &alice, &room, creators(json!(["bob"]))).is_error(400, "M_BAD_JSON");
    let crowd: Vec<String> = (0..101).map(|n| format!("@{n}:x.alt")).collect();
    try_upgrade(&server, &alice, &room, creators(json!(crowd))).is_error(400, "M_INVALID_PARAM");
    let path = format!("/_matrix/client/v3/rooms/{room}/upgrade");
    server.request("POST", &path, None, new_version).is_error(401, "M_MISSING_TOKEN");
    assert!(event(&server, &alice, &room, "m.room.tombstone", "").is_none());
    let joined = server.get("/_matrix/client/v3/joined_rooms", &alice.token).ok();
    assert_eq!(joined["joined_rooms"], json!([room]), "nothing was made");
}

#[test]
fn a_moderator_who_may_not_change_power_replaces_the_room_all_the_same() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    let levels = json!({ "users": { &bob.id: 50 }, "events": { "m.room.tombstone": 50, "m.room.power_levels": 100 } });
    server.set_state(&alice, &room, "m.room.power_levels", "", levels.clone());
    let new = upgrade(&server, &bob, &room, "11");
    assert_eq!(content(&server, &alice, &room, "m.room.power_levels"), levels, "left as it was");
    let users = content(&server, &bob, &new, "m.room.power_levels")["users"].clone();
    assert_eq!(users, json!({ &bob.id: 50, &alice.id: 100 }), "the old creator keeps more than the new one has");
}

#[test]
fn what_a_user_set_for_the_room_follows_into_the_new_one() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    for (server, user) in [(&a, &alice), (&b, &bob)] {
        put_account_data(server, user, &format!("rooms/{room}/tags/m.favourite"), json!({ "order": 0.5 }));
        put_account_data(server, user, "account_data/m.direct", json!({ "@x:y.alt": [room], "@z:y.alt": ["!other"] }));
        let rule = format!("/_matrix/client/v3/pushrules/global/room/{}", escaped(&room));
        server.put(&rule, &user.token, json!({ "actions": [] })).ok();
        let mute = format!("/_matrix/client/v3/pushrules/global/override/{}", escaped(&room));
        let conditions = json!([{ "kind": "event_match", "key": "room_id", "pattern": room }]);
        server.put(&mute, &user.token, json!({ "actions": [], "conditions": conditions })).ok();
        server.put(&format!("{mute}/enabled"), &user.token, json!({ "enabled": false })).ok();
    }
    let new = upgrade(&a, &alice, &room, "11");
    network.settle();
    assert_eq!(account_data(&b, &bob, &format!("rooms/{new}/tags")), json!({ "tags": {} }), "not before joining");
    b.join_via(&bob, &new, a.server_name()).ok();
    for (server, user) in [(&a, &alice), (&b, &bob)] {
        let tags = account_data(server, user, &format!("rooms/{new}/tags"));
        assert_eq!(tags, json!({ "tags": { "m.favourite": { "order": 0.5 } } }));
        let direct = account_data(server, user, "account_data/m.direct");
        assert_eq!(direct, json!({ "@x:y.alt": [room, new], "@z:y.alt": ["!other"] }));
        let rules = server.get("/_matrix/client/v3/pushrules/global/", &user.token).ok();
        assert!(list(&rules["room"]).iter().any(|rule| rule["rule_id"] == new));
        let mute = list(&rules["override"]).iter().find(|rule| rule["rule_id"] == new).unwrap();
        assert_eq!((&mute["enabled"], &mute["conditions"][0]["pattern"]), (&json!(false), &json!(new)));
    }
}

#[test]
fn a_room_that_claims_to_replace_another_takes_nothing_of_it() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room =
        b.create_room(&bob, json!({ "preset": "public_chat", "visibility": "public", "room_alias_name": "den" }));
    a.join_via(&alice, &room, b.server_name()).ok();
    put_account_data(&b, &bob, &format!("rooms/{room}/tags/m.favourite"), json!({}));
    let creation = json!({ "predecessor": { "room_id": room, "event_id": "$tombstone" } });
    let claim = a.create_room(&alice, json!({ "preset": "public_chat", "creation_content": creation }));
    b.join_via(&bob, &claim, a.server_name()).ok();
    network.settle();
    assert_eq!(account_data(&b, &bob, &format!("rooms/{claim}/tags")), json!({ "tags": {} }));
    let alias = escaped(&format!("#den:{}", b.server_name()));
    let led = b.get(&format!("/_matrix/client/v3/directory/room/{alias}"), &bob.token).ok();
    assert_eq!(led["room_id"], room);
    let listed = b.get(&format!("/_matrix/client/v3/directory/list/room/{}", escaped(&room)), &bob.token).ok();
    assert_eq!(listed["visibility"], "public");
}

#[test]
fn the_names_of_a_room_follow_when_another_server_replaces_it() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = b.create_room(&bob, json!({ "preset": "public_chat", "room_alias_name": "den" }));
    a.join_via(&alice, &room, b.server_name()).ok();
    b.set_state(&bob, &room, "m.room.power_levels", "", json!({ "users": { &alice.id: 200 } }));
    network.settle();
    let new = upgrade(&a, &alice, &room, "12");
    network.settle();
    let alias = escaped(&format!("#den:{}", b.server_name()));
    let led = || b.get(&format!("/_matrix/client/v3/directory/room/{alias}"), &bob.token).ok()["room_id"].clone();
    assert_eq!(led(), room);
    b.join_via(&bob, &new, a.server_name()).ok();
    assert_eq!(led(), new);
}

#[test]
fn an_upgrade_that_cannot_be_written_leaves_the_room_as_it_was() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    server.set_fault(Some(StoreError::Backend("no".to_owned())));
    try_upgrade(&server, &alice, &room, json!({ "new_version": "11" })).is_error(500, "M_UNKNOWN");
    server.set_fault(None);
    server.say(&alice, &room, "still here");
    assert!(event(&server, &alice, &room, "m.room.tombstone", "").is_none());
    upgrade(&server, &alice, &room, "11");
}

#[test]
fn a_worker_stopped_anywhere_in_an_upgrade_has_made_all_of_it_or_nothing() {
    for version in ["11", "12"] {
        for n in 2.. {
            let server = TestServer::new();
            let alice = server.register("alice");
            let room = server.public_room(&alice);
            let rooms = server.homeserver.inspect_rooms().len();
            server.store.plan(n / 2, Mishap::Hangs { written: n % 2 == 0 });
            let path = format!("/_matrix/client/v3/rooms/{}/upgrade", escaped(&room));
            let body = json!({ "new_version": version }).to_string();
            let _unanswered = server.queue(request("POST", &path, Some(&alice.token), body));
            server.settle();
            let stopped = server.store.is_hung();
            server.tasks.stop();
            let server = TestServer::on(server.disk.clone());
            let closed = event(&server, &alice, &room, "m.room.tombstone", "").is_some();
            let made = server.homeserver.inspect_rooms().len() - rooms;
            assert_eq!(made, usize::from(closed), "{version} {n}");
            if !stopped {
                assert!(closed && n > 2, "it was written at last");
                break;
            }
        }
    }
}
