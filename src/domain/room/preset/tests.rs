//! The specification's order and the power each version gives its makers.
use ruma::canonical_json::CanonicalJsonValue;
use serde_json::json;

use super::*;
use crate::domain::{
    room_version::{SUPPORTED, rules},
    test_room::{create_request, object, user},
};

fn kinds(events: &[InitialEvent]) -> Vec<String> {
    events.iter().map(|event| event.kind.to_string()).collect()
}

fn events(request: &CreateRequest) -> Vec<InitialEvent> {
    initial_events(request, &rules(&request.version).unwrap()).unwrap()
}

fn content_of(events: &[InitialEvent], kind: &str) -> serde_json::Value {
    let event = events.iter().rfind(|event| event.kind.to_string() == kind).unwrap();
    serde_json::to_value(&event.content).unwrap()
}

#[test]
fn events_come_in_the_order_of_the_specification() {
    for version in SUPPORTED {
        let mut request = create_request(&version);
        request.alias = Some("#room:example.org".try_into().unwrap());
        request.name = Some("Name".to_owned());
        request.topic = Some("Topic".to_owned());
        request.initial_state = vec![
            InitialEvent::new("m.room.encryption".into(), object(json!({ "algorithm": "x" }))),
            InitialEvent::new("m.room.history_visibility".into(), object(json!({ "history_visibility": "joined" }))),
        ];
        let events = events(&request);
        assert_eq!(
            kinds(&events),
            [
                "m.room.create",
                "m.room.member",
                "m.room.power_levels",
                "m.room.canonical_alias",
                "m.room.join_rules",
                "m.room.guest_access",
                "m.room.encryption",
                "m.room.history_visibility",
                "m.room.name",
                "m.room.topic",
            ]
        );
        assert_eq!(content_of(&events, "m.room.canonical_alias"), json!({ "alias": "#room:example.org" }));
        assert_eq!(content_of(&events, "m.room.history_visibility"), json!({ "history_visibility": "joined" }));
        assert_eq!(content_of(&events, "m.room.topic")["topic"], "Topic");
        assert_eq!(content_of(&events, "m.room.topic")["m.topic"]["m.text"][0]["body"], "Topic");
        assert_eq!(events[1].state_key, user(0).as_str());
    }
}

#[test]
fn presets_set_what_their_names_say() {
    for (preset, join_rule, guest_access, invite) in [
        (RoomPreset::PublicChat, "public", "forbidden", 50),
        (RoomPreset::PrivateChat, "invite", "can_join", 0),
        (RoomPreset::TrustedPrivateChat, "invite", "can_join", 0),
        (RoomPreset::from("org.example.unknown"), "invite", "can_join", 0),
    ] {
        let mut request = create_request(&RoomVersionId::V12);
        request.preset = preset;
        let events = events(&request);
        assert_eq!(content_of(&events, "m.room.join_rules"), json!({ "join_rule": join_rule }));
        assert_eq!(content_of(&events, "m.room.guest_access"), json!({ "guest_access": guest_access }));
        assert_eq!(content_of(&events, "m.room.history_visibility"), json!({ "history_visibility": "shared" }));
        assert_eq!(content_of(&events, "m.room.power_levels")["invite"], invite);
    }
    assert_eq!(preset_for(&Visibility::Public), RoomPreset::PublicChat);
    assert_eq!(preset_for(&Visibility::Private), RoomPreset::PrivateChat);
}

#[test]
fn the_create_event_says_its_version_and_who_made_it() {
    for version in SUPPORTED {
        let mut request = create_request(&version);
        request.creation_content =
            object(json!({ "room_version": "1", "creator": "@liar:x", "m.federate": false, "type": "m.space" }));
        let create = content_of(&events(&request), "m.room.create");
        assert_eq!((&create["room_version"], &create["m.federate"]), (&json!(version), &json!(false)));
        assert_eq!(create["type"], "m.space");
        let creator = create.get("creator").and_then(|creator| creator.as_str());
        assert_eq!(
            creator,
            (!rules(&version).unwrap().authorization.use_room_create_sender).then(|| user(0).to_string()).as_deref()
        );
    }
}

#[test]
fn creators_have_the_power_of_their_version() {
    for version in SUPPORTED {
        let mut request = create_request(&version);
        request.preset = RoomPreset::TrustedPrivateChat;
        request.invite = vec![user(1), user(2)];
        request.creation_content = object(json!({ "additional_creators": [user(0), user(2), user(3)] }));
        let events = events(&request);
        let power = content_of(&events, "m.room.power_levels");
        let create = content_of(&events, "m.room.create");
        if version == RoomVersionId::V12 {
            assert_eq!(power["users"], json!({}));
            let mut others: Vec<_> = [1, 2, 3].map(|n| user(n).to_string()).into();
            others.sort();
            assert_eq!(create["additional_creators"], json!(others));
            assert!(power["events"]["m.room.tombstone"].as_i64() > Some(100));
        } else {
            assert_eq!(power["users"], json!({ user(0): 100, user(1): 100, user(2): 100 }));
            assert_eq!(power["events"]["m.room.tombstone"], 100);
        }
        request.preset = RoomPreset::PrivateChat;
        let events = self::events(&request);
        let listed = content_of(&events, "m.room.power_levels")["users"].as_object().unwrap().len();
        assert_eq!(listed, if version == RoomVersionId::V12 { 0 } else { 1 });
    }
}

#[test]
fn power_levels_can_be_overridden_but_not_away() {
    for version in SUPPORTED {
        let mut request = create_request(&version);
        request.power_level_override = object(json!({ "events_default": 50, "events": { "m.room.name": 0 } }));
        let power = content_of(&events(&request), "m.room.power_levels");
        let kept = match version == RoomVersionId::V12 {
            true => json!({ "m.room.name": 0, "m.room.tombstone": 150 }),
            false => json!({ "m.room.name": 0 }),
        };
        assert_eq!((&power["events_default"], &power["events"]), (&json!(50), &kept));

        let rules = rules(&version).unwrap();
        request.power_level_override = object(json!({ "users": { user(1): 100 } }));
        let without_creator = initial_events(&request, &rules);
        request.power_level_override = object(json!({ "users": { user(0): 100 } }));
        let with_creator = initial_events(&request, &rules);
        if version == RoomVersionId::V12 {
            assert!(without_creator.is_ok());
            assert_eq!(with_creator, Err(PresetError::CreatorListed(user(0))));
        } else {
            assert_eq!(without_creator, Err(PresetError::CreatorWithoutPower(user(0))));
            assert!(with_creator.is_ok());
        }
    }
}

#[test]
fn additional_creators_must_be_users() {
    let rules = rules(&RoomVersionId::V12).unwrap();
    for bad in [json!("@u:x"), json!(["nobody"]), json!([1]), json!({})] {
        let mut request = create_request(&RoomVersionId::V12);
        request.creation_content = object(json!({ "additional_creators": bad }));
        assert_eq!(initial_events(&request, &rules), Err(PresetError::AdditionalCreators));
    }
}

#[test]
fn the_profile_of_the_creator_comes_along() {
    let mut request = create_request(&RoomVersionId::V12);
    request.creator_profile = object(json!({ "displayname": "Ada", "membership": "leave" }));
    assert_eq!(content_of(&events(&request), "m.room.member"), json!({ "displayname": "Ada", "membership": "join" }));
    assert_eq!(request.creator_profile["displayname"], CanonicalJsonValue::String("Ada".to_owned()));
}

#[test]
fn a_random_room_id_is_a_room_id_of_the_server() {
    let server = crate::domain::test_room::identity(0).server_name().to_owned();
    let id = random_room_id(u128::MAX, &server);
    assert_eq!(id.server_name(), Some(&*server));
    assert_ne!(id, random_room_id(1, &server));
}
