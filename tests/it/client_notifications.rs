//! The list of what one was notified of.
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser, request},
    talk::list,
};

const PATH: &str = "/_matrix/client/v3/notifications";

/// Alice, Bob and Carol in a public room of Alice's.
fn three() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    server.join(&server.register("carol"), &room);
    (server, alice, bob, room)
}

fn page(server: &TestServer, user: &TestUser, query: &str) -> Value {
    server.get(&format!("{PATH}?{query}"), &user.token).ok()
}

/// The ids of the events of a page.
fn events(page: &Value) -> Vec<String> {
    list(&page["notifications"]).iter().map(|one| one["event"]["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_one_was_notified_of_is_listed_the_newest_first_and_says_what_is_read() {
    let (server, alice, bob, room) = three();
    assert_eq!(page(&server, &bob, ""), json!({ "notifications": [] }));
    let said: Vec<String> = (0..3).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    server.send_event(&alice, &room, "m.reaction", json!({}));
    server.say(&bob, &room, "my own");
    let last = server.say(&alice, &room, "last");
    let listed = page(&server, &bob, "");
    assert_eq!(events(&listed), [&last, &said[2], &said[1], &said[0]].map(String::clone));
    let read: Vec<&Value> = list(&listed["notifications"]).iter().map(|one| &one["read"]).collect();
    assert_eq!(read, [false, true, true, true], "who answers has read");
    let newest = &listed["notifications"][0];
    assert_eq!((&newest["room_id"], &newest["actions"]), (&json!(room), &json!(["notify"])));
    assert_eq!(newest["ts"], 1_700_000_000_000_u64);
    assert_eq!((&newest["event"]["content"]["body"], newest["event"].get("room_id")), (&json!("last"), None));
    server.read(&bob, &room, "m.read", &last, json!({})).ok();
    assert_eq!(page(&server, &bob, "")["notifications"][0]["read"], true);
    assert_eq!(events(&page(&server, &alice, "")).len(), 1, "each has a list of one's own");
    server.redact(&alice, &room, &last);
    let listed = page(&server, &bob, "");
    assert_eq!(events(&listed).len(), 3, "what was taken back is not told of again");
    server.send(request("GET", PATH, None, "")).is_error(401, "M_MISSING_TOKEN");
    assert_eq!(page(&TestServer::on(server.disk.clone()), &bob, ""), listed, "it survives a restart");
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let (server, alice, bob, room) = three();
    let said: Vec<String> = (0..7).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    let mut heard = Vec::new();
    let mut query = "limit=3".to_owned();
    for pages in 1.. {
        let answer = page(&server, &bob, &query);
        heard.extend(events(&answer));
        let Some(token) = answer.get("next_token") else {
            assert_eq!(pages, 3);
            break;
        };
        server.say(&alice, &room, "news is before the first page");
        query = format!("limit=3&from={}", token.as_str().unwrap());
    }
    assert_eq!(heard, said.into_iter().rev().collect::<Vec<_>>());
    for query in ["from=7", "from=nonsense", "limit=0", "limit=x", "limit=-1", "only=music"] {
        server.get(&format!("{PATH}?{query}"), &bob.token).is_error(400, "M_INVALID_PARAM");
    }
    assert_eq!(events(&page(&server, &bob, "limit=1000000")).len(), 9);
}

#[test]
fn highlights_alone_can_be_asked_for() {
    let (server, alice, bob, room) = three();
    server.say(&alice, &room, "all");
    let content = json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": [bob.id] } });
    let mention = server.send_event(&alice, &room, "m.room.message", content);
    server.say(&alice, &room, "all again");
    let answer = page(&server, &bob, "only=highlight&limit=1");
    assert_eq!(events(&answer), [mention]);
    assert_eq!(answer.get("next_token"), None);
    let actions = json!(["notify", { "set_tweak": "sound", "value": "default" }, { "set_tweak": "highlight" }]);
    assert_eq!(answer["notifications"][0]["actions"], actions);
}

#[test]
fn an_invite_is_listed_until_it_is_answered_and_senders_ignored_are_not() {
    let (server, alice, bob, room) = three();
    let private = server.create_room(&alice, json!({ "preset": "private_chat" }));
    server.act_on(&alice, &private, "invite", &bob);
    let listed = page(&server, &bob, "");
    let invite = &listed["notifications"][0];
    assert_eq!((&invite["event"]["type"], &invite["read"]), (&json!("m.room.member"), &json!(false)));
    assert_eq!((&invite["event"]["state_key"], &invite["room_id"]), (&json!(bob.id), &json!(private)));
    server.join(&bob, &private);
    assert_eq!(page(&server, &bob, "")["notifications"][0]["read"], true);
    server.say(&alice, &room, "hello");
    let ignored = format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", bob.id);
    server.put(&ignored, &bob.token, json!({ "ignored_users": { (alice.id.clone()): {} } })).ok();
    assert_eq!(page(&server, &bob, ""), json!({ "notifications": [] }));
    server.say(&alice, &room, "hello?");
    let other = server.create_room(&alice, json!({ "preset": "private_chat" }));
    server.act_on(&alice, &other, "invite", &bob);
    server.put(&ignored, &bob.token, json!({ "ignored_users": {} })).ok();
    assert_eq!(events(&page(&server, &bob, "")).len(), 2, "what was said meanwhile never notified");
}

#[test]
fn there_is_an_end_to_what_is_kept() {
    let (server, alice, bob, room) = three();
    for n in 0..1_150 {
        server.say(&alice, &room, &n.to_string());
    }
    let mut count = 0;
    let mut query = "limit=100".to_owned();
    loop {
        let answer = page(&server, &bob, &query);
        count += events(&answer).len();
        let Some(token) = answer.get("next_token") else { break };
        query = format!("limit=100&from={}", token.as_str().unwrap());
    }
    assert!((1_000..=1_100).contains(&count), "{count}");
}
