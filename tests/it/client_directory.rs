//! The rooms this server publishes: put in, taken back, listed page by page and searched.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list},
};

fn visibility_path(room: &str) -> String {
    format!("/_matrix/client/v3/directory/list/room/{}", escaped(room))
}

fn visibility(server: &TestServer, room: &str) -> Value {
    server.request("GET", &visibility_path(room), None, Value::Null).ok()["visibility"].clone()
}

fn set(server: &TestServer, user: &TestUser, room: &str, body: Value) -> Answer {
    server.put(&visibility_path(room), &user.token, body)
}

fn public_rooms(server: &TestServer, query: &str) -> Value {
    server.request("GET", &format!("/_matrix/client/v3/publicRooms?{query}"), None, Value::Null).ok()
}

fn search(server: &TestServer, user: &TestUser, body: Value) -> Answer {
    server.post("/_matrix/client/v3/publicRooms", &user.token, body)
}

fn names(page: &Value) -> Vec<String> {
    list(&page["chunk"]).iter().map(|room| room["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn publish_room(server: &TestServer, user: &TestUser, name: &str) -> String {
    server.create_room(user, json!({ "visibility": "public", "name": name }))
}

#[test]
fn a_room_is_published_and_taken_back_by_who_may_name_it() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    assert_eq!(visibility(&server, &room), "private");
    set(&server, &bob, &room, json!({})).is_error(403, "M_FORBIDDEN");
    set(&server, &carol, &room, json!({})).is_error(403, "M_FORBIDDEN");
    assert_eq!(set(&server, &alice, &room, json!({})).ok(), json!({}), "public, if nothing is said");
    assert_eq!(visibility(&server, &room), "public");
    assert_eq!(list(&public_rooms(&server, "")["chunk"]).len(), 1);
    set(&server, &bob, &room, json!({ "visibility": "private" })).is_error(403, "M_FORBIDDEN");
    set(&server, &alice, &room, json!({ "visibility": "private" })).ok();
    assert_eq!(visibility(&server, &room), "private");
    assert_eq!(public_rooms(&server, "")["chunk"], json!([]));

    set(&server, &alice, &room, json!({ "visibility": "secret" })).is_error(400, "M_INVALID_PARAM");
    set(&server, &alice, &room, json!({ "visibility": 1 })).is_error(400, "M_BAD_JSON");
    set(&server, &alice, &room, json!({ "visibility": null })).is_error(400, "M_BAD_JSON");
    set(&server, &alice, "!nowhere:x.example", json!({})).is_error(404, "M_NOT_FOUND");
    set(&server, &alice, "nowhere", json!({})).is_error(400, "M_INVALID_PARAM");
    server.request("PUT", &visibility_path(&room), None, json!({})).is_error(401, "M_MISSING_TOKEN");
    let get = |room: &str| server.request("GET", &visibility_path(room), None, Value::Null);
    get("!nowhere:x.example").is_error(404, "M_NOT_FOUND");
    get("nowhere").is_error(400, "M_INVALID_PARAM");
    // Networks of bridges are not offered.
    let bridged = format!("/_matrix/client/v3/directory/list/appservice/irc/{}", escaped(&room));
    server.put(&bridged, &alice.token, json!({ "visibility": "public" })).is_error(404, "M_UNRECOGNIZED");
}

#[test]
fn a_room_is_published_as_it_is_made_and_stays_so() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = publish_room(&server, &alice, "Burrow");
    server.create_room(&alice, json!({ "visibility": "private", "name": "Den" }));
    let bad = json!({ "visibility": "secret" });
    server.post("/_matrix/client/v3/createRoom", &alice.token, bad).is_error(400, "M_INVALID_PARAM");
    let server = TestServer::on(server.disk.clone());
    assert_eq!(visibility(&server, &room), "public");
    assert_eq!(names(&public_rooms(&server, "")), ["Burrow"]);
    server.leave(&alice, &room);
    assert_eq!(names(&public_rooms(&server, "")), [""; 0], "a room nobody here is in is nothing to join through us");
}

#[test]
fn what_is_listed_is_what_the_room_says_now() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({
        "visibility": "public", "preset": "public_chat", "name": "Burrow", "topic": "Digging", "room_alias_name": "burrow",
        "creation_content": { "type": "m.space" },
        "initial_state": [
            { "type": "m.room.history_visibility", "content": { "history_visibility": "world_readable" } },
            { "type": "m.room.guest_access", "content": { "guest_access": "can_join" } },
            { "type": "m.room.avatar", "content": { "url": "mxc://a.example/b" } },
        ],
    });
    let room = server.create_room(&alice, body);
    let page = public_rooms(&server, "");
    let alias = format!("#burrow:{}", server.server_name());
    let expected = json!({
        "room_id": room, "name": "Burrow", "topic": "Digging", "canonical_alias": alias, "avatar_url": "mxc://a.example/b",
        "num_joined_members": 1, "world_readable": true, "guest_can_join": true, "room_type": "m.space",
    });
    assert_eq!(page, json!({ "chunk": [expected], "total_room_count_estimate": 1 }), "public goes without saying");

    let topic = server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "Secret" }));
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": 7 }));
    server.set_state(&alice, &room, "m.room.join_rules", "", json!({ "join_rule": "org.example.riddle" }));
    assert_eq!(public_rooms(&server, "")["chunk"][0]["topic"], "Secret");
    server.redact(&alice, &room, &topic);
    let listed = public_rooms(&server, "")["chunk"][0].clone();
    assert_eq!((&listed["topic"], &listed["name"]), (&Value::Null, &Value::Null), "taken back, and no text");
    assert_eq!(listed["join_rule"], "invite", "a rule nobody knows lets nobody in");
}

#[test]
fn the_list_is_paged_both_ways_with_the_largest_first() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let rooms: Vec<String> = (0..5).map(|n| publish_room(&server, &alice, &format!("room {n}"))).collect();
    server.join(&bob, &rooms[3]);
    let whole = names(&public_rooms(&server, "limit=0"));
    assert_eq!((whole.len(), whole[0].as_str()), (5, "room 3"));
    let first = public_rooms(&server, "limit=2");
    assert_eq!((names(&first), &first["prev_batch"]), (whole[..2].to_vec(), &Value::Null));
    assert_eq!(first["total_room_count_estimate"], 5);
    let token = |page: &Value, which: &str| page[which].as_str().unwrap().to_owned();
    // A room that goes in between moves nothing else.
    set(&server, &alice, &rooms[3], json!({ "visibility": "private" })).ok();
    let second = public_rooms(&server, &format!("limit=2&since={}", token(&first, "next_batch")));
    assert_eq!(names(&second), whole[2..4]);
    let third = public_rooms(&server, &format!("limit=2&since={}", token(&second, "next_batch")));
    assert_eq!((names(&third), &third["next_batch"]), (whole[4..].to_vec(), &Value::Null));
    let back = public_rooms(&server, &format!("limit=2&since={}", token(&third, "prev_batch")));
    assert_eq!(names(&back), whole[2..4]);
    let back = public_rooms(&server, &format!("limit=2&since={}", token(&back, "prev_batch")));
    assert_eq!((names(&back), &back["prev_batch"]), (whole[1..2].to_vec(), &Value::Null));

    for bad in ["since=nonsense", "since=", "since=n_", "since=x1_!a:b", "since=n1_nothing", "limit=-1", "limit=many"] {
        let answer = server.request("GET", &format!("/_matrix/client/v3/publicRooms?{bad}"), None, Value::Null);
        answer.is_error(400, "M_INVALID_PARAM");
    }
    assert_eq!(names(&public_rooms(&server, "limit=9007199254740991")).len(), 4);
    assert_eq!(names(&public_rooms(&server, &format!("server={}", server.server_name()))).len(), 4);
}

#[test]
fn a_page_of_endless_topics_has_an_end() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for n in 0..8 {
        let topic = format!("{n}").repeat(50_000);
        server.create_room(
            &alice,
            json!({ "visibility": "public", "initial_state": [
            { "type": "m.room.topic", "content": { "topic": topic } },
        ] }),
        );
    }
    let (mut seen, mut pages, mut query) = (0, 0, String::new());
    loop {
        let page = public_rooms(&server, &query);
        assert!(page.to_string().len() < 400_000);
        seen += list(&page["chunk"]).len();
        pages += 1;
        let Some(next) = page["next_batch"].as_str() else { break };
        query = format!("since={next}");
    }
    assert_eq!((seen, pages), (8, 2));
}

#[test]
fn rooms_are_found_by_words_and_by_type() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let make = |name: &str, topic: &str, kind: Option<&str>| {
        let creation = kind.map_or(json!({}), |kind| json!({ "type": kind }));
        let body = json!({ "visibility": "public", "name": name, "topic": topic, "creation_content": creation });
        server.create_room(&alice, body)
    };
    make("Große Höhle", "for badgers", None);
    make("Burrow", "Rabbits and HÖHLEN", Some("m.space"));
    server.create_room(&alice, json!({ "visibility": "public", "room_alias_name": "warren" }));
    let found = |filter: Value| {
        let mut found = names(&search(&server, &alice, json!({ "filter": filter })).ok());
        found.sort();
        found
    };
    assert_eq!(found(json!({ "generic_search_term": "höhle" })), ["Burrow", "Große Höhle"]);
    assert_eq!(found(json!({ "generic_search_term": "BADGER" })), ["Große Höhle"]);
    assert_eq!(found(json!({ "generic_search_term": "#warr" })), [""]);
    assert_eq!(found(json!({ "generic_search_term": "fox" })), [""; 0]);
    assert_eq!(found(json!({ "generic_search_term": "" })).len(), 3);
    assert_eq!(found(json!({ "room_types": ["m.space"] })), ["Burrow"]);
    assert_eq!(found(json!({ "room_types": [null] })), ["", "Große Höhle"]);
    assert_eq!(found(json!({ "room_types": [null, "m.space"] })).len(), 3);
    assert_eq!(found(json!({ "room_types": [] })).len(), 3);
    assert_eq!(found(json!({ "room_types": ["m.space"], "generic_search_term": "badger" })), [""; 0]);

    let body = json!({ "include_all_networks": true, "unknown": {} });
    assert_eq!(names(&search(&server, &alice, body).ok()).len(), 3);
    let elsewhere = search(&server, &alice, json!({ "third_party_instance_id": "irc" })).ok();
    assert_eq!(elsewhere, json!({ "chunk": [], "total_room_count_estimate": 0 }), "there are no bridges");
    for bad in [
        json!({ "limit": "many" }),
        json!({ "limit": -1 }),
        json!({ "filter": "words" }),
        json!({ "filter": { "generic_search_term": 1 } }),
        json!({ "filter": { "room_types": [1] } }),
        json!({ "since": 5 }),
    ] {
        search(&server, &alice, bad).is_error(400, "M_BAD_JSON");
    }
    search(&server, &alice, json!({ "since": "nonsense" })).is_error(400, "M_INVALID_PARAM");
    server.request("POST", "/_matrix/client/v3/publicRooms", None, json!({})).is_error(401, "M_MISSING_TOKEN");
}
