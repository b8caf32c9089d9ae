//! Where each room version keeps things, what it redacts and how it names an event.
use ruma::{
    CanonicalJsonValue, RoomVersionId,
    serde::{Base64, base64::UrlSafe},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{draft::seal_template, *};
use crate::domain::{
    room_version::{SUPPORTED, rules},
    test_room::{TestRoom, identity, object, user},
};

fn every_version() -> impl Iterator<Item = TestRoom> {
    SUPPORTED.into_iter().map(TestRoom::new)
}

#[test]
fn an_event_survives_storage() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        room.send(1, "m.room.message", json!({ "body": "hello" }));
        for pdu in room.events.values() {
            let loaded = Pdu::from_canonical(pdu.event_id.clone(), pdu.json().to_owned(), &room.rules).unwrap();
            assert_eq!(format!("{loaded:?}"), format!("{pdu:?}"));
            assert_eq!(canonical_string(&loaded.canonical_object()), pdu.json());
            assert_eq!(loaded.raw().get(), pdu.json());
        }
    }
}

#[test]
fn the_room_of_a_version_12_create_event_is_its_hash() {
    for room in every_version() {
        let key = (StateEventType::RoomCreate, String::new());
        let create = &room.events[&room.state[&key]];
        let derived = room.version == RoomVersionId::V12;
        assert_eq!(create.json().contains("\"room_id\""), !derived);
        assert_eq!(Event::room_id(&**create).is_some(), !derived);
        assert_eq!(create_event_id(&room.room_id) == Some(create.event_id.clone()), derived);
        assert!(room.events.values().all(|event| event.room_id == room.room_id));
        // One that states a room id anyway keeps it visible to the rules, which reject it.
        let mut stating = create.canonical_object();
        stating.insert("room_id".to_owned(), "!stated:example.org".into());
        let stating = seal_template(stating, &identity(0), &room.rules).unwrap();
        assert!(Event::room_id(&stating).is_some());
        assert_eq!(stating.room_id.as_str() == "!stated:example.org", !derived);
    }
}

#[test]
fn a_null_room_is_not_the_same_as_none() {
    for room in every_version() {
        let key = (StateEventType::RoomCreate, String::new());
        let mut create = room.events[&room.state[&key]].canonical_object();
        create.insert("room_id".to_owned(), CanonicalJsonValue::Null);
        let json = canonical_string(&create);
        let result = Pdu::from_canonical("$id".try_into().unwrap(), json, &room.rules);
        assert!(matches!(result, Err(PduError::Json(_))), "{result:?}");
    }
}

#[test]
fn membership_and_place_in_the_state() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let join = room.member(1, 1, "join");
    assert_eq!(join.membership(), Some(MembershipState::Join));
    assert_eq!(join.target(), Some(&*user(1)));
    assert_eq!(join.state_map_key(), Some((StateEventType::RoomMember, user(1).to_string())));
    let message = room.send(1, "m.room.member", json!({ "membership": "join" }));
    assert_eq!((message.membership(), message.target(), message.state_map_key()), (None, None, None));
    let malformed = room.set(1, "m.room.member", user(1).as_str(), json!({ "membership": 7 }));
    assert_eq!(malformed.membership(), None);
    let nobody = room.set(1, "m.room.member", "not a user", json!({ "membership": "join" }));
    assert_eq!(nobody.membership(), None);
}

/// ruma folds some types into others when unstable features are on; a state map must not.
#[test]
fn a_type_keeps_its_spelling() {
    for kind in [
        "m.room.create",
        "m.room.encrypted",
        "m.room.language",
        "m.room.retention",
        "m.beacon_info",
        "m.call.member",
        "org.matrix.msc3401.call.member",
        "org.matrix.msc3672.beacon_info",
        "m.member_hints",
        "io.element.functional_members",
        "m.policy.rule.room",
        "m.room.rule.room",
        "org.example.custom",
        "",
    ] {
        assert_eq!(TimelineEventType::from(kind).to_string(), kind);
        assert_eq!(StateEventType::from(kind).to_string(), kind);
    }
}

#[test]
fn a_redaction_names_its_target_where_its_version_keeps_it() {
    for mut room in every_version() {
        let target = room.send(0, "m.room.message", json!({ "body": "x" }));
        let mut draft = room.draft(0, "m.room.redaction", None, json!({ "reason": "spam" }));
        draft.redacts = Some(target.event_id.clone());
        let redaction = room.seal(draft);
        assert_eq!(redaction.redacts.as_ref(), Some(&target.event_id));
        let in_content = redaction.content.get().contains("redacts");
        assert_eq!(in_content, room.rules.redaction.content_field_redacts);
        // The other place means nothing.
        let elsewhere = if in_content { json!({}) } else { json!({ "redacts": target.event_id }) };
        let mut object = redaction.canonical_object();
        object.insert("content".to_owned(), self::object(elsewhere).into());
        object.remove("redacts");
        if in_content {
            object.insert("redacts".to_owned(), target.event_id.to_string().into());
        }
        assert_eq!(seal_template(object, &identity(0), &room.rules).unwrap().redacts, None);
        // Nor does a malformed target, or one named by an event that redacts nothing.
        let mut malformed = redaction.canonical_object();
        let holder = if in_content { malformed["content"].as_object().unwrap().clone() } else { malformed.clone() };
        let holder = holder.into_iter().chain([("redacts".to_owned(), ruma::int!(5).into())]).collect();
        if in_content {
            malformed.insert("content".to_owned(), CanonicalJsonValue::Object(holder));
        } else {
            malformed = holder;
        }
        assert_eq!(seal_template(malformed, &identity(0), &room.rules).unwrap().redacts, None);
        let message = room.send(0, "m.room.message", json!({ "redacts": target.event_id }));
        assert_eq!(message.redacts, None);
    }
}

#[test]
fn the_event_id_is_the_hash_of_the_essential_fields() {
    for (version, essential) in [
        (
            "10",
            r#"{"auth_events":["$a"],"content":{"membership":"join"},"depth":3,"hashes":{"sha256":"HASH"},"origin":"o","origin_server_ts":5,"prev_events":["$p"],"room_id":"!r:x","sender":"@u:x","state_key":"@u:x","type":"m.room.member"}"#,
        ),
        (
            "11",
            r#"{"auth_events":["$a"],"content":{"membership":"join"},"depth":3,"hashes":{"sha256":"HASH"},"origin_server_ts":5,"prev_events":["$p"],"room_id":"!r:x","sender":"@u:x","state_key":"@u:x","type":"m.room.member"}"#,
        ),
        (
            "12",
            r#"{"auth_events":["$a"],"content":{"membership":"join"},"depth":3,"hashes":{"sha256":"HASH"},"origin_server_ts":5,"prev_events":["$p"],"room_id":"!r:x","sender":"@u:x","state_key":"@u:x","type":"m.room.member"}"#,
        ),
    ] {
        let rules = rules(&version.try_into().unwrap()).unwrap();
        let template = object(json!({
            "auth_events": ["$a"], "content": { "membership": "join", "displayname": "U" }, "depth": 3, "origin": "o",
            "origin_server_ts": 5, "prev_events": ["$p"], "room_id": "!r:x", "sender": "@u:x", "state_key": "@u:x",
            "type": "m.room.member", "extra": { "anything": true },
        }));
        let pdu = seal_template(template, &identity(0), &rules).unwrap();
        let sealed = pdu.canonical_object();
        let hash = sealed["hashes"].as_object().unwrap()["sha256"].as_str().unwrap();
        let digest = Sha256::digest(essential.replace("HASH", hash));
        let expected = format!("${}", Base64::<UrlSafe, _>::new(digest.to_vec()).encode());
        assert_eq!(pdu.event_id.as_str(), expected, "version {version}");
        assert_eq!(check::event_id_of(&pdu.redacted(&rules).object(&rules), &rules).unwrap(), pdu.event_id);
    }
}

#[test]
fn each_version_redacts_as_it_says() {
    let rich = |kind: &str, content: serde_json::Value, version: u8| {
        let named = if version < 3 { json!([["$p:x", {}]]) } else { json!(["$p"]) };
        object(json!({
            "type": kind, "state_key": "", "content": content, "sender": "@u:x", "room_id": "!r:x", "depth": 1,
            "origin_server_ts": 5, "prev_events": named, "auth_events": [], "hashes": {}, "signatures": {},
            "origin": "x", "membership": "join", "prev_state": [], "redacts": "$t", "unsigned": {}, "extra": 1,
        }))
    };
    let create = json!({ "creator": "@u:x", "room_version": "11", "m.federate": false, "other": 1 });
    let join_rules = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership" }], "other": 1 });
    let member = json!({ "membership": "join", "displayname": "U", "join_authorised_via_users_server": "@a:x",
        "third_party_invite": { "display_name": "n", "signed": { "token": "t" } } });
    let power = json!({ "ban": 1, "events": {}, "events_default": 1, "invite": 1, "kick": 1, "redact": 1,
        "state_default": 1, "users": {}, "users_default": 1, "notifications": {}, "historical": 1 });
    let mut power_10 = power.clone();
    for field in ["notifications", "historical", "invite"] {
        power_10.as_object_mut().unwrap().remove(field);
    }
    let mut power_11 = power_10.clone();
    power_11["invite"] = json!(1);
    let member_10 = json!({ "membership": "join", "join_authorised_via_users_server": "@a:x" });
    let mut member_11 = member_10.clone();
    member_11["third_party_invite"] = json!({ "signed": { "token": "t" } });
    let join_rules_kept = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership" }] });
    let redaction = json!({ "redacts": "$t", "reason": "r" });
    let visibility = json!({ "history_visibility": "shared", "other": 1 });
    for (kind, content, kept_by_10, kept_since_11) in [
        ("m.room.create", create.clone(), json!({ "creator": "@u:x" }), create),
        ("m.room.member", member, member_10, member_11),
        ("m.room.join_rules", join_rules, join_rules_kept.clone(), join_rules_kept),
        ("m.room.power_levels", power, power_10, power_11),
        (
            "m.room.history_visibility",
            visibility.clone(),
            json!({ "history_visibility": "shared" }),
            json!({ "history_visibility": "shared" }),
        ),
        ("m.room.redaction", redaction, json!({}), json!({ "redacts": "$t" })),
        ("m.room.aliases", json!({ "aliases": ["#a:x"] }), json!({ "aliases": ["#a:x"] }), json!({})),
        ("m.room.topic", json!({ "topic": "t" }), json!({}), json!({})),
    ] {
        for version in SUPPORTED {
            let rules = rules(&version).unwrap();
            let number: u8 = version.as_str().parse().unwrap();
            let mut kept = if number < 11 { kept_by_10.clone() } else { kept_since_11.clone() };
            let known_to = |field: &str| match field {
                "allow" => number >= 8,
                "join_authorised_via_users_server" => number >= 9,
                "aliases" => number < 6,
                _ => true,
            };
            kept.as_object_mut().unwrap().retain(|field, _| known_to(field));
            let mut expected = rich(kind, kept, number);
            let mut gone = vec!["redacts", "unsigned", "extra"];
            if number >= 11 {
                gone.extend(["origin", "membership", "prev_state"]);
            }
            expected.retain(|field, _| !gone.contains(&field.as_str()));
            let pdu = Pdu::from_canonical(
                "$id".try_into().unwrap(),
                canonical_string(&rich(kind, content.clone(), number)),
                &rules,
            );
            let redacted = Pdu { rejected: true, ..pdu.unwrap() }.redacted(&rules);
            assert_eq!(redacted.json(), canonical_string(&expected), "{kind} in version {version}");
            assert!(redacted.rejected && redacted.event_id == "$id");
        }
    }
}
