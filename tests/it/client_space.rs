//! Spaces walked through: in order, as deep as wanted, page by page, and only where one may go.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list},
};

pub fn hierarchy(server: &TestServer, user: &TestUser, space: &str, query: &str) -> Answer {
    server.get(&format!("/_matrix/client/v1/rooms/{}/hierarchy?{query}", escaped(space)), &user.token)
}

/// The names of the rooms of a page, their ids where they have none.
pub fn names(page: &Value) -> Vec<String> {
    let name = |room: &Value| room["name"].as_str().or(room["room_id"].as_str()).unwrap().to_owned();
    list(&page["rooms"]).iter().map(name).collect()
}

pub fn space(server: &TestServer, user: &TestUser, name: &str) -> String {
    let creation = json!({ "type": "m.space" });
    server.create_room(user, json!({ "preset": "public_chat", "name": name, "creation_content": creation }))
}

pub fn room(server: &TestServer, user: &TestUser, name: &str) -> String {
    server.create_room(user, json!({ "preset": "public_chat", "name": name }))
}

pub fn put_in(server: &TestServer, user: &TestUser, space: &str, room: &str, more: Value) {
    let mut content = json!({ "via": [server.server_name()] });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.set_state(user, space, "m.space.child", room, content);
}

/// The space `root` of `b`, then the space `sub` of `x` and `y`, then `a`; all of Alice's.
struct Tree {
    server: TestServer,
    alice: TestUser,
    root: String,
    sub: String,
    a: String,
}

impl Tree {
    fn new() -> Self {
        let server = TestServer::new();
        let alice = server.register("alice");
        let (root, sub) = (space(&server, &alice, "root"), space(&server, &alice, "sub"));
        let [a, b, x, y] = ["a", "b", "x", "y"].map(|name| room(&server, &alice, name));
        put_in(&server, &alice, &root, &a, json!({}));
        put_in(&server, &alice, &root, &sub, json!({ "order": "2" }));
        put_in(&server, &alice, &root, &b, json!({ "order": "1", "suggested": true }));
        put_in(&server, &alice, &sub, &x, json!({ "order": "x", "suggested": true }));
        put_in(&server, &alice, &sub, &y, json!({ "order": "y" }));
        Self { server, alice, root, sub, a }
    }

    fn walk(&self, query: &str) -> Value {
        hierarchy(&self.server, &self.alice, &self.root, query).ok()
    }
}

#[test]
fn a_space_is_walked_depth_first_in_the_order_of_its_children() {
    let tree = Tree::new();
    let page = tree.walk("");
    assert_eq!(names(&page), ["root", "b", "sub", "x", "y", "a"]);
    assert_eq!(page["next_batch"], Value::Null);
    let root = &page["rooms"][0];
    assert_eq!(
        (&root["room_type"], &root["num_joined_members"], &root["room_version"]),
        (&json!("m.space"), &json!(1), &json!("12"))
    );
    let child = &root["children_state"][2];
    assert_eq!((&child["type"], &child["state_key"]), (&json!("m.space.child"), &json!(tree.a)));
    assert_eq!(
        (&child["sender"], &child["content"]["via"]),
        (&json!(tree.alice.id), &json!([tree.server.server_name()]))
    );
    assert!(child["origin_server_ts"].is_u64());
    assert_eq!(child.as_object().unwrap().len(), 5, "a stripped event and its time");
    assert_eq!(page["rooms"][1]["children_state"], json!([]));

    assert_eq!(names(&tree.walk("max_depth=0")), ["root"]);
    assert_eq!(names(&tree.walk("max_depth=1")), ["root", "b", "sub", "a"]);
    assert_eq!(names(&tree.walk("max_depth=9007199254740991")).len(), 6);
    let suggested = tree.walk("suggested_only=true");
    assert_eq!(names(&suggested), ["root", "b"], "what is below a room that is not suggested is not either");
    assert_eq!(list(&suggested["rooms"][0]["children_state"]).len(), 1);
    // A child that was taken out, and a room that only looks like a space.
    tree.server.set_state(&tree.alice, &tree.root, "m.space.child", &tree.sub, json!({}));
    put_in(&tree.server, &tree.alice, &tree.a, &tree.sub, json!({}));
    assert_eq!(names(&tree.walk("")), ["root", "b", "a"]);
}

#[test]
fn a_walk_goes_on_where_the_page_ended() {
    let tree = Tree::new();
    let mut query = "limit=2".to_owned();
    let mut walked = Vec::new();
    loop {
        let page = tree.walk(&query);
        assert_eq!(
            page,
            tree.walk(&query)
                .as_object()
                .map(|again| {
                    let mut again = again.clone();
                    // Asked twice it is told twice; only the token is another.
                    if let Some(next) = page.get("next_batch") {
                        again.insert("next_batch".to_owned(), next.clone());
                    }
                    Value::Object(again)
                })
                .unwrap()
        );
        walked.push(names(&page));
        let Some(next) = page["next_batch"].as_str() else { break };
        query = format!("limit=2&from={next}");
    }
    assert_eq!(walked, [["root", "b"], ["sub", "x"], ["y", "a"]]);

    let next = tree.walk("limit=1&max_depth=3")["next_batch"].as_str().unwrap().to_owned();
    let bob = tree.server.register("bob");
    for (user, space, query) in [
        (&tree.alice, &tree.root, format!("from={next}")),
        (&tree.alice, &tree.root, format!("from={next}&max_depth=4")),
        (&tree.alice, &tree.root, format!("from={next}&max_depth=3&suggested_only=true")),
        (&tree.alice, &tree.sub, format!("from={next}&max_depth=3")),
        (&bob, &tree.root, format!("from={next}&max_depth=3")),
        (&tree.alice, &tree.root, "from=nonsense".to_owned()),
        (&tree.alice, &tree.root, "limit=0".to_owned()),
        (&tree.alice, &tree.root, "limit=-1".to_owned()),
        (&tree.alice, &tree.root, "max_depth=-1".to_owned()),
        (&tree.alice, &tree.root, "max_depth=deep".to_owned()),
        (&tree.alice, &tree.root, "suggested_only=perhaps".to_owned()),
    ] {
        hierarchy(&tree.server, user, space, &query).is_error(400, "M_INVALID_PARAM");
    }
    hierarchy(&tree.server, &tree.alice, &tree.root, &format!("from={next}&max_depth=3")).ok();
    tree.server.advance(11 * 60 * 1000);
    hierarchy(&tree.server, &tree.alice, &tree.root, &format!("from={next}&max_depth=3"))
        .is_error(400, "M_INVALID_PARAM");
}

#[test]
fn only_rooms_one_may_know_of_are_met() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let root = space(&server, &alice, "root");
    let club = server.public_room(&alice);
    let make = |name: &str, rule: Value, visibility: &str| {
        let made = server.create_room(
            &alice,
            json!({ "name": name, "initial_state": [
            { "type": "m.room.join_rules", "content": rule },
            { "type": "m.room.history_visibility", "content": { "history_visibility": visibility } },
        ] }),
        );
        put_in(&server, &alice, &root, &made, json!({ "order": name }));
        made
    };
    let invite = || json!({ "join_rule": "invite" });
    let allow = json!([{ "type": "m.room_membership", "room_id": club }]);
    let a = make("a invite", invite(), "shared");
    let b = make("b joined", invite(), "shared");
    make("c knock", json!({ "join_rule": "knock" }), "shared");
    make("d restricted", json!({ "join_rule": "restricted", "allow": allow }), "shared");
    make("e knock restricted", json!({ "join_rule": "knock_restricted", "allow": allow }), "shared");
    make("f readable", invite(), "world_readable");
    let banned = make("g public", json!({ "join_rule": "public" }), "shared");
    make("h private", invite(), "shared");
    make("i unknown", json!({ "join_rule": "org.example.riddle" }), "shared");
    let seen = |user: &TestUser| names(&hierarchy(&server, user, &root, "").ok());
    assert_eq!(seen(&alice).len(), 10);
    assert_eq!(seen(&bob), ["root", "c knock", "e knock restricted", "f readable", "g public"]);
    server.act_on(&alice, &a, "invite", &bob);
    server.act_on(&alice, &b, "invite", &bob);
    server.join(&bob, &b);
    server.join(&bob, &club);
    server.act_on(&alice, &banned, "ban", &bob);
    let expected = ["root", "a invite", "b joined", "c knock", "d restricted", "e knock restricted", "f readable"];
    assert_eq!(seen(&bob), expected);
    let page = hierarchy(&server, &bob, &root, "").ok();
    assert_eq!(page["rooms"][4]["allowed_room_ids"], json!([club]));

    server.act_on(&alice, &root, "ban", &bob);
    hierarchy(&server, &bob, &root, "").is_error(403, "M_FORBIDDEN");
    hierarchy(&server, &bob, "!nowhere:x.example", "").is_error(403, "M_FORBIDDEN");
    hierarchy(&server, &bob, "nowhere", "").is_error(400, "M_INVALID_PARAM");
    let path = format!("/_matrix/client/v1/rooms/{}/hierarchy", escaped(&root));
    server.request("GET", &path, None, Value::Null).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn spaces_that_contain_each_other_have_an_end() {
    let tree = Tree::new();
    put_in(&tree.server, &tree.alice, &tree.sub, &tree.root, json!({ "order": "0" }));
    put_in(&tree.server, &tree.alice, &tree.root, &tree.root, json!({ "order": "0" }));
    put_in(&tree.server, &tree.alice, &tree.sub, &tree.a, json!({ "order": "0" }));
    assert_eq!(names(&tree.walk("")), ["root", "b", "sub", "a", "x", "y"]);
}

#[test]
fn a_summary_is_told_to_whom_the_room_may_be_known() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let private = server.create_room(&alice, json!({ "name": "Private", "room_alias_name": "private" }));
    let public = server.create_room(
        &alice,
        json!({
            "name": "Public", "topic": "Open", "preset": "public_chat", "room_alias_name": "public", "initial_state": [
                { "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
            ],
        }),
    );
    let summary = |room: &str, token: Option<&str>| {
        let path = format!("/_matrix/client/v1/room_summary/{}", escaped(room));
        server.request("GET", &path, token, Value::Null)
    };
    let alias = |name: &str| format!("#{name}:{}", server.server_name());
    let expected = json!({
        "room_id": public, "name": "Public", "topic": "Open", "canonical_alias": alias("public"), "num_joined_members": 1,
        "join_rule": "public", "world_readable": false, "guest_can_join": false, "encryption": "m.megolm.v1.aes-sha2",
        "room_version": "12",
    });
    let mut told = summary(&public, None).ok();
    told.as_object_mut().unwrap().entry("join_rule").or_insert_with(|| "public".into());
    assert_eq!(told, expected);
    let membership = |room: &str, user: &TestUser| summary(room, Some(&user.token)).ok()["membership"].clone();
    assert_eq!(membership(&public, &alice), "join");
    assert_eq!(membership(&alias("public"), &bob), "leave");
    assert_eq!(membership(&alias("private"), &alice), "join");
    for room in [&private, &alias("private")] {
        summary(room, Some(&bob.token)).is_error(404, "M_NOT_FOUND");
        summary(room, None).is_error(404, "M_NOT_FOUND");
    }
    server.act_on(&alice, &private, "invite", &bob);
    assert_eq!(membership(&private, &bob), "invite");
    server.act_on(&alice, &public, "ban", &bob);
    summary(&public, Some(&bob.token)).is_error(404, "M_NOT_FOUND");

    summary("!nowhere:x.example", Some(&alice.token)).is_error(404, "M_NOT_FOUND");
    summary(&alias("nothing"), Some(&alice.token)).is_error(404, "M_NOT_FOUND");
    summary("nonsense", None).is_error(400, "M_INVALID_PARAM");
    summary(&public, Some("wrong")).is_error(401, "M_UNKNOWN_TOKEN");
    for old in ["unstable/im.nheko.summary/rooms/ROOM/summary", "unstable/im.nheko.summary/summary/ROOM"] {
        let path = format!("/_matrix/client/{}", old.replace("ROOM", &escaped(&public)));
        server.get(&path, &alice.token).ok();
    }
}
