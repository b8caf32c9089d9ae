//! `/sync`: what a client is told, when, and that nothing is missing or told twice.
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    talk::{escaped, filter, ids, kinds, list, next_batch, sync_path, texts},
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
    assert_eq!(ids(&told["state"]["events"]), std::slice::from_ref(&topic), "the name is in the timeline");
    let after = server.sync(&bob, Some(&since), &format!("{few}&use_state_after=true"));
    let mut told = ids(&joined(&after, &room)["state_after"]["events"]);
    told.sort();
    let mut expected = [topic, name];
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(joined(&after, &room).get("state"), None);
}

#[test]
fn who_asks_for_no_events_gets_none_and_the_state() {
    let (server, alice, bob, room) = alice_and_bob();
    let none = filter(json!({ "room": { "timeline": { "limit": 0 } } }));
    let first = server.sync(&bob, None, &none);
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "x" }));
    for (answer, kind) in
        [(&first, "m.room.create"), (&server.sync(&bob, Some(&next_batch(&first)), &none), "m.room.topic")]
    {
        let told = joined(answer, &room);
        assert_eq!((list(&told["timeline"]["events"]).len(), &told["timeline"]["limited"]), (0, &json!(true)));
        assert!(kinds(&told["state"]["events"]).contains(&(kind.to_owned(), String::new())), "{told}");
    }
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
        assert_eq!(ids(&joined(&answer, &room)[field]["events"]), std::slice::from_ref(&name));
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
fn the_state_is_told_before_the_timeline_or_after_it_and_not_twice() {
    let (server, alice, bob, room) = alice_and_bob();
    let left = server.public_room(&alice);
    server.join(&bob, &left);
    let since = next_batch(&server.sync(&bob, None, ""));
    for room in [&room, &left] {
        let topic = server.set_state(&alice, room, "m.room.topic", "", json!({ "topic": "x" }));
        server.redact(&alice, room, &topic);
        (0..3).for_each(|n| drop(server.say(&alice, room, &n.to_string())));
    }
    server.leave(&bob, &left);
    let short = filter(json!({ "room": { "timeline": { "limit": 1 } } }));
    let fields = ["state", "state_after", "org.matrix.msc4222.state_after"];
    for (query, told) in [
        ("", "state"),
        ("&use_state_after=false", "state"),
        ("&use_state_after=true", "state_after"),
        ("&org.matrix.msc4222.use_state_after=true", "org.matrix.msc4222.state_after"),
    ] {
        for since in [Some(since.as_str()), None] {
            let answer = server.sync(&bob, since, &format!("{short}{query}"));
            let left = answer["rooms"].get("leave").map(|rooms| &rooms[&left]);
            for section in [Some(joined(&answer, &room)), left].into_iter().flatten() {
                let there: Vec<_> = fields.into_iter().filter(|field| section.get(field).is_some()).collect();
                assert_eq!(there, [told], "{query} {since:?}");
            }
            assert_eq!(left.is_some(), since.is_some());
        }
    }
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

#[test]
fn a_room_joined_since_is_told_whole() {
    let (server, alice, bob, _) = alice_and_bob();
    let other = server.public_room(&alice);
    server.set_state(&alice, &other, "m.room.topic", "", json!({ "topic": "t" }));
    server.say(&alice, &other, "before Bob");
    let since = next_batch(&server.sync(&bob, None, ""));
    server.join(&bob, &other);
    let answer = server.sync(&bob, Some(&since), &filter(json!({ "room": { "timeline": { "limit": 2 } } })));
    let told = joined(&answer, &other);
    assert_eq!(texts(&told["timeline"]["events"]), ["before Bob"], "history is shared");
    assert_eq!(told["timeline"]["limited"], true);
    let state = kinds(&told["state"]["events"]);
    assert!(state.contains(&("m.room.create".to_owned(), String::new())));
    assert!(state.contains(&("m.room.topic".to_owned(), String::new())));
    assert!(state.contains(&("m.room.member".to_owned(), alice.id.clone())));
    assert_eq!(told["summary"]["m.joined_member_count"], 2);
}

#[test]
fn who_comes_later_sees_only_what_the_room_lets_them() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for (visibility, expected) in [
        ("shared", vec!["early", "invited", "in"]),
        ("world_readable", vec!["early", "invited", "in"]),
        ("invited", vec!["invited", "in"]),
        ("joined", vec!["in"]),
    ] {
        let room = server.create_room(
            &alice,
            json!({
                "preset": "private_chat",
                "initial_state": [
                    { "type": "m.room.history_visibility", "content": { "history_visibility": visibility } },
                ],
            }),
        );
        server.say(&alice, &room, "early");
        server.act_on(&alice, &room, "invite", &bob);
        server.say(&alice, &room, "invited");
        server.join(&bob, &room);
        server.say(&alice, &room, "in");
        let answer = server.sync(&bob, None, "");
        assert_eq!(texts(&joined(&answer, &room)["timeline"]["events"]), expected, "{visibility}");
        let page = server.messages(&bob, &room, "dir=f&limit=50");
        assert_eq!(texts(&page["chunk"]), expected, "{visibility}");
        server.leave(&bob, &room);
        server.say(&alice, &room, "without Bob");
        let page = server.messages(&bob, &room, "dir=b&limit=50");
        let after = texts(&page["chunk"]).contains(&"without Bob".to_owned());
        assert_eq!(after, visibility == "world_readable", "{visibility}");
    }
}

#[test]
fn an_invite_shows_what_the_room_is_and_is_told_once() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let since = next_batch(&server.sync(&bob, None, ""));
    let room = server.create_room(&alice, json!({ "preset": "private_chat", "name": "Club" }));
    server.act_on(&alice, &room, "invite", &bob);
    let answer = server.sync(&bob, Some(&since), "");
    let stripped = &answer["rooms"]["invite"][&room]["invite_state"]["events"];
    let told = kinds(stripped);
    assert!(told.contains(&("m.room.name".to_owned(), String::new())), "{stripped}");
    assert!(told.contains(&("m.room.member".to_owned(), bob.id.clone())));
    assert!(list(stripped).iter().all(|event| event.get("event_id").is_none()), "stripped of all but four fields");
    assert_eq!(answer["rooms"].get("join"), None);
    assert_eq!(server.sync(&bob, Some(&next_batch(&answer)), "").get("rooms"), None, "told once");
    assert!(server.sync(&bob, None, "")["rooms"]["invite"][&room].is_object(), "but to those who begin anew");

    let since = next_batch(&answer);
    server.leave(&bob, &room);
    let answer = server.sync(&bob, Some(&since), "");
    let left = &answer["rooms"]["leave"][&room]["timeline"]["events"];
    assert_eq!(kinds(left), [("m.room.member".to_owned(), bob.id.clone())]);
    assert_eq!(left[0]["content"]["membership"], "leave");
    assert_eq!(server.sync(&bob, Some(&next_batch(&answer)), "").get("rooms"), None);
}

#[test]
fn a_room_that_was_left_is_told_up_to_the_leave_and_no_further() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &room, "still there");
    server.leave(&bob, &room);
    server.say(&alice, &room, "gone");
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(answer["rooms"].get("join"), None);
    let left = &answer["rooms"]["leave"][&room];
    assert_eq!(texts(&left["timeline"]["events"]), ["still there"]);
    assert_eq!(list(&left["timeline"]["events"]).last().unwrap()["content"]["membership"], "leave");
    assert_eq!(left.get("state"), None, "{left}");
    let since = next_batch(&answer);
    server.say(&alice, &room, "and more");
    assert_eq!(server.sync(&bob, Some(&since), "").get("rooms"), None);

    assert_eq!(server.sync(&bob, None, "").get("rooms"), None, "those who begin anew need not know");
    let with_left = filter(json!({ "room": { "include_leave": true } }));
    let answer = server.sync(&bob, None, &with_left);
    let left = &answer["rooms"]["leave"][&room];
    assert!(texts(&left["timeline"]["events"]).contains(&"still there".to_owned()));
    assert!(!texts(&left["timeline"]["events"]).contains(&"gone".to_owned()));

    server.post(&format!("/_matrix/client/v3/rooms/{}/forget", escaped(&room)), &bob.token, json!({})).ok();
    assert_eq!(server.sync(&bob, None, &with_left).get("rooms"), None, "forgotten is forgotten");
}

#[test]
fn bans_kicks_and_coming_back() {
    let (server, alice, bob, room) = alice_and_bob();
    let mut since = next_batch(&server.sync(&bob, None, ""));
    for (action, membership) in [("kick", "leave"), ("ban", "ban")] {
        server.say(&alice, &room, action);
        server.act_on(&alice, &room, action, &bob);
        let answer = server.sync(&bob, Some(&since), "");
        let left = &answer["rooms"]["leave"][&room]["timeline"]["events"];
        assert_eq!(texts(left), [action]);
        let last = list(left).last().unwrap();
        assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(bob.id), &json!(membership)));
        if action == "ban" {
            let before = next_batch(&answer);
            server.act_on(&alice, &room, "unban", &bob);
            let answer = server.sync(&bob, Some(&before), "");
            let told = &answer["rooms"]["leave"][&room]["timeline"]["events"];
            assert_eq!(kinds(told), [("m.room.member".to_owned(), bob.id.clone())]);
        }
        server.say(&alice, &room, "meanwhile");
        server.join(&bob, &room);
        let answer = server.sync(&bob, Some(&next_batch(&answer)), "");
        let told = joined(&answer, &room);
        assert_eq!(told["timeline"]["limited"], true, "there was a gap for this client");
        assert!(texts(&told["timeline"]["events"]).contains(&"meanwhile".to_owned()));
        let all = [kinds(&told["state"]["events"]), kinds(&told["timeline"]["events"])].concat();
        assert!(all.contains(&("m.room.create".to_owned(), String::new())), "the whole state");
        since = next_batch(&answer);
    }
}

#[test]
fn leaving_and_coming_back_between_two_syncs_leaves_a_gap() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    server.leave(&bob, &room);
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "changed" }));
    server.join(&bob, &room);
    let few = filter(json!({ "room": { "timeline": { "limit": 1 } } }));
    let answer = server.sync(&bob, Some(&since), &few);
    let told = joined(&answer, &room);
    assert_eq!(told["timeline"]["limited"], true);
    let topic = ("m.room.topic".to_owned(), String::new());
    assert!(kinds(&told["state"]["events"]).contains(&topic), "what changed meanwhile");
    let whole = server.sync(&bob, Some(&since), "");
    assert_eq!(joined(&whole, &room)["timeline"]["limited"], true, "even if the server has every event");
    // A new name is no leave.
    let since = next_batch(&answer);
    server.set_state(&bob, &room, "m.room.member", &bob.id, json!({ "membership": "join", "displayname": "Bobby" }));
    let answer = server.sync(&bob, Some(&since), "");
    let told = joined(&answer, &room);
    assert_eq!((told.get("state"), list(&told["timeline"]["events"]).len()), (None, 1), "{told}");
    assert_eq!(told["summary"]["m.joined_member_count"], 2);
}

#[test]
fn what_only_the_viewer_is_told_of_an_event() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/my-txn", escaped(&room));
    server.clock.advance(1_000);
    server.put(&path, &bob.token, json!({ "msgtype": "m.text", "body": "mine" })).ok();
    server.clock.advance(1_500);
    let event = |user: &TestUser| {
        let answer = server.sync(user, Some(&since), "");
        joined(&answer, &room)["timeline"]["events"][0].clone()
    };
    let (own, others) = (event(&bob), event(&alice));
    assert_eq!(own["unsigned"]["transaction_id"], "my-txn");
    assert_eq!(others["unsigned"].get("transaction_id"), None, "its sender's business");
    let login = server.request("POST", "/_matrix/client/v3/login/get_token", Some(&bob.token), json!({}));
    if login.status == 200 {
        let body = json!({ "type": "m.login.token", "token": login.body["login_token"] });
        let other = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
        let other = TestUser { token: other["access_token"].as_str().unwrap().to_owned(), ..bob.clone() };
        assert_eq!(event(&other)["unsigned"].get("transaction_id"), None, "the business of the device that sent it");
    }
    assert_eq!(own["unsigned"]["age"], 1_500);
    assert_eq!(own["unsigned"]["membership"], "join");
    assert_eq!(own.get("room_id"), None, "the room is named around it");
    for internal in ["auth_events", "prev_events", "hashes", "signatures", "depth"] {
        assert_eq!(own.get(internal), None);
    }
}

#[test]
fn state_in_the_timeline_says_what_it_replaced_and_redacted_events_why() {
    let (server, alice, bob, room) = alice_and_bob();
    let first = server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "first" }));
    let since = next_batch(&server.sync(&bob, None, ""));
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "second" }));
    let said = server.say(&alice, &room, "regrettable");
    let redaction = server.redact(&alice, &room, &said);
    let answer = server.sync(&bob, Some(&since), "");
    let events = list(&joined(&answer, &room)["timeline"]["events"]);
    assert_eq!(events[0]["unsigned"]["prev_content"], json!({ "name": "first" }));
    assert_eq!(events[0]["unsigned"]["replaces_state"], json!(first));
    assert_eq!(events[1]["content"], json!({}), "what was said is gone");
    assert_eq!(events[1]["unsigned"]["redacted_because"]["event_id"], json!(redaction));
    assert_eq!((&events[2]["type"], &events[2]["redacts"]), (&json!("m.room.redaction"), &json!(said)));
}

#[test]
fn filters_choose_rooms_types_and_senders() {
    let (server, alice, bob, room) = alice_and_bob();
    let other = server.public_room(&bob);
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &room, "from Alice");
    server.say(&bob, &room, "from Bob");
    server.send_event(&alice, &room, "org.example.other", json!({}));
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "t" }));
    server.say(&bob, &other, "elsewhere");
    let told = |query: serde_json::Value| server.sync(&bob, Some(&since), &filter(json!({ "room": query })));
    let answer = told(json!({ "rooms": [room] }));
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
    let answer = told(json!({ "not_rooms": [room] }));
    assert!(answer["rooms"]["join"].get(&room).is_none() && answer["rooms"]["join"].get(&other).is_some());
    let answer = told(json!({ "timeline": { "types": ["m.room.message"], "not_senders": [bob.id] } }));
    assert_eq!(texts(&joined(&answer, &room)["timeline"]["events"]), ["from Alice"]);
    assert_eq!(list(&joined(&answer, &room)["timeline"]["events"]).len(), 1);
    let state = kinds(&joined(&answer, &room)["state"]["events"]);
    assert_eq!(state, [("m.room.topic".to_owned(), String::new())], "state kept out of the timeline is told beside it");
    let answer = told(json!({ "timeline": { "types": ["m.room.message"] }, "state": { "types": [] } }));
    assert_eq!(joined(&answer, &room).get("state"), None);
    let answer = told(json!({ "timeline": { "types": ["org.*"] } }));
    assert_eq!(kinds(&joined(&answer, &room)["timeline"]["events"])[0].0, "org.example.other");
    let answer = told(json!({ "timeline": { "types": [] }, "state": { "types": [] } }));
    assert_eq!(answer.get("rooms"), None, "nothing wanted, nothing told: {answer}");

    // The same filter by its id.
    let path = format!("/_matrix/client/v3/user/{}/filter", bob.id);
    let body = json!({ "room": { "rooms": [room] } });
    let id = server.post(&path, &bob.token, body).ok()["filter_id"].as_str().unwrap().to_owned();
    let answer = server.sync(&bob, Some(&since), &format!("&filter={id}"));
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
    server.sync_answer(&alice, None, &format!("&filter={id}")).is_error(404, "M_NOT_FOUND");
}

#[test]
fn events_come_in_the_format_and_with_the_fields_asked_for() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let event = server.say(&alice, &room, "hello");
    let told = |query: Value| {
        let answer = server.sync(&bob, Some(&since), &filter(query));
        joined(&answer, &room)["timeline"]["events"].clone()
    };
    let federation = told(json!({ "event_format": "federation" }));
    let federation = &federation[0];
    assert_eq!(federation["event_id"], json!(event));
    for field in ["auth_events", "prev_events", "depth", "hashes", "signatures", "room_id", "content"] {
        assert!(federation.get(field).is_some(), "{field}: {federation}");
    }
    assert!(federation["unsigned"]["age"].is_u64());
    let client = told(json!({ "event_format": "client" }));
    assert_eq!(client[0].get("auth_events"), None);
    server.sync_answer(&bob, None, &filter(json!({ "event_format": "other" }))).is_error(400, "M_INVALID_PARAM");

    let fields = told(json!({ "event_fields": ["type", "content.body", "unsigned.nothing"] }));
    assert_eq!(fields, json!([{ "type": "m.room.message", "content": { "body": "hello" } }]));
    assert_eq!(told(json!({ "event_fields": [] })), json!([{}]));
    let initial =
        server.sync(&bob, None, &filter(json!({ "event_fields": ["type"], "room": { "timeline": { "limit": 1 } } })));
    let state = list(&joined(&initial, &room)["state"]["events"]).to_vec();
    assert!(!state.is_empty() && state.iter().all(|event| event.as_object().unwrap().len() == 1), "{state:?}");
}

#[test]
fn unwanted_wins_over_wanted_and_urls_may_be_asked_for() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &room, "no url");
    let image = json!({ "msgtype": "m.image", "body": "image", "url": "mxc://x.alt/y" });
    server.send_event(&alice, &room, "m.room.message", image);
    server.say(&bob, &room, "by Bob");
    let told = |timeline: Value| {
        let answer = server.sync(&bob, Some(&since), &filter(json!({ "room": { "timeline": timeline } })));
        texts(&joined(&answer, &room)["timeline"]["events"])
    };
    assert_eq!(told(json!({ "contains_url": true })), ["image"]);
    assert_eq!(told(json!({ "contains_url": false })), ["no url", "by Bob"]);
    assert_eq!(told(json!({ "senders": [bob.id] })), ["by Bob"]);
    assert_eq!(told(json!({ "senders": [alice.id, bob.id], "not_senders": [alice.id] })), ["by Bob"]);
    assert!(told(json!({ "types": ["m.room.*"], "not_types": ["*.message"] })).is_empty());
    assert!(told(json!({ "rooms": [room], "not_rooms": [room] })).is_empty());
    assert!(told(json!({ "senders": [] })).is_empty());
    server.read(&alice, &room, "m.read", &server.say(&alice, &room, "read"), json!({})).ok();
    let ephemeral = |filtered: Value| {
        let answer = server.sync(&bob, Some(&since), &filter(json!({ "room": { "ephemeral": filtered } })));
        kinds(&joined(&answer, &room)["ephemeral"]["events"]).len()
    };
    assert_eq!(ephemeral(json!({})), 1);
    assert_eq!(ephemeral(json!({ "types": ["m.typing"] })), 0);
    assert_eq!(ephemeral(json!({ "not_types": ["m.*"] })), 0);
    assert_eq!(ephemeral(json!({ "types": ["m.receipt"], "not_rooms": [room] })), 0);
    for (kind, path) in [("global", String::new()), ("of the room", format!("/rooms/{}", escaped(&room)))] {
        let path = format!("/_matrix/client/v3/user/{}{path}/account_data/org.example.data", bob.id);
        server.put(&path, &bob.token, json!({ "kind": kind })).ok();
    }
    let data = |filtered: Value| server.sync(&bob, Some(&since), &filter(filtered));
    let only =
        json!({ "account_data": { "types": ["org.*"] }, "room": { "account_data": { "not_types": ["org.*"] } } });
    let answer = data(only);
    assert_eq!(kinds(&answer["account_data"]["events"]), [("org.example.data".to_owned(), String::new())]);
    assert_eq!(joined(&answer, &room).get("account_data"), None);
    let answer = data(json!({ "account_data": { "not_types": ["*"] } }));
    assert_eq!(answer.get("account_data"), None);
    assert_eq!(list(&joined(&answer, &room)["account_data"]["events"]).len(), 1);
}

#[test]
fn a_token_of_before_a_restart_goes_on() {
    let (server, alice, bob, room) = alice_and_bob();
    let lazy = filter(json!({ "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": 3 } } }));
    let since = next_batch(&server.sync(&bob, None, &lazy));
    let said: Vec<String> = (0..5).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "new" }));
    let before = server.sync(&bob, Some(&since), &lazy);
    let server = TestServer::on(server.disk.clone());
    let after = server.sync(&bob, Some(&since), &lazy);
    let timeline = |answer: &Value| ids(&joined(answer, &room)["timeline"]["events"]);
    assert_eq!(timeline(&before), timeline(&after));
    assert_eq!(joined(&after, &room)["timeline"]["limited"], true);
    assert_eq!(timeline(&after)[..2], said[3..]);
    assert_eq!(server.sync(&bob, Some(&next_batch(&before)), &lazy).get("rooms"), None);
    let prev = joined(&after, &room)["timeline"]["prev_batch"].as_str().unwrap().to_owned();
    let earlier = server.messages(&bob, &room, &format!("dir=b&limit=3&from={prev}"));
    assert_eq!(ids(&earlier["chunk"]), [said[2].clone(), said[1].clone(), said[0].clone()]);
}

#[test]
fn members_are_loaded_lazily() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let crowd: Vec<TestUser> = (0..6).map(|n| server.register(&format!("user{n}"))).collect();
    crowd.iter().for_each(|user| server.join(user, &room));
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "so that nobody is a hero" }));
    server.say(&crowd[3], &room, "hello");
    let query = |redundant: bool| {
        let state = json!({ "lazy_load_members": true, "include_redundant_members": redundant });
        filter(json!({ "room": { "state": state, "timeline": { "limit": 1 } } }))
    };
    let members = |answer: &Value| -> Vec<String> {
        let mut members: Vec<String> = kinds(&joined(answer, &room)["state"]["events"])
            .into_iter()
            .filter(|(kind, _)| kind == "m.room.member")
            .map(|(_, user)| user)
            .collect();
        members.sort();
        members
    };
    let first = server.sync(&alice, None, &query(false));
    assert_eq!(members(&first), [alice.id.clone(), crowd[3].id.clone()], "the sender and oneself");
    let since = next_batch(&first);
    server.say(&crowd[3], &room, "again");
    server.say(&crowd[4], &room, "me too");
    // A limit of one shows only the last.
    let second = server.sync(&alice, Some(&since), &query(false));
    assert_eq!(members(&second), [crowd[4].id.clone()]);
    let repeated = server.sync(&alice, Some(&since), &query(false));
    assert_eq!(members(&repeated), [crowd[4].id.clone()], "the first answer may have got lost");
    let since = next_batch(&second);
    server.say(&crowd[4], &room, "and again");
    assert_eq!(members(&server.sync(&alice, Some(&since), &query(false))), [""; 0], "sent before");
    assert_eq!(members(&server.sync(&alice, Some(&since), &query(true))), [crowd[4].id.clone()], "if asked for again");
    let anew = server.sync(&alice, None, &query(false));
    assert_eq!(members(&anew), [alice.id.clone(), crowd[4].id.clone()], "those who begin anew have nothing");
    // Who left while nobody looked is told, so that a list of all members stays true.
    let since = next_batch(&anew);
    server.leave(&crowd[0], &room);
    server.say(&alice, &room, "bye");
    assert_eq!(members(&server.sync(&alice, Some(&since), &query(false))), [crowd[0].id.clone()]);
}

#[test]
fn lazily_loaded_members_include_oneself_and_whoever_changed_in_a_gap() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let query = filter(json!({ "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": 1 } } }));
    let since = next_batch(&server.sync(&bob, None, &query));
    let room = server.public_room(&alice);
    server.join(&carol, &room);
    server.join(&bob, &room);
    server.say(&alice, &room, "welcome");
    let members = |answer: &Value| -> Vec<String> {
        let state = kinds(&joined(answer, &room)["state"]["events"]);
        state.into_iter().filter(|(kind, _)| kind == "m.room.member").map(|(_, user)| user).collect()
    };
    let answer = server.sync(&bob, Some(&since), &query);
    assert!(members(&answer).contains(&bob.id), "who joins gets to know oneself: {answer}");
    let heroes = list(&joined(&answer, &room)["summary"]["m.heroes"]).to_vec();
    assert!(heroes.contains(&json!(carol.id)) && !heroes.contains(&json!(bob.id)), "{heroes:?}");
    assert!(members(&answer).contains(&carol.id), "a hero is known");
    let since = next_batch(&answer);
    // All of them are known to the client; what changed of them in the gap is told all the same.
    let profile = format!("/_matrix/client/v3/profile/{}/displayname", carol.id);
    server.put(&profile, &carol.token, json!({ "displayname": "Carola" })).ok();
    server.settle();
    (0..3).for_each(|n| drop(server.say(&alice, &room, &n.to_string())));
    let answer = server.sync(&bob, Some(&since), &query);
    assert_eq!(
        (&joined(&answer, &room)["timeline"]["limited"], members(&answer)),
        (&json!(true), vec![carol.id.clone()])
    );
    let whole = server.sync(&bob, Some(&next_batch(&answer)), &format!("{query}&full_state=true"));
    assert!(members(&whole).contains(&bob.id), "the full state has oneself in it");
}

#[test]
fn a_nameless_room_is_named_after_its_members() {
    let (server, alice, bob, room) = alice_and_bob();
    let lazily = filter(json!({ "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": 1 } } }));
    let answer = server.sync(&alice, None, &lazily);
    let told = joined(&answer, &room);
    assert_eq!(told["summary"]["m.heroes"], json!([bob.id]));
    let carol = server.register("carol");
    server.act_on(&alice, &room, "invite", &carol);
    let answer = server.sync(&alice, Some(&next_batch(&answer)), &lazily);
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!(summary["m.heroes"], json!([bob.id, carol.id]), "in the order they came");
    assert_eq!((&summary["m.joined_member_count"], &summary["m.invited_member_count"]), (&json!(2), &json!(1)));
    let members = kinds(&joined(&answer, &room)["state"]["events"]);
    assert!(members.contains(&("m.room.member".to_owned(), bob.id.clone())), "a hero is known: {members:?}");
    server.set_state(&alice, &room, "m.room.name", "", json!({ "name": "named" }));
    server.leave(&bob, &room);
    let answer = server.sync(&alice, Some(&next_batch(&answer)), "");
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!((summary.get("m.heroes"), &summary["m.joined_member_count"]), (None, &json!(1)));
}

#[test]
fn account_data_is_told_when_it_changes() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let user = format!("/_matrix/client/v3/user/{}", bob.id);
    server.put(&format!("{user}/account_data/org.example.a"), &bob.token, json!({ "n": 1 })).ok();
    let tag = format!("{user}/rooms/{}/account_data/org.example.b", escaped(&room));
    server.put(&tag, &bob.token, json!({ "n": 2 })).ok();
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(answer["account_data"]["events"], json!([{ "type": "org.example.a", "content": { "n": 1 } }]));
    let of_room = json!([{ "type": "org.example.b", "content": { "n": 2 } }]);
    assert_eq!(joined(&answer, &room)["account_data"]["events"], of_room);
    let again = server.sync(&bob, Some(&next_batch(&answer)), "");
    assert_eq!((again.get("account_data"), again.get("rooms")), (None, None));
    assert_eq!(joined(&server.sync(&bob, None, ""), &room)["account_data"]["events"], of_room);
    assert_eq!(server.sync(&alice, Some(&since), "").get("account_data"), None, "nobody else's business");
    let none = filter(json!({ "account_data": { "types": [] }, "room": { "account_data": { "types": [] } } }));
    let answer = server.sync(&bob, Some(&since), &none);
    assert_eq!((answer.get("account_data"), answer.get("rooms")), (None, None));
}

#[test]
fn ignored_users_are_not_heard() {
    let (server, alice, bob, room) = alice_and_bob();
    let ignored = json!({ "ignored_users": { (alice.id.clone()): {} } });
    let path = format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", bob.id);
    server.put(&path, &bob.token, ignored).ok();
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &room, "not for Bob");
    let private = server.create_room(&alice, json!({ "preset": "private_chat" }));
    server.act_on(&alice, &private, "invite", &bob);
    let topic = server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "for all" }));
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(ids(&joined(&answer, &room)["timeline"]["events"]), [topic], "state is the room's");
    assert_eq!(answer["rooms"].get("invite"), None);
    assert_eq!(joined(&answer, &room)["unread_notifications"]["notification_count"], 0);
}

#[test]
fn a_sync_of_many_rooms_reads_little() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rooms: Vec<String> = (0..100).map(|_| server.public_room(&alice)).collect();
    rooms.iter().for_each(|room| server.join(&bob, room));
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &rooms[50], "news");
    let before = server.reads();
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(answer["rooms"]["join"].as_object().unwrap().len(), 1);
    let reads = server.reads() - before;
    assert!(reads < 15, "{reads} reads to tell one message");
    let since = next_batch(&answer);
    let before = server.reads();
    assert_eq!(server.sync(&bob, Some(&since), "").get("rooms"), None);
    let reads = server.reads() - before;
    assert!(reads < 5, "{reads} reads to tell nothing");
}

#[test]
fn full_state_tells_every_room() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    let said = server.say(&alice, &room, "one message");
    let answer = server.sync(&bob, Some(&since), "&full_state=true");
    let told = joined(&answer, &room);
    assert_eq!(ids(&told["timeline"]["events"]), [said]);
    assert!(kinds(&told["state"]["events"]).contains(&("m.room.create".to_owned(), String::new())));
    let answer = server.sync(&bob, Some(&next_batch(&answer)), "&full_state=true");
    assert!(kinds(&joined(&answer, &room)["state"]["events"]).len() > 5, "quiet rooms as well");
}

#[test]
fn everything_is_there_after_a_restart() {
    let (server, alice, bob, room) = alice_and_bob();
    let since = next_batch(&server.sync(&bob, None, ""));
    server.say(&alice, &room, "before");
    let (homeserver, disk) = (server.homeserver.clone(), server.disk.clone());
    drop((server, homeserver));
    let server = TestServer::on(disk);
    server.say(&alice, &room, "after");
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(texts(&joined(&answer, &room)["timeline"]["events"]), ["before", "after"]);
    assert_eq!(joined(&answer, &room)["unread_notifications"]["notification_count"], 2);
}

/// Without how old events are, which depends on when it is asked.
fn ageless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "age")
            .map(|(name, value)| (name.clone(), ageless(value)))
            .collect(),
        Value::Array(values) => values.iter().map(ageless).collect(),
        other => other.clone(),
    }
}

#[test]
fn an_initial_sync_tells_the_same_from_memory_and_from_storage() {
    let (server, alice, bob, room) = alice_and_bob();
    let edited = server.say(&alice, &room, "first");
    server.edit(&alice, &room, &edited, "second");
    let redacted = server.say(&bob, &room, "regretted");
    server.redact(&bob, &room, &redacted);
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "one" }));
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "two" }));
    let other = server.public_room(&bob);
    for n in 0..40 {
        server.say(if n % 2 == 0 { &alice } else { &bob }, &room, &format!("message {n}"));
    }
    server.join(&alice, &other);
    server.say(&bob, &other, "unread");
    let queries = [String::new(), filter(json!({ "room": { "timeline": { "limit": 100 } } }))];
    let told = |server: &TestServer| queries.clone().map(|query| server.sync(&alice, None, &query));
    let [from_memory, from_storage] = [told(&server), told(&TestServer::on(server.disk.clone()))];
    for (warm, cold) in from_memory.iter().zip(&from_storage) {
        assert_eq!(warm["rooms"]["join"].as_object().unwrap().len(), 2);
        assert_eq!(ageless(&warm["rooms"]), ageless(&cold["rooms"]));
        assert_eq!(warm["account_data"], cold["account_data"]);
    }
}
