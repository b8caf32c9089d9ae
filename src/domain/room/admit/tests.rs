//! Every clause of the verdict that is ours: what is asked, at which state, and what lack of data means.
mod rules;

use ruma::{EventId, RoomVersionId, canonical_json::CanonicalJsonValue};
use serde_json::json;

use super::*;
use crate::domain::{
    event::{
        draft::{Position, seal_template},
        reference,
    },
    room::resolve::StateMap,
    room_version::SUPPORTED,
    test_room::{TestRoom, identity, lookup, rejected_copy, user},
};

fn every_version() -> impl Iterator<Item = TestRoom> {
    SUPPORTED.into_iter().map(TestRoom::new)
}

/// The verdict on an event that follows the head: before it and now are the same.
fn verdict(room: &TestRoom, pdu: &Pdu) -> Verdict {
    admit(pdu, &room.rules, &room.auth_events_of(pdu), &room.lookup(), &room.lookup()).unwrap()
}

fn rejected(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Rejected { .. })
}

#[test]
fn a_new_room_is_allowed_event_by_event() {
    for finished in every_version() {
        let mut in_order: Vec<_> = finished.events.values().collect();
        in_order.sort_by_key(|event| event.depth);
        let mut state = StateMap::new();
        for event in in_order {
            let before = lookup(&state, &finished.events);
            let verdict = admit(event, &finished.rules, &finished.auth_events_of(event), &before, &before);
            assert_eq!(verdict, Ok(Verdict::Accepted), "{}", event.json());
            drop(before);
            state.extend(event.state_map_key().map(|key| (key, event.event_id.clone())));
        }
        assert_eq!(state, finished.state);
    }
}

#[test]
fn what_the_state_before_forbids_is_rejected_and_what_only_now_forbids_is_soft_failed() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        let before_ban = room.state.clone();
        let draft = room.draft(1, "m.room.message", None, json!({ "body": "in time" }));
        let late = room.seal(draft);
        assert_eq!(verdict(&room, &late), Verdict::Accepted);

        room.member(0, 1, "ban");
        let before = lookup(&before_ban, &room.events);
        let soft = admit(&late, &room.rules, &room.auth_events_of(&late), &before, &room.lookup()).unwrap();
        drop(before);
        assert!(matches!(&soft, Verdict::SoftFailed { rule } if rule.contains("join")), "{soft:?}");
        // Claiming to come after the ban, it was never allowed, though what it cites allows it.
        assert!(rejected(&verdict(&room, &late)));
        // Allowed now and before, but not by what it cites.
        let draft = room.draft(0, "m.room.message", None, json!({ "body": "?" }));
        let mut position = room.position(&draft);
        position.auth_events.retain(|id| room.events[id].kind != TimelineEventType::RoomMember);
        let uncited = room.seal_at(draft, position);
        assert!(rejected(&verdict(&room, &uncited)));
    }
}

#[test]
fn lack_of_data_is_no_verdict() {
    for mut room in every_version() {
        let message = room.send(0, "m.room.message", json!({ "body": "hello" }));
        let cited = room.auth_events_of(&message);
        let missing = admit(&message, &room.rules, &cited[1..], &room.lookup(), &room.lookup());
        assert_eq!(missing, Err(Missing([message.auth_events[0].clone()].into())));
        let missing = admit(&message, &room.rules, &[], &room.lookup(), &room.lookup()).unwrap_err();
        assert_eq!(missing.0.len(), message.auth_events.len());
    }
    let mut room = TestRoom::new(RoomVersionId::V12);
    let message = room.send(0, "m.room.message", json!({ "body": "hello" }));
    let nothing = |_: &StateEventType, _: &str| None;
    let missing = admit(&message, &room.rules, &room.auth_events_of(&message), &nothing, &nothing);
    assert_eq!(missing, Err(Missing([create_event_id(&room.room_id).unwrap()].into())));
    // The create event of another room is none.
    let mut elsewhere = crate::domain::test_room::create_request(&RoomVersionId::V12);
    elsewhere.creation_content = crate::domain::test_room::object(json!({ "type": "other" }));
    let other = TestRoom::created(&elsewhere);
    let missing = admit(&message, &room.rules, &room.auth_events_of(&message), &other.lookup(), &room.lookup());
    assert_eq!(missing, Err(Missing([create_event_id(&room.room_id).unwrap()].into())));
}

#[test]
fn citing_a_rejected_event_is_rejected() {
    for mut room in every_version() {
        let message = room.send(0, "m.room.message", json!({ "body": "hello" }));
        for index in 0..message.auth_events.len() {
            let mut cited = room.auth_events_of(&message);
            cited[index] = rejected_copy(&cited[index]);
            let verdict = admit(&message, &room.rules, &cited, &room.lookup(), &room.lookup()).unwrap();
            assert!(matches!(&verdict, Verdict::Rejected { rule } if rule.contains("rejected")), "{verdict:?}");
        }
    }
    // The create event nobody cites counts too.
    let mut room = TestRoom::new(RoomVersionId::V12);
    let message = room.send(0, "m.room.message", json!({ "body": "hello" }));
    let create = room.events[&create_event_id(&room.room_id).unwrap()].clone();
    let create = Some(rejected_copy(&create));
    assert!(rejected(&admit_by_auth_events(&message, &room.rules, &room.auth_events_of(&message), create).unwrap()));
}

#[test]
fn what_is_cited_must_be_just_what_authorizes() {
    for mut room in every_version() {
        let old_name = room.set(0, "m.room.name", "", json!({ "name": "x" }));
        let old_join = room.events[&room.state[&(StateEventType::RoomMember, user(0).to_string())]].clone();
        let new_join = room.member(0, 0, "join");
        let message = room.send(0, "m.room.message", json!({ "body": "not state" }));
        let cite = |room: &mut TestRoom, change: &dyn Fn(&mut Vec<OwnedEventId>)| {
            let draft = room.draft(0, "m.room.message", None, json!({ "body": "hello" }));
            let mut position = room.position(&draft);
            change(&mut position.auth_events);
            let pdu = room.seal_at(draft, position);
            verdict(room, &pdu)
        };
        assert_eq!(cite(&mut room, &|_| ()), Verdict::Accepted);
        assert!(rejected(&cite(&mut room, &|cited| cited.push(old_name.event_id.clone()))), "not what authorizes");
        assert!(rejected(&cite(&mut room, &|cited| cited.push(old_join.event_id.clone()))), "two of a kind");
        assert!(rejected(&cite(&mut room, &|cited| cited.push(new_join.event_id.clone()))), "twice the same");
        assert!(rejected(&cite(&mut room, &|cited| cited.push(message.event_id.clone()))), "not state");
        assert!(rejected(&cite(&mut room, &Vec::clear)), "nothing cited");
    }
}

#[test]
fn citing_another_room_is_rejected() {
    for mut room in every_version() {
        let mut elsewhere = crate::domain::test_room::create_request(&room.version);
        elsewhere.name = Some("another".to_owned());
        elsewhere.creation_content = crate::domain::test_room::object(json!({ "type": "other" }));
        let mut other = TestRoom::created(&elsewhere);
        if room.room_id == other.room_id {
            // Before version 12 the name of a room is its maker's choice.
            other.room_id = "!other:example.org".try_into().unwrap();
        }
        let foreign = other.member(0, 0, "join");
        let draft = room.draft(0, "m.room.message", None, json!({ "body": "hello" }));
        let mut position = room.position(&draft);
        position.auth_events.retain(|id| room.events[id].kind != TimelineEventType::RoomMember);
        position.auth_events.push(foreign.event_id.clone());
        let message = room.seal_at(draft, position);
        let cited: Vec<_> =
            message.auth_events.iter().map(|id| room.events.get(id).unwrap_or(&foreign).clone()).collect();
        let verdict = admit(&message, &room.rules, &cited, &room.lookup(), &room.lookup()).unwrap();
        assert!(matches!(&verdict, Verdict::Rejected { rule } if rule.contains("room")), "{verdict:?}");
    }
}

#[test]
fn strangers_and_the_powerless_are_rejected() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        type Attempt<'a> = (&'a str, u8, &'a str, Option<String>, serde_json::Value);
        let attempts: [Attempt<'_>; 7] = [
            ("a stranger speaks", 4, "m.room.message", None, json!({ "body": "x" })),
            ("state without power", 1, "m.room.name", Some(String::new()), json!({ "name": "x" })),
            (
                "power without power",
                1,
                "m.room.power_levels",
                Some(String::new()),
                json!({ "users": { user(1): 100 } }),
            ),
            ("a ban without power", 1, "m.room.member", Some(user(0).to_string()), json!({ "membership": "ban" })),
            ("joining somebody else", 1, "m.room.member", Some(user(4).to_string()), json!({ "membership": "join" })),
            ("an unknown membership", 1, "m.room.member", Some(user(1).to_string()), json!({ "membership": "lurk" })),
            ("state of somebody else", 1, "org.example", Some(user(0).to_string()), json!({})),
        ];
        for (what, sender, kind, state_key, content) in attempts {
            let draft = room.draft(sender, kind, state_key.as_deref(), content);
            let pdu = room.seal(draft);
            assert!(rejected(&verdict(&room, &pdu)), "{what} in {}", room.version);
        }
        let draft = room.draft(4, "m.room.member", Some(user(4).as_str()), json!({ "membership": "join" }));
        let join = room.seal(draft);
        assert_eq!(verdict(&room, &join), Verdict::Accepted);
    }
}

#[test]
fn a_create_event_stands_alone() {
    for room in every_version() {
        let create = room.events[&room.state[&(StateEventType::RoomCreate, String::new())]].clone();
        let nothing = |_: &StateEventType, _: &str| None;
        let judge = |pdu: &Pdu| admit(pdu, &room.rules, &[], &nothing, &nothing).unwrap();
        assert_eq!(judge(&create), Verdict::Accepted);
        let changed = |field: &str, value: CanonicalJsonValue| {
            let mut object = create.canonical_object();
            object.insert(field.to_owned(), value);
            judge(&seal_template(object, &identity(0), &room.rules).unwrap())
        };
        let before: OwnedEventId = "$before:x".try_into().unwrap();
        let hashes = [(before.clone(), "hash".to_owned())].into();
        let before = reference::to_json(vec![before], &hashes, &room.rules).unwrap();
        assert!(rejected(&changed("prev_events", before)), "it follows something");
        // A room of another server's name before version 12, a room id at all since.
        assert!(rejected(&changed("room_id", "!room:example.org".into())));
        if !room.rules.authorization.use_room_create_sender {
            assert!(rejected(&changed("content", CanonicalJsonValue::Object(Default::default()))), "no creator");
        }
        if room.version == RoomVersionId::V12 {
            let content = crate::domain::test_room::object(json!({ "additional_creators": ["not a user"] }));
            assert!(rejected(&changed("content", content.into())));
        }
    }
}

#[test]
fn a_second_first_event_is_rejected_once_the_room_is_known() {
    let mut room = TestRoom::new(RoomVersionId::V11);
    let create: &EventId = &room.state[&(StateEventType::RoomCreate, String::new())].clone();
    // Whoever claims to follow the create event directly may only be its creator.
    let draft = room.draft(4, "m.room.member", Some(user(4).as_str()), json!({ "membership": "join" }));
    let position = Position {
        prev_events: vec![create.to_owned()],
        auth_events: vec![create.to_owned()],
        ..room.position(&draft)
    };
    let join = room.seal_at(draft, position);
    let only_create: StateMap = [((StateEventType::RoomCreate, String::new()), create.to_owned())].into();
    let before = lookup(&only_create, &room.events);
    assert!(rejected(&admit(&join, &room.rules, &room.auth_events_of(&join), &before, &room.lookup()).unwrap()));
}

#[test]
fn a_room_kept_to_one_server_rejects_others() {
    for version in SUPPORTED {
        let mut request = crate::domain::test_room::create_request(&version);
        request.creation_content = crate::domain::test_room::object(json!({ "m.federate": false }));
        let mut room = TestRoom::created(&request);
        let draft = room.draft(1, "m.room.member", Some(user(1).as_str()), json!({ "membership": "join" }));
        let join = room.seal(draft);
        assert!(rejected(&verdict(&room, &join)));
    }
}

/// What user 1, who is in the room and has no power, gets for such an event.
fn attempt(room: &mut TestRoom, kind: &str, state_key: Option<&str>, content: serde_json::Value) -> Verdict {
    let draft = room.draft(1, kind, state_key, content);
    let pdu = room.seal(draft);
    verdict(room, &pdu)
}

fn number(room: &TestRoom) -> u8 {
    room.version.as_str().parse().unwrap()
}

#[test]
fn who_may_redact_is_a_rule_in_versions_1_and_2_only() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        let theirs = room.send(0, "m.room.message", json!({ "body": "theirs" }));
        let own = room.send(1, "m.room.message", json!({ "body": "own" }));
        let mut redact = |target: &Pdu| {
            let mut draft = room.draft(1, "m.room.redaction", None, json!({}));
            draft.redacts = Some(target.event_id.clone());
            let pdu = room.seal(draft);
            verdict(&room, &pdu)
        };
        assert_eq!(redact(&own), Verdict::Accepted);
        let others = redact(&theirs);
        assert_eq!(rejected(&others), number(&room) < 3, "{}", room.version);
    }
}

#[test]
fn each_server_has_its_aliases_before_version_6() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        let own = identity(1).server_name().to_string();
        let old = number(&room) < 6;
        let content = json!({ "aliases": [] });
        let mut of = |key: Option<&str>| attempt(&mut room, "m.room.aliases", key, content.clone());
        assert_eq!(of(Some(&own)) == Verdict::Accepted, old);
        assert!(rejected(&of(Some("other.example"))));
        // As a message it is like any other since.
        assert_eq!(rejected(&of(None)), old);
    }
}

#[test]
fn power_levels_are_text_before_version_10() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        let old = number(&room) < 10;
        let mut levels =
            json!({ "users": { user(1): " 50 " }, "state_default": "50", "events": { "m.room.topic": "+60" } });
        if number(&room) < 12 {
            levels["users"][user(0).as_str()] = json!(100);
        }
        let draft = room.draft(0, "m.room.power_levels", Some(""), levels.clone());
        let pdu = room.seal(draft);
        assert_eq!(verdict(&room, &pdu) == Verdict::Accepted, old, "{}", room.version);
        if !old {
            continue;
        }
        room.push(&pdu);
        assert_eq!(attempt(&mut room, "m.room.name", Some(""), json!({})), Verdict::Accepted);
        assert!(rejected(&attempt(&mut room, "m.room.topic", Some(""), json!({}))));
        levels["users"][user(1).as_str()] = json!("fifty");
        let draft = room.draft(0, "m.room.power_levels", Some(""), levels);
        let nonsense = room.seal(draft);
        assert!(rejected(&verdict(&room, &nonsense)));
    }
}

#[test]
fn whom_a_room_may_notify_is_guarded_since_version_6() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        let mut levels = json!({ "users": { user(1): 60 }, "notifications": { "room": 80 },
            "events": { "m.room.power_levels": 50 } });
        if number(&room) < 12 {
            levels["users"][user(0).as_str()] = json!(100);
        }
        room.set(0, "m.room.power_levels", "", levels.clone());
        levels["notifications"]["room"] = json!(10);
        let lowered = attempt(&mut room, "m.room.power_levels", Some(""), levels);
        assert_eq!(rejected(&lowered), number(&room) >= 6, "{}", room.version);
    }
}

#[test]
fn knocking_and_conditions_exist_since_their_versions() {
    for mut room in every_version() {
        let knock = json!({ "membership": "knock" });
        room.set(0, "m.room.join_rules", "", json!({ "join_rule": "knock" }));
        let knocked = attempt(&mut room, "m.room.member", Some(user(1).as_str()), knock.clone());
        assert_eq!(knocked == Verdict::Accepted, number(&room) >= 7, "{}", room.version);
        room.set(0, "m.room.join_rules", "", json!({ "join_rule": "knock_restricted" }));
        let knocked = attempt(&mut room, "m.room.member", Some(user(1).as_str()), knock);
        assert_eq!(knocked == Verdict::Accepted, number(&room) >= 10, "{}", room.version);
        room.set(0, "m.room.join_rules", "", json!({ "join_rule": "restricted", "allow": [] }));
        let vouched = json!({ "membership": "join", "join_authorised_via_users_server": user(0) });
        let joined = attempt(&mut room, "m.room.member", Some(user(1).as_str()), vouched);
        assert_eq!(joined == Verdict::Accepted, number(&room) >= 8, "{}", room.version);
        let unvouched = attempt(&mut room, "m.room.member", Some(user(1).as_str()), json!({ "membership": "join" }));
        assert!(rejected(&unvouched));
    }
}
