//! `/sync`: what a client is told, when, and that nothing is missing or told twice.
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    talk::{filter, ids, kinds, list, next_batch, sync_path, texts},
};

/// Alice, Bob and a public room of Alice's that Bob is in.
fn alice_and_bob() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    (server, alice, bob, room)
}

fn joined<'a>(answer: &'a Value, room: &str) -> &'a Value {
    &answer["rooms"]["join"][room]
}

#[test]
fn an_initial_sync_shows_the_room_as_it_is() {
    let (server, alice, bob, room) = alice_and_bob();
    server.say(&alice, &room, "hello");
    let answer = server.sync(&bob, None, "");
    let told = joined(&answer, &room);
    assert_eq!(texts(&told["timeline"]["events"]), ["hello"]);
    let all: Vec<_> = [kinds(&told["state"]["events"]), kinds(&told["timeline"]["events"])].concat();
    assert!(all.contains(&("m.room.create".to_owned(), String::new())));
    assert!(all.contains(&("m.room.member".to_owned(), bob.id.clone())));
    assert_eq!(told["timeline"].get("limited"), None, "everything there is was told");
    assert_eq!(told["summary"]["m.joined_member_count"], 2);
    assert_eq!(told["summary"]["m.heroes"], json!([alice.id]));
    assert!(list(&answer["account_data"]["events"]).iter().any(|event| event["type"] == "m.push_rules"));
}

#[test]
fn an_incremental_sync_tells_only_what_is_new() {
    let (server, alice, bob, room) = alice_and_bob();
    let quiet = server.public_room(&alice);
    server.join(&bob, &quiet);
    let since = next_batch(&server.sync(&bob, None, ""));
    let nothing = server.sync(&bob, Some(&since), "");
    assert_eq!(nothing.get("rooms"), None, "{nothing}");
    let first = server.say(&alice, &room, "one");
    let second = server.say(&alice, &room, "two");
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().keys().collect::<Vec<_>>(), [&room]);
    let told = joined(&answer, &room);
    assert_eq!(ids(&told["timeline"]["events"]), [first, second]);
    assert_eq!(told.get("state"), None, "no state changed: {told}");
    assert_eq!(told.get("summary"), None);
    let since = next_batch(&answer);
    assert_eq!(server.sync(&bob, Some(&since), "").get("rooms"), None);
}

#[test]
fn a_limited_timeline_comes_with_the_state_that_changed_before_it() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let topic = server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "old" }));
    for n in 0..5 {
        server.say(&alice, &room, &n.to_string());
    }
    let name = server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "new" }));
    let few = filter(json!({ "room": { "timeline": { "limit": 3 } } }));
    let answer = server.sync(&bob, Some(&since), &few);
    let told = joined(&answer, &room);
    assert_eq!(told["timeline"]["limited"], true);
    assert_eq!(list(&told["timeline"]["events"]).len(), 3);
    assert_eq!(ids(&told["state"]["events"]), [topic.clone()], "the name is in the timeline");
    let after = server.sync(&bob, Some(&since), &format!("{few}&use_state_after=true"));
    let mut told = ids(&joined(&after, &room)["state_after"]["events"]);
    told.sort();
    let mut expected = [topic, name];
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(joined(&after, &room).get("state"), None);
}

#[test]
fn state_after_the_timeline_is_told_under_either_name() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let name = server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "x" }));
    for (query, field) in [
        ("&use_state_after=true", "state_after"),
        ("&org.matrix.msc4222.use_state_after=true", "org.matrix.msc4222.state_after"),
    ] {
        let answer = server.sync(&bob, Some(&since), query);
        assert_eq!(ids(&joined(&answer, &room)[field]["events"]), [name.clone()]);
    }
    let text = server.say(&alice, &room, "no state");
    let answer = server.sync(&bob, Some(&since), "&org.matrix.msc4222.use_state_after=true");
    let since = next_batch(&answer);
    assert_eq!(ids(&joined(&answer, &room)["timeline"]["events"]), [name, text]);
    server.say(&alice, &room, "again no state");
    let answer = server.sync(&bob, Some(&since), "&org.matrix.msc4222.use_state_after=true");
    assert!(joined(&answer, &room)["org.matrix.msc4222.state_after"].is_object(), "there, though nothing changed");
}

#[test]
fn a_long_poll_ends_with_news_or_with_its_time() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let path = sync_path(Some(&since), 20_000, "");
    let waiting = server.start("GET", &path, Some(&bob.token));
    assert!(waiting.take().is_none());
    server.advance(19_999);
    assert!(waiting.take().is_none(), "nothing has happened");
    let said = server.say(&alice, &room, "wake up");
    server.settle();
    let answer = waiting.take().expect("woken").ok();
    assert_eq!(ids(&joined(&answer, &room)["timeline"]["events"]), [said]);

    let since = next_batch(&answer);
    let waiting = server.start("GET", &sync_path(Some(&since), 20_000, ""), Some(&bob.token));
    // What is news to others is none to Bob.
    server.public_room(&alice);
    server.settle();
    assert!(waiting.take().is_none());
    server.advance(20_000);
    let answer = waiting.take().expect("the time is over").ok();
    assert_eq!(answer.get("rooms"), None);
    assert_ne!(next_batch(&answer), since, "what was no news is passed over");
    let too_long = server.start("GET", &sync_path(Some(&since), 3_600_000, ""), Some(&bob.token));
    server.advance(30_000);
    assert!(too_long.take().is_some(), "nobody waits longer than this server lets them");
}

#[test]
fn tokens_that_are_not_ours_are_refused() {
    let (server, _, bob, _) = alice_and_bob();
    for since in ["x", "t5", "s05", "s-1", "s18446744073709551615"] {
        server.sync_answer(&bob, Some(since), "").is_error(400, "M_INVALID_PARAM");
    }
    server.sync_answer(&bob, None, "&filter=nothing").is_error(404, "M_NOT_FOUND");
    server.sync_answer(&bob, None, "&filter=%7Bbroken").is_error(400, "M_INVALID_PARAM");
    server.get("/_matrix/client/v3/sync", "nonsense").is_error(401, "M_UNKNOWN_TOKEN");
}
