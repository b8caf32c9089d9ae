//! Scrolling through history: `/messages` and its kin.
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    talk::{escaped, filter, ids, kinds, list, next_batch, texts},
};

fn room_with_messages(count: usize) -> (TestServer, TestUser, String, Vec<String>) {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let said = (0..count).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    (server, alice, room, said)
}

/// Every event, page by page.
fn scroll(server: &TestServer, user: &TestUser, room: &str, query: &str, from: Option<&str>) -> Vec<Value> {
    let mut events = Vec::new();
    let mut from = from.map(ToOwned::to_owned);
    for _ in 0..200 {
        let place = from.map(|from| format!("&from={from}")).unwrap_or_default();
        let page = server.messages(user, room, &format!("{query}{place}"));
        events.extend(list(&page["chunk"]).iter().cloned());
        match page["end"].as_str() {
            Some(end) => from = Some(end.to_owned()),
            None => return events,
        }
    }
    panic!("scrolling has no end");
}

fn ids_of(events: &[Value]) -> Vec<String> {
    ids(&Value::Array(events.to_vec()))
}

#[test]
fn both_directions_read_every_event_exactly_once() {
    let (server, alice, room, said) = room_with_messages(25);
    let mut everything = ids_of(&scroll(&server, &alice, &room, "dir=f&limit=100", None));
    assert_eq!(everything.len(), said.len() + 6, "what makes a room, and what was said: {everything:?}");
    assert!(everything.ends_with(&said));
    for limit in [1, 2, 7, 31] {
        let forward = ids_of(&scroll(&server, &alice, &room, &format!("dir=f&limit={limit}"), None));
        assert_eq!(forward, everything, "limit {limit}");
    }
    everything.reverse();
    for limit in [1, 3, 10, 30, 31, 32] {
        let backward = ids_of(&scroll(&server, &alice, &room, &format!("dir=b&limit={limit}"), None));
        assert_eq!(backward, everything, "limit {limit}");
    }
}

#[test]
fn a_limited_sync_and_what_lies_before_it_make_the_whole() {
    let (server, alice, room, _) = room_with_messages(3);
    let since = next_batch(&server.sync(&alice, None, ""));
    let said: Vec<String> = (0..30).map(|n| server.say(&alice, &room, &format!("later {n}"))).collect();
    let few = filter(json!({ "room": { "timeline": { "limit": 4 } } }));
    let answer = server.sync(&alice, Some(&since), &few);
    let timeline = &answer["rooms"]["join"][&room]["timeline"];
    assert_eq!(timeline["limited"], true);
    let prev_batch = timeline["prev_batch"].as_str().unwrap();
    let query = format!("dir=b&limit=5&to={since}");
    let mut before = ids_of(&scroll(&server, &alice, &room, &query, Some(prev_batch)));
    before.reverse();
    assert_eq!([before, ids(&timeline["events"])].concat(), said);
    // Forward from where the client had been, up to there.
    let query = format!("dir=f&limit=5&to={}", next_batch(&answer));
    assert_eq!(ids_of(&scroll(&server, &alice, &room, &query, Some(&since))), said);
}

#[test]
fn pages_are_filtered_and_bounded() {
    let (server, alice, room, _) = room_with_messages(4);
    let bob = server.register("bob");
    server.join(&bob, &room);
    server.say(&bob, &room, "from Bob");
    let only = |query: Value| {
        let filter = filter(query);
        texts(&Value::Array(scroll(&server, &alice, &room, &format!("dir=b&limit=2{filter}"), None)))
    };
    assert_eq!(only(json!({ "types": ["m.room.message"], "senders": [bob.id] })), ["from Bob"]);
    assert_eq!(only(json!({ "types": ["m.room.message"], "not_senders": [bob.id] })), ["3", "2", "1", "0"]);
    assert_eq!(only(json!({ "rooms": [] })), [""; 0]);
    let page =
        server.messages(&alice, &room, &format!("dir=b&limit=3{}", filter(json!({ "lazy_load_members": true }))));
    let mut members: Vec<String> = kinds(&page["state"]).into_iter().map(|(_, user)| user).collect();
    members.sort();
    assert_eq!(members, [alice.id.clone(), bob.id.clone()], "the senders and nobody else");
    assert_eq!(list(&server.messages(&alice, &room, "dir=b&limit=0")["chunk"]).len(), 0);
    assert!(list(&server.messages(&alice, &room, "dir=b&limit=1000000")["chunk"]).len() > 8);
    for query in ["dir=b&from=nonsense", "dir=x", "limit=3", "dir=b&filter=%7B"] {
        let answer = server.get(&format!("/_matrix/client/v3/rooms/{}/messages?{query}", escaped(&room)), &alice.token);
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
    }
}

#[test]
fn strangers_and_those_who_forgot_read_nothing() {
    let (server, alice, room, _) = room_with_messages(2);
    let (bob, carol) = (server.register("bob"), server.register("carol"));
    let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b", escaped(&room));
    server.get(&path, &carol.token).is_error(403, "M_FORBIDDEN");
    server.get("/_matrix/client/v3/rooms/!nowhere/messages?dir=b", &carol.token).is_error(403, "M_FORBIDDEN");
    server.join(&bob, &room);
    server.say(&alice, &room, "seen");
    server.leave(&bob, &room);
    server.say(&alice, &room, "unseen");
    assert!(texts(&server.messages(&bob, &room, "dir=b")["chunk"]).contains(&"seen".to_owned()));
    assert!(!texts(&server.messages(&bob, &room, "dir=b")["chunk"]).contains(&"unseen".to_owned()));
    server.post(&format!("/_matrix/client/v3/rooms/{}/forget", escaped(&room)), &bob.token, json!({})).ok();
    server.get(&path, &bob.token).is_error(403, "M_FORBIDDEN");
}

#[test]
fn single_events_are_shown_to_whom_they_concern() {
    let (server, alice, room, said) = room_with_messages(1);
    let bob = server.register("bob");
    let path = |event: &str| format!("/_matrix/client/v3/rooms/{}/event/{}", escaped(&room), escaped(event));
    let event = server.get(&path(&said[0]), &alice.token).ok();
    assert_eq!((&event["event_id"], &event["room_id"]), (&json!(said[0]), &json!(room)));
    server.get(&path(&said[0]), &bob.token).is_error(404, "M_NOT_FOUND");
    server.get(&path("$nothing"), &alice.token).is_error(404, "M_NOT_FOUND");
    let other = server.public_room(&bob);
    let elsewhere = server.say(&bob, &other, "elsewhere");
    server.join(&alice, &other);
    server.get(&path(&elsewhere), &alice.token).is_error(404, "M_NOT_FOUND");
}

#[test]
fn an_event_is_found_in_its_context() {
    let (server, alice, room, said) = room_with_messages(10);
    let path = |event: &str, query: &str| {
        format!("/_matrix/client/v3/rooms/{}/context/{}?{query}", escaped(&room), escaped(event))
    };
    let context = server.get(&path(&said[5], "limit=4"), &alice.token).ok();
    assert_eq!(context["event"]["event_id"], json!(said[5]));
    assert_eq!(ids(&context["events_before"]), [said[4].clone(), said[3].clone()], "newest first");
    assert_eq!(ids(&context["events_after"]), [said[6].clone(), said[7].clone()]);
    assert!(kinds(&context["state"]).contains(&("m.room.create".to_owned(), String::new())));
    let page = |dir: &str, from: &Value| {
        server.messages(&alice, &room, &format!("dir={dir}&limit=1&from={}", from.as_str().unwrap()))
    };
    assert_eq!(ids(&page("b", &context["start"])["chunk"]), [said[2].clone()]);
    assert_eq!(ids(&page("f", &context["end"])["chunk"]), [said[8].clone()]);
    server.get(&path("$nothing", ""), &alice.token).is_error(404, "M_NOT_FOUND");
    server.get(&path(&said[5], ""), &server.register("bob").token).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_context_is_filtered_and_bounded() {
    let (server, alice, room, said) = room_with_messages(3);
    let bob = server.register("bob");
    server.join(&bob, &room);
    let of_bob = server.say(&bob, &room, "by Bob");
    let last = server.say(&alice, &room, "last");
    let context = |user: &TestUser, query: &str| {
        let path = format!("/_matrix/client/v3/rooms/{}/context/{}?{query}", escaped(&room), escaped(&said[2]));
        server.get(&path, &user.token).ok()
    };
    let nothing = context(&alice, "limit=0");
    assert_eq!(nothing["event"]["event_id"], json!(said[2]));
    assert!(list(&nothing["events_before"]).is_empty() && list(&nothing["events_after"]).is_empty());
    let odd = context(&alice, "limit=3");
    assert_eq!((list(&odd["events_before"]).len(), list(&odd["events_after"]).len()), (1, 2));
    let from_bob =
        context(&alice, &format!("limit=20{}", filter(json!({ "senders": [bob.id], "types": ["m.room.message"] }))));
    assert_eq!(from_bob["event"]["event_id"], json!(said[2]), "the filter is not for the event itself");
    assert!(list(&from_bob["events_before"]).is_empty());
    assert_eq!(ids(&from_bob["events_after"]), std::slice::from_ref(&of_bob));
    assert!(list(&from_bob["state"]).is_empty());
    let names = context(&alice, &filter(json!({ "types": ["m.room.member"], "lazy_load_members": true }))[1..]);
    assert!(kinds(&names["state"]).iter().all(|(kind, _)| kind == "m.room.member"));
    let lazy = context(&alice, &format!("limit=2{}", filter(json!({ "lazy_load_members": true }))));
    let members: Vec<_> = kinds(&lazy["state"]).into_iter().filter(|(kind, _)| kind == "m.room.member").collect();
    assert_eq!(members, [("m.room.member".to_owned(), alice.id.clone()), ("m.room.member".to_owned(), bob.id.clone())]);
    let elsewhere = context(&alice, &filter(json!({ "not_rooms": [room] }))[1..]);
    assert!(list(&elsewhere["events_before"]).is_empty() && list(&elsewhere["events_after"]).is_empty());
    server.ignore(&alice, &bob);
    let after = context(&alice, "limit=20");
    assert!(!ids(&after["events_after"]).contains(&of_bob));
    assert!(ids(&after["events_after"]).contains(&last));
    // Who left is shown nothing after that.
    server.leave(&bob, &room);
    let unseen = server.say(&alice, &room, "unseen");
    assert!(!ids(&context(&bob, "limit=20")["events_after"]).contains(&unseen));
}
