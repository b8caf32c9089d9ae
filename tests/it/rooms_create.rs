//! Creating rooms: every option, every refusal, and exactly one room whatever happens on the way.
use serde_json::{Value, json};

use crate::{
    fakes::Mishap,
    federation_network::Network,
    harness::{Answer, TestServer, TestUser, request},
    talk::list,
};

fn create(server: &TestServer, user: &TestUser, body: Value) -> Answer {
    server.post("/_matrix/client/v3/createRoom", &user.token, body)
}

/// Type and content of every state event of a room, as a client gets them.
fn state(server: &TestServer, user: &TestUser, room: &str) -> Vec<(String, String, Value)> {
    let state = server.get(&format!("/_matrix/client/v3/rooms/{room}/state"), &user.token).ok();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list(&state)
        .iter()
        .map(|event| (text(&event["type"]), text(&event["state_key"]), event["content"].clone()))
        .collect()
}

fn content(server: &TestServer, user: &TestUser, room: &str, kind: &str) -> Option<Value> {
    state(server, user, room).into_iter().find(|(found, ..)| found == kind).map(|(.., content)| content)
}

fn rooms(server: &TestServer) -> usize {
    server.homeserver.inspect_rooms().len()
}

#[test]
fn presets_decide_who_comes_in_and_who_sees_what() {
    for (body, join_rule, guest_access) in [
        (json!({}), "invite", "can_join"),
        (json!({ "visibility": "private" }), "invite", "can_join"),
        (json!({ "visibility": "public" }), "public", "forbidden"),
        (json!({ "preset": "private_chat" }), "invite", "can_join"),
        (json!({ "preset": "trusted_private_chat" }), "invite", "can_join"),
        (json!({ "preset": "public_chat" }), "public", "forbidden"),
        (json!({ "preset": "private_chat", "visibility": "public" }), "invite", "can_join"),
    ] {
        let server = TestServer::new();
        let alice = server.register("alice");
        let room = server.create_room(&alice, body.clone());
        let at = |kind: &str| content(&server, &alice, &room, kind).unwrap();
        assert_eq!(at("m.room.join_rules"), json!({ "join_rule": join_rule }), "{body}");
        assert_eq!(at("m.room.guest_access"), json!({ "guest_access": guest_access }), "{body}");
        assert_eq!(at("m.room.history_visibility"), json!({ "history_visibility": "shared" }), "{body}");
        assert_eq!(at("m.room.create")["room_version"], "12", "{body}");
    }
}

#[test]
fn what_is_asked_for_is_in_the_room_in_the_order_of_the_specification() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.create_room(
        &alice,
        json!({
            "name": "Burrow", "topic": "Digging", "room_alias_name": "burrow", "visibility": "public",
            "creation_content": { "m.federate": false, "type": "m.space", "room_version": "1" },
            "power_level_content_override": { "events_default": 10, "users": { &bob.id: 50 } },
            "initial_state": [
                { "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } },
                { "type": "m.room.name", "content": { "name": "overruled" } },
                { "type": "org.example.own", "state_key": "key", "content": { "a": 1 } },
            ],
            "invite": [bob.id], "is_direct": true,
        }),
    );
    let at = |kind: &str| content(&server, &alice, &room, kind).unwrap();
    assert_eq!(at("m.room.create"), json!({ "m.federate": false, "type": "m.space", "room_version": "12" }));
    assert_eq!(at("m.room.name"), json!({ "name": "Burrow" }));
    assert_eq!(at("m.room.topic")["topic"], "Digging");
    assert_eq!(at("m.room.join_rules"), json!({ "join_rule": "knock" }));
    assert_eq!(at("org.example.own"), json!({ "a": 1 }));
    let levels = at("m.room.power_levels");
    assert_eq!((&levels["events_default"], &levels["users"][&bob.id]), (&json!(10), &json!(50)));
    assert_eq!(levels["state_default"], 50, "what is not overridden stays");
    let alias = format!("#burrow:{}", server.server_name());
    assert_eq!(at("m.room.canonical_alias"), json!({ "alias": alias }));
    let kinds: Vec<String> = {
        let timeline = server.messages(&alice, &room, "dir=f&limit=100");
        list(&timeline["chunk"]).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let expected = [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.join_rules",
        "m.room.name",
        "org.example.own",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ];
    assert_eq!(kinds, expected);
    let invite = server.sync(&bob, None, "")["rooms"]["invite"][&room]["invite_state"]["events"].clone();
    let own = list(&invite).iter().find(|event| event["state_key"] == bob.id.as_str()).unwrap();
    assert_eq!((&own["content"]["membership"], &own["content"]["is_direct"]), (&json!("invite"), &json!(true)));
}

#[test]
fn ending_a_room_takes_more_power_than_running_it() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for (levels, least) in [
        (json!({}), 50),
        (json!({ "state_default": 200 }), 200),
        (json!({ "events": { "m.room.name": 0 } }), 50),
        (json!({ "state_default": 300, "events": {} }), 300),
    ] {
        let room = server.create_room(&alice, json!({ "room_version": "12", "power_level_content_override": levels }));
        let levels = content(&server, &alice, &room, "m.room.power_levels").unwrap();
        assert!(levels["events"]["m.room.tombstone"].as_i64() > Some(least), "{levels}");
    }
    let own = json!({ "events": { "m.room.tombstone": 60 } });
    let room = server.create_room(&alice, json!({ "room_version": "12", "power_level_content_override": own }));
    let levels = content(&server, &alice, &room, "m.room.power_levels").unwrap();
    assert_eq!(levels["events"]["m.room.tombstone"], 60, "what the client says of just that");
}

#[test]
fn an_alias_made_with_a_room_works_and_is_one_rooms_only() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let body = json!({ "room_alias_name": "burrow", "preset": "public_chat" });
    let room = a.create_room(&alice, body.clone());
    let path = format!("/_matrix/client/v3/directory/room/%23burrow:{}", a.server_name());
    let resolved = a.get(&path, &alice.token).ok();
    assert_eq!(resolved, json!({ "room_id": room, "servers": [a.server_name()] }));
    create(&a, &alice, body.clone()).is_error(400, "M_ROOM_IN_USE");
    assert_eq!(rooms(&a), 1);
    for name in ["", "a:b", "a b", "tab\there", &"x".repeat(300)] {
        create(&a, &alice, json!({ "room_alias_name": name })).is_error(400, "M_INVALID_PARAM");
    }
    assert_eq!(rooms(&a), 1);
    // Other servers have aliases of their own.
    b.create_room(&bob, body);
    let aliases = a.get(&format!("/_matrix/client/v3/rooms/{room}/aliases"), &alice.token).ok();
    assert_eq!(aliases["aliases"], json!([format!("#burrow:{}", a.server_name())]));
    a.post(&format!("/_matrix/client/v3/join/%23burrow:{}", a.server_name()), &alice.token, json!({})).ok();
    a.delete(&path, &alice.token).ok();
    a.get(&path, &alice.token).is_error(404, "M_NOT_FOUND");
    a.put(&path, &alice.token, json!({ "room_id": room })).ok();
    a.put(&path, &alice.token, json!({ "room_id": room })).is_error(409, "M_UNKNOWN");
    let foreign = path.replace(a.server_name().as_str(), "example.org");
    a.put(&foreign, &alice.token, json!({ "room_id": room })).is_error(400, "M_INVALID_PARAM");
}

#[test]
fn a_trusted_friend_has_the_power_of_the_creator() {
    for version in ["10", "11", "12"] {
        let server = TestServer::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let body = json!({ "preset": "trusted_private_chat", "invite": [bob.id], "room_version": version });
        let room = server.create_room(&alice, body);
        server.join(&bob, &room);
        server.set_state(&bob, &room, "m.room.topic", "", json!({ "topic": "ours" }));
        let power = format!("/_matrix/client/v3/rooms/{room}/state/m.room.power_levels");
        let mut levels = server.get(&power, &bob.token).ok();
        levels["ban"] = json!(99);
        server.set_state(&bob, &room, "m.room.power_levels", "", levels);
        let create = content(&server, &alice, &room, "m.room.create").unwrap();
        assert_eq!(create.get("additional_creators").is_some(), version == "12");
        assert_eq!(create.get("creator").is_some(), version == "10");
    }
}

#[test]
fn room_versions_are_those_that_are_offered() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let capabilities = server.get("/_matrix/client/v3/capabilities", &alice.token).ok();
    let offered = &capabilities["capabilities"]["m.room_versions"]["available"];
    for version in offered.as_object().unwrap().keys() {
        let room = server.create_room(&alice, json!({ "room_version": version }));
        assert_eq!(content(&server, &alice, &room, "m.room.create").unwrap()["room_version"], json!(version));
        // Since version 12 the room is named after its create event.
        assert_eq!(room.contains(':'), version != "12");
    }
    let before = rooms(&server);
    for version in ["0", "13", "org.example.odd"] {
        create(&server, &alice, json!({ "room_version": version })).is_error(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    create(&server, &alice, json!({ "room_version": "no version!" })).is_error(400, "M_BAD_JSON");
    assert_eq!(rooms(&server), before);
}

#[test]
fn invited_users_of_other_servers_hear_of_it_at_once_or_later() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    network.cut(&a, &c);
    let nobody = format!("@nobody:{}", b.server_name());
    let room = a.create_room(&alice, json!({ "invite": [bob.id, carol.id, nobody], "is_direct": true }));
    network.settle();
    assert!(b.sync(&bob, None, "")["rooms"]["invite"].get(&room).is_some());
    assert_eq!(a.membership(&room, &carol.id).as_deref(), Some("invite"));
    assert_eq!(a.membership(&room, &nobody), None, "an invite that is refused does not undo the room");
    network.reconnect(&a, &c);
    assert!(c.sync(&carol, None, "")["rooms"]["invite"].get(&room).is_some());
}

#[test]
fn a_room_that_does_not_federate_keeps_to_its_server() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let body = json!({ "preset": "public_chat", "creation_content": { "m.federate": false } });
    let room = a.create_room(&alice, body);
    b.join_via(&bob, &room, a.server_name()).is_error(403, "M_FORBIDDEN");
    a.join(&a.register("anna"), &room);
}

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let before = server.disk.bytes_stored();
    let long = "x".repeat(70_000);
    let many_users: Vec<String> = (0..101).map(|n| format!("@u{n}:example.org")).collect();
    let event = |kind: &str, key: &str, content: Value| json!({ "type": kind, "state_key": key, "content": content });
    let many_events: Vec<Value> = (0..201).map(|n| event("org.example", &n.to_string(), json!({}))).collect();
    let alias = json!("burrow");
    for (status, errcode, mut body) in [
        (413, "M_TOO_LARGE", json!({ "topic": long })),
        (413, "M_TOO_LARGE", json!({ "name": long })),
        (400, "M_INVALID_PARAM", json!({ "invite": many_users })),
        (400, "M_INVALID_PARAM", json!({ "initial_state": many_events })),
        (400, "M_INVALID_ROOM_STATE", json!({ "initial_state": [event("m.room.create", "", json!({}))] })),
        (
            400,
            "M_INVALID_ROOM_STATE",
            json!({ "initial_state": [event("m.room.member", "@b:example.org", json!({ "membership": "join" }))] }),
        ),
        (
            400,
            "M_INVALID_ROOM_STATE",
            json!({ "initial_state": [event("@b:example.org", "@other:example.org", json!({})), event("org.example", "@other:example.org", json!({}))] }),
        ),
        (400, "M_INVALID_PARAM", json!({ "power_level_content_override": { "users": { &alice.id: 100 } } })),
        (400, "M_INVALID_PARAM", json!({ "room_version": "11", "power_level_content_override": { "users": {} } })),
        (400, "M_INVALID_ROOM_STATE", json!({ "power_level_content_override": { "ban": "fifty" } })),
        (400, "M_INVALID_PARAM", json!({ "creation_content": { "additional_creators": "me" } })),
        (400, "M_BAD_JSON", json!({ "creation_content": { "fraction": 1.5 } })),
        (400, "M_BAD_JSON", json!({ "initial_state": [{ "type": "a" }] })),
        (400, "M_BAD_JSON", json!({ "initial_state": "none" })),
        (400, "M_BAD_JSON", json!({ "invite": ["alice"] })),
        (400, "M_BAD_JSON", json!({ "name": 5 })),
    ] {
        body["room_alias_name"] = alias.clone();
        let answer = create(&server, &alice, body.clone());
        assert_eq!(
            (answer.status.as_u16(), answer.errcode()),
            (status, errcode),
            "{:.200} {}",
            body.to_string(),
            answer.body
        );
    }
    let third_party = json!([{ "id_server": "x", "id_access_token": "x", "medium": "email", "address": "a@b" }]);
    create(&server, &alice, json!({ "invite_3pid": third_party })).is_error(403, "M_FORBIDDEN");
    assert_eq!(rooms(&server), 0);
    assert_eq!(server.disk.bytes_stored(), before);
    let alias = format!("/_matrix/client/v3/directory/room/%23burrow:{}", server.server_name());
    server.get(&alias, &alice.token).is_error(404, "M_NOT_FOUND");
    server.send(request("POST", "/_matrix/client/v3/createRoom", None, "{}")).is_error(401, "M_MISSING_TOKEN");
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(3 << 20));
    server
        .send(request("POST", "/_matrix/client/v3/createRoom", Some(&alice.token), huge))
        .is_error(413, "M_TOO_LARGE");
    create(&server, &alice, json!({ "room_alias_name": "burrow" })).ok();
}

/// One deliberate request, as the page marks it.
fn deliberate(user: &TestUser, id: Option<&str>, body: &Value) -> warren::api::Request {
    let mut request = request("POST", "/_matrix/client/v3/createRoom", Some(&user.token), body.to_string());
    if let Some(id) = id {
        request.headers_mut().insert("warren-request-id", id.parse().unwrap());
    }
    request
}

#[test]
fn a_worker_stopped_anywhere_in_the_middle_leaves_exactly_one_room_once_asked_again() {
    for written in [false, true] {
        for n in 1.. {
            let (network, (mut a, alice), (b, bob)) = Network::pair();
            let anna = a.register("anna");
            let body = json!({ "name": "Burrow", "room_alias_name": "burrow", "invite": [bob.id, anna.id] });
            a.store.plan(n, Mishap::Hangs { written });
            let pending = a.queue(deliberate(&alice, Some("one-click"), &body));
            network.settle();
            let finished = pending.take().is_some();
            let struck = a.store.end_plan();
            a = network.restart(a);
            let answer = a.send(deliberate(&alice, Some("one-click"), &body)).ok();
            network.settle();
            let room = answer["room_id"].as_str().unwrap().to_owned();
            assert_eq!(rooms(&a), 1, "commit {n}, written: {written}");
            let joined = a.get("/_matrix/client/v3/joined_rooms", &alice.token).ok();
            assert_eq!(joined["joined_rooms"], json!([room]));
            assert_eq!(content(&a, &alice, &room, "m.room.name"), Some(json!({ "name": "Burrow" })));
            for invited in [&bob.id, &anna.id] {
                assert_eq!(a.membership(&room, invited).as_deref(), Some("invite"), "commit {n}, written: {written}");
            }
            assert!(b.sync(&bob, None, "")["rooms"]["invite"].get(&room).is_some());
            // Once more, after all that, is still the same.
            assert_eq!(a.send(deliberate(&alice, Some("one-click"), &body)).ok()["room_id"], json!(room));
            assert_eq!(rooms(&a), 1);
            if !struck {
                assert!(finished && n > 3, "the request takes commits to stop at");
                break;
            }
        }
    }
}

#[test]
fn two_deliberate_requests_are_two_rooms() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let body = json!({ "name": "Burrow" });
    let ask = |user: &TestUser, id: Option<&str>| {
        server.send(deliberate(user, id, &body)).ok()["room_id"].as_str().unwrap().to_owned()
    };
    let mut made = vec![
        ask(&alice, None),
        ask(&alice, None),
        ask(&alice, Some("one")),
        ask(&alice, Some("two")),
        ask(&bob, Some("one")),
    ];
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 5);
    // What is no id names nothing.
    for id in ["with space", &"x".repeat(65)] {
        let before = rooms(&server);
        ask(&alice, Some(id));
        ask(&alice, Some(id));
        assert_eq!(rooms(&server), before + 2);
    }
}

#[test]
fn two_deliveries_of_one_request_at_once_are_one_room() {
    let server = TestServer::new();
    let alice = server.register("alice");
    server.make_slow(7);
    let body = json!({ "name": "Burrow" });
    let pending: Vec<_> = (0..4).map(|_| server.queue(deliberate(&alice, Some("one"), &body))).collect();
    server.settle();
    let rooms_made: std::collections::BTreeSet<String> =
        pending.iter().map(|pending| pending.take().unwrap().ok()["room_id"].to_string()).collect();
    assert_eq!((rooms_made.len(), rooms(&server)), (1, 1));
}

#[test]
fn a_request_whose_asker_goes_away_is_carried_out_to_the_end() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    server.make_slow(3);
    for n in 1..=40 {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/gone{n}");
        let request = request("PUT", &path, Some(&alice.token), json!({ "body": n.to_string() }).to_string());
        // The asker looks a few times, each time a few more, and leaves.
        let mut answering = Box::pin(warren::api::handle(&server.homeserver, request, warren::api::Origin::Client));
        server.run_a_little(n, &mut answering);
        drop(answering);
        server.say(&alice, &room, &format!("and {n}"));
    }
    server.settle();
    let said = server.said_in(&alice, &room);
    assert_eq!(said.len(), 80, "{said:?}");
    assert_eq!(server.heads_of(&room).len(), 1);
    let heads = server.heads_of(&room);
    let again = TestServer::on(server.disk.clone());
    assert_eq!(again.heads_of(&room), heads, "what is stored is what was believed");
}
