//! What arrives is what its signatures say, or it does not arrive at all.
use ruma::{
    CanonicalJsonObject, RoomVersionId,
    canonical_json::CanonicalJsonValue,
    serde::Base64,
    server_name,
    signatures::{Ed25519KeyPair, PublicKeySet, hash_and_sign_event, sign_json, verify_event, verify_json},
};
use serde_json::json;

use super::*;
use crate::domain::{
    event::{
        PDU_MADE_MAX_BYTES, canonical_string,
        draft::{countersign, seal_template},
    },
    identity::Identity,
    room_version::{SUPPORTED, rules},
    test_room::{TestRoom, identity, object, user},
};

fn raw(object: &CanonicalJsonObject) -> Box<RawJsonValue> {
    RawJsonValue::from_string(canonical_string(object)).unwrap()
}

fn check(room: &TestRoom, object: &CanonicalJsonObject) -> Result<Checked, DropReason> {
    check_received(&raw(object), &room.room_id, &room.rules, &self_certified_keys)
}

/// `change` applied to an event that is good without it.
fn changed(room: &mut TestRoom, change: impl FnOnce(&mut CanonicalJsonObject)) -> Result<Checked, DropReason> {
    let mut object = room.send(0, "m.room.message", json!({ "body": "hello", "msgtype": "m.text" })).canonical_object();
    change(&mut object);
    check(room, &object)
}

/// As [`changed`], with hash and signature made again: an honest signature on a strange event.
fn signed(room: &mut TestRoom, change: impl FnOnce(&mut CanonicalJsonObject)) -> Result<Checked, DropReason> {
    let signer = identity(0);
    let redaction = room.rules.redaction.clone();
    changed(room, |object| {
        object.remove("hashes");
        object.remove("signatures");
        change(object);
        let _ = hash_and_sign_event(signer.server_name().as_str(), signer.key_pair(), object, &redaction);
    })
}

fn every_version() -> impl Iterator<Item = TestRoom> {
    SUPPORTED.into_iter().map(TestRoom::new)
}

#[test]
fn every_event_of_a_room_passes_and_keeps_its_id() {
    for mut room in every_version() {
        room.member(1, 1, "join");
        room.send(1, "m.room.message", json!({ "body": "日本語 \u{1F600} \" \\ \u{7f} \n", "msgtype": "m.text" }));
        for pdu in room.events.values() {
            let checked = check(&room, &pdu.canonical_object()).unwrap();
            assert_eq!((&checked.pdu.event_id, checked.redacted), (&pdu.event_id, false));
            assert_eq!(checked.pdu.json(), pdu.json());
        }
    }
}

#[test]
fn spelling_does_not_matter_but_what_is_stored_is_canonical() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let pdu = room.send(0, "m.room.message", json!({ "body": "A", "msgtype": "m.text" }));
    let spaced = pdu.json().replace(r#""body":"A""#, " \"body\" : \"\\u0041\" ");
    assert_ne!(spaced, pdu.json());
    let spaced = RawJsonValue::from_string(spaced).unwrap();
    let checked = check_received(&spaced, &room.room_id, &room.rules, &self_certified_keys).unwrap();
    assert_eq!(checked.pdu.json(), pdu.json());
    assert_eq!(checked.pdu.event_id, pdu.event_id);
}

#[test]
fn unsigned_is_dropped() {
    for mut room in every_version() {
        let checked = changed(&mut room, |event| {
            event.insert("unsigned".into(), object(json!({ "membership": "ban", "pad": "x".repeat(60_000) })).into());
        })
        .unwrap();
        assert!(!checked.pdu.json().contains("unsigned") && !checked.redacted);
    }
}

#[test]
fn what_is_not_canonical_json_is_dropped() {
    let room = TestRoom::new(RoomVersionId::V12);
    for text in ["[]", "7", "null", r#"{"depth":1.5}"#, r#"{"depth":1e3}"#, r#"{"n":9007199254740992}"#, r#"{"n":-0}"#]
    {
        let raw = RawJsonValue::from_string(text.to_owned()).unwrap();
        let result = check_received(&raw, &room.room_id, &room.rules, &self_certified_keys);
        assert!(matches!(result, Err(DropReason::NotJson(_))), "{text}: {result:?}");
    }
    let deep = RawJsonValue::from_string(format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100))).unwrap();
    assert!(check_received(&deep, &room.room_id, &room.rules, &self_certified_keys).is_err());
}

#[test]
fn oversize_is_dropped() {
    for mut room in every_version() {
        let pad = |bytes: usize| {
            move |event: &mut CanonicalJsonObject| {
                event.insert("content".into(), object(json!({ "body": "x".repeat(bytes) })).into());
            }
        };
        // Each event is one deeper, and none by a digit more: they are past the tenth.
        (0..10).for_each(|_| drop(room.send(0, "m.room.message", json!({}))));
        let base = signed(&mut room, pad(0)).unwrap().pdu.json().len();
        let tried: Vec<_> = (0..4).map(|n| signed(&mut room, pad(PDU_MAX_BYTES - base - 2 + n))).collect();
        let fits = tried.iter().flatten().map(|checked| checked.pdu.json().len()).max();
        assert_eq!(fits, Some(PDU_MAX_BYTES));
        assert!(matches!(tried.last(), Some(Err(DropReason::TooLarge))));
        // Too long for the wire is refused before it is parsed: this is not even JSON a PDU could have.
        let endless = RawJsonValue::from_string(format!("[{}1]", "1,".repeat(PDU_WIRE_MAX_BYTES / 2))).unwrap();
        assert!(matches!(parse_object(&endless, &room.rules), Err(DropReason::TooLarge)));
    }
}

#[test]
fn fields_are_measured_in_bytes() {
    for mut room in every_version() {
        for field in ["type", "state_key"] {
            let mut with = |text: String| signed(&mut room, |event| drop(event.insert(field.into(), text.into())));
            assert!(with("x".repeat(255)).is_ok());
            assert!(with(format!("x{}", "\u{e9}".repeat(127))).is_ok(), "255 bytes of 128 characters");
            assert!(matches!(with("\u{e9}".repeat(128)), Err(DropReason::Format(_))), "256 bytes of as many");
        }
        let long = |sigil: char| format!("{sigil}{}:example.org", "\u{e9}".repeat(122));
        for (field, text) in [("sender", long('@')), ("room_id", long('!'))] {
            let result = signed(&mut room, |event| drop(event.insert(field.into(), text.into())));
            assert!(matches!(result, Err(DropReason::Format(_))), "{field}: {result:?}");
        }
    }
}

#[test]
fn the_create_event_authorizes_without_being_cited_since_version_12() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let create = crate::domain::event::create_event_id(&room.room_id).unwrap();
    let cited = signed(&mut room, |event| {
        let Some(CanonicalJsonValue::Array(cited)) = event.get_mut("auth_events") else { unreachable!() };
        cited.push(create.as_str().into());
    });
    assert!(matches!(cited, Err(DropReason::Format(_))), "{cited:?}");
}

#[test]
fn malformed_fields_are_dropped() {
    type Change = fn(&mut CanonicalJsonObject);
    let changes: [(&str, Change); 20] = [
        ("no sender", |event| drop(event.remove("sender"))),
        ("sender of another kind", |event| drop(event.insert("sender".into(), "!room:x".into()))),
        ("sender not a string", |event| drop(event.insert("sender".into(), CanonicalJsonValue::Null))),
        ("no type", |event| drop(event.remove("type"))),
        ("type too long", |event| drop(event.insert("type".into(), "t".repeat(256).into()))),
        ("no room", |event| drop(event.remove("room_id"))),
        ("room not a room id", |event| drop(event.insert("room_id".into(), "#alias:x".into()))),
        ("null state key", |event| drop(event.insert("state_key".into(), CanonicalJsonValue::Null))),
        ("state key too long", |event| drop(event.insert("state_key".into(), "k".repeat(256).into()))),
        ("no content", |event| drop(event.remove("content"))),
        ("content not an object", |event| drop(event.insert("content".into(), "text".into()))),
        ("no time", |event| drop(event.remove("origin_server_ts"))),
        ("time before the epoch", |event| drop(event.insert("origin_server_ts".into(), ruma::int!(-1).into()))),
        ("no depth", |event| drop(event.remove("depth"))),
        ("negative depth", |event| drop(event.insert("depth".into(), ruma::int!(-1).into()))),
        ("no prev_events", |event| drop(event.remove("prev_events"))),
        ("21 prev_events", |event| drop(event.insert("prev_events".into(), vec!["$e".into(); 21].into()))),
        ("11 auth_events", |event| drop(event.insert("auth_events".into(), vec!["$e".into(); 11].into()))),
        ("prev_events not ids", |event| drop(event.insert("prev_events".into(), vec!["no sigil".into()].into()))),
        ("auth_events not ids", |event| drop(event.insert("auth_events".into(), vec![ruma::int!(1).into()].into()))),
    ];
    for mut room in every_version() {
        for (what, change) in changes {
            let result = signed(&mut room, change);
            assert!(matches!(result, Err(DropReason::Format(_))), "{what} in {}: {result:?}", room.version);
        }
    }
}

#[test]
fn what_is_filled_in_may_name_any_number_of_events() {
    for mut room in every_version() {
        let signer = identity(0);
        let said = room.send(0, "m.room.message", json!({ "body": "hello", "msgtype": "m.text" }));
        for (field, count) in [("prev_events", 300), ("auth_events", 11)] {
            let mut object = said.canonical_object();
            let one = object[field].as_array().unwrap()[0].clone();
            object.insert(field.into(), vec![one; count].into());
            ["hashes", "signatures"].into_iter().for_each(|field| drop(object.remove(field)));
            let redaction = &room.rules.redaction;
            hash_and_sign_event(signer.server_name().as_str(), signer.key_pair(), &mut object, redaction).unwrap();
            let filled_in = check_filled_in(&raw(&object), &room.room_id, &room.rules, &self_certified_keys).unwrap();
            assert!(!filled_in.redacted);
            assert!(matches!(check(&room, &object), Err(DropReason::Format(_))), "{field} as it is sent");
            object.insert(field.into(), json!(["no sigil", 1]).try_into().unwrap());
            let nonsense = check_filled_in(&raw(&object), &room.room_id, &room.rules, &self_certified_keys);
            assert!(matches!(nonsense, Err(DropReason::Format(_))), "{field} of other things: {nonsense:?}");
        }
    }
}

#[test]
fn no_hashes_and_no_signatures_are_dropped() {
    for mut room in every_version() {
        for field in ["hashes", "signatures"] {
            let result = changed(&mut room, |event| drop(event.remove(field)));
            assert!(matches!(result, Err(DropReason::Signature(_))), "{field}: {result:?}");
            let result = changed(&mut room, |event| drop(event.insert(field.into(), "text".into())));
            assert!(matches!(result, Err(DropReason::Signature(_))), "{field}: {result:?}");
        }
    }
}

#[test]
fn an_event_of_another_room_is_dropped() {
    for mut room in every_version() {
        let stranger = signed(&mut room, |event| drop(event.insert("room_id".into(), "!other:example.org".into())));
        assert!(matches!(stranger, Err(DropReason::WrongRoom(room)) if room == "!other:example.org"));
    }
    // The room a version 12 create event makes is its own hash, whatever the sender hoped.
    let ours = TestRoom::new(RoomVersionId::V12);
    let mut request = crate::domain::test_room::create_request(&RoomVersionId::V12);
    request.creation_content = object(json!({ "type": "m.space" }));
    let theirs = TestRoom::created(&request);
    let create = theirs.events.values().find(|event| event.kind.to_string() == "m.room.create").unwrap();
    assert!(matches!(check(&ours, &create.canonical_object()), Err(DropReason::WrongRoom(_))));
    assert!(check(&theirs, &create.canonical_object()).is_ok());
}

#[test]
fn an_unknown_key_is_told_from_a_bad_signature() {
    for mut room in every_version() {
        let pdu = room.send(0, "m.room.message", json!({ "body": "hello" }));
        let keyless = check_received(&pdu.raw(), &room.room_id, &room.rules, &|_, _| None);
        assert!(matches!(keyless, Err(DropReason::UnknownKey(server)) if server == identity(0).server_name()));

        let wrong = identity(9).public_key().public_key_map(identity(0).server_name());
        let result = check_received(&pdu.raw(), &room.room_id, &room.rules, &|_, _| Some(wrong.clone()));
        assert!(matches!(result, Err(DropReason::Signature(_))));
    }
}

#[test]
fn a_wrong_signature_is_dropped() {
    for mut room in every_version() {
        // Signed by somebody else in the sender's name.
        let mallory = identity(9);
        let redaction = room.rules.redaction.clone();
        let forged = changed(&mut room, |event| {
            event.remove("signatures");
            let name = identity(0).server_name().to_owned();
            hash_and_sign_event(name.as_str(), mallory.key_pair(), event, &redaction).unwrap();
        });
        assert!(matches!(forged, Err(DropReason::Signature(_))));
        // Signed by somebody else in their own name.
        let unsigned = changed(&mut room, |event| {
            event.remove("signatures");
            hash_and_sign_event(mallory.server_name().as_str(), mallory.key_pair(), event, &redaction).unwrap();
        });
        assert!(matches!(unsigned, Err(DropReason::Signature(_))));
        // An essential field changed after signing.
        let moved = changed(&mut room, |event| drop(event.insert("depth".into(), ruma::int!(77).into())));
        assert!(matches!(moved, Err(DropReason::Signature(_))));
        let renamed = changed(&mut room, |event| drop(event.insert("state_key".into(), "".into())));
        assert!(matches!(renamed, Err(DropReason::Signature(_))));
    }
}

#[test]
fn a_content_hash_mismatch_leaves_the_redacted_form() {
    for mut room in every_version() {
        let original = room.send(0, "m.room.message", json!({ "body": "I owe you 1", "msgtype": "m.text" }));
        let mut tampered = original.canonical_object();
        tampered.insert("content".into(), object(json!({ "body": "I owe you 1000", "msgtype": "m.text" })).into());
        let checked = check(&room, &tampered).unwrap();
        assert!(checked.redacted);
        assert_eq!(checked.pdu.event_id, original.event_id);
        assert_eq!(checked.pdu.content.get(), "{}");
        assert_eq!(checked.pdu.json(), original.redacted(&room.rules).json());
        // Passed on and received again, it is still the same.
        let again = check(&room, &checked.pdu.canonical_object()).unwrap();
        assert!(again.redacted);
        assert_eq!(again.pdu.json(), checked.pdu.json());
        // What the redaction protects cannot be changed even so.
        let join = room.member(1, 1, "join");
        let mut tampered = join.canonical_object();
        tampered.insert("content".into(), object(json!({ "membership": "ban" })).into());
        assert!(matches!(check(&room, &tampered), Err(DropReason::Signature(_))));
    }
}

#[test]
fn a_third_party_invite_excuses_no_signature_it_does_not_carry_through_redaction() {
    for mut room in every_version() {
        let target = user(5);
        let draft = room.draft(
            0,
            "m.room.member",
            Some(target.as_str()),
            json!({ "membership": "invite", "third_party_invite": { "display_name": "x", "signed": {
                "mxid": target, "token": "t", "signatures": {} } } }),
        );
        let position = room.position(&draft);
        // Laid out by mallory in the name of user 0, signed by nobody that counts.
        let mut forged = room.seal_at(draft, position).canonical_object();
        forged.insert("signatures".into(), CanonicalJsonObject::new().into());
        // As a whole it is the business of the authorization rules, which check the signature inside `signed`.
        let whole = check(&room, &forged);
        if room.rules.signatures.check_event_id_server {
            // The server that named it signs it, invite or not.
            assert!(matches!(whole, Err(DropReason::Signature(_))), "{whole:?}");
            continue;
        }
        let whole = whole.unwrap();
        assert!(whole.pdu.content.get().contains("third_party_invite"));
        // Its hash broken, redaction would make a plain invite of it before version 11.
        forged.insert("hashes".into(), object(json!({ "sha256": "AAAA" })).into());
        let broken = check(&room, &forged);
        if !room.rules.redaction.keep_room_member_third_party_invite_signed {
            assert!(matches!(broken, Err(DropReason::Signature(_))), "{broken:?}");
        } else {
            assert!(broken.unwrap().pdu.content.get().contains("third_party_invite"));
        }
    }
}

#[test]
fn a_restricted_join_needs_the_signature_of_who_authorised_it() {
    for mut room in every_version().filter(|room| room.rules.signatures.check_join_authorised_via_users_server) {
        let content = json!({ "membership": "join", "join_authorised_via_users_server": user(0) });
        let join = room.set(3, "m.room.member", user(3).as_str(), content);
        let signers = required_signers(&join.canonical_object(), &room.rules).unwrap();
        assert_eq!(signers, [identity(0), identity(3)].iter().map(|id| id.server_name().to_owned()).collect());
        assert!(matches!(check(&room, &join.canonical_object()), Err(DropReason::Signature(_))));
        let both = countersign(&join, &identity(0), &room.rules).unwrap();
        assert_eq!(both.event_id, join.event_id);
        assert!(check(&room, &both.canonical_object()).is_ok());
    }
}

#[test]
fn sealing_refuses_what_receiving_would_drop() {
    use crate::domain::event::draft::DraftError;
    for mut room in every_version() {
        let mut large = room.send(0, "m.room.message", json!({ "body": "" })).canonical_object();
        large.insert("content".into(), object(json!({ "body": "x".repeat(PDU_MADE_MAX_BYTES) })).into());
        assert!(matches!(seal_template(large, &identity(0), &room.rules), Err(DraftError::TooLarge)));
        // Under the limit of what is hashed, over it with the signature.
        let mut close = room.send(0, "m.room.message", json!({ "body": "" })).canonical_object();
        let base = canonical_string(&close).len();
        close.insert("content".into(), object(json!({ "body": "x".repeat(PDU_MADE_MAX_BYTES - base + 2) })).into());
        assert!(matches!(seal_template(close, &identity(0), &room.rules), Err(DraftError::TooLarge)));
        let mut strange = room.send(0, "m.room.message", json!({ "body": "" })).canonical_object();
        strange.insert("type".into(), "t".repeat(256).into());
        assert!(matches!(seal_template(strange, &identity(0), &room.rules), Err(DraftError::Format(_))));
        let mut cited = room.send(0, "m.room.message", json!({ "body": "" })).canonical_object();
        cited.insert("prev_events".into(), vec!["$e".into(); 21].into());
        assert!(matches!(seal_template(cited, &identity(0), &room.rules), Err(DraftError::Format(_))));
    }
}

#[test]
fn a_template_is_completed_without_what_it_brought_along() {
    for mut room in every_version() {
        let mut template = room.member(1, 1, "join").canonical_object();
        let whole = canonical_string(&template);
        template.insert("hashes".into(), object(json!({ "sha256": "AAAA", "md5": "x" })).into());
        template.insert("signatures".into(), object(json!({ "evil.example": { "ed25519:1": "x" } })).into());
        template.insert("unsigned".into(), object(json!({ "age": 1 })).into());
        template.insert("event_id".into(), "$mine:evil.example".into());
        assert_eq!(seal_template(template, &identity(1), &room.rules).unwrap().json(), whole);
    }
}

/// The specification's test vectors (appendices, "Cryptographic Test Vectors"): the key.
const VECTOR_SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
const VECTOR_PUBLIC_KEY: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

fn vector_key() -> (Ed25519KeyPair, PublicKeyMap) {
    let seed: Base64 = Base64::parse(VECTOR_SEED).unwrap();
    let identity = Identity::from_seed(seed.as_bytes().try_into().unwrap(), "alt").unwrap();
    assert_eq!(Base64::<ruma::serde::base64::Standard, _>::new(identity.public_key().0).encode(), VECTOR_PUBLIC_KEY);
    let document = [&crate::domain::identity::PKCS8_PREFIX[..], seed.as_bytes()].concat();
    let pair = Ed25519KeyPair::from_der(&document, "1".to_owned()).unwrap();
    let keys: PublicKeySet = [("ed25519:1".to_owned(), Base64::parse(VECTOR_PUBLIC_KEY).unwrap())].into();
    (pair, [("domain".to_owned(), keys)].into())
}

#[test]
fn json_signing_vectors() {
    let (pair, keys) = vector_key();
    for (json, signature) in [
        (json!({}), "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            json!({ "one": 1, "two": "Two" }),
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ] {
        let mut signed = object(json.clone());
        sign_json("domain", &pair, &mut signed).unwrap();
        let mut expected = object(json);
        expected.insert("signatures".into(), object(json!({ "domain": { "ed25519:1": signature } })).into());
        assert_eq!(signed, expected);
        verify_json(&keys, &signed).unwrap();
    }
}

#[test]
fn event_signing_vectors() {
    let (pair, keys) = vector_key();
    let minimal = json!({
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
        "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [], "depth": 3,
        "unsigned": { "age_ts": 1_000_000 },
    });
    let redactable = json!({
        "content": { "body": "Here is the message content" }, "event_id": "$0:domain", "origin": "domain",
        "origin_server_ts": 1_000_000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
        "signatures": {}, "unsigned": { "age_ts": 1_000_000 },
    });
    // The vectors keep `origin` through redaction, as room versions before 11 do.
    let rules = rules(&RoomVersionId::V10).unwrap();
    for (event, hash, signature) in [
        (
            &minimal,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            &redactable,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ] {
        let mut signed = object(event.clone());
        hash_and_sign_event("domain", &pair, &mut signed, &rules.redaction).unwrap();
        assert_eq!(signed["hashes"], CanonicalJsonValue::from(object(json!({ "sha256": hash }))));
        assert_eq!(
            signed["signatures"],
            CanonicalJsonValue::from(object(json!({ "domain": { "ed25519:1": signature } })))
        );
        assert_eq!(verify_event(&keys, &signed, &rules).unwrap(), Verified::All);
    }

    // The whole path, on the vector that is a complete event.
    let mut signed = object(minimal);
    hash_and_sign_event("domain", &pair, &mut signed, &rules.redaction).unwrap();
    let room_id = ruma::room_id!("!x:domain");
    let known = |server: &ServerName, _: SignedAt| (server == server_name!("domain")).then(|| keys.clone());
    let checked = check_received(&raw(&signed), room_id, &rules, &known).unwrap();
    assert!(!checked.redacted);
    assert_eq!(checked.pdu.event_id.as_str().len(), 44);
}

/// The room's next message with numbers as given, signed by its sender.
fn with_numbers(room: &mut TestRoom, numbers: &str) -> Box<RawJsonValue> {
    let template = room.send(0, "m.room.message", json!({ "body": "NUMBERS" })).json().replace("\"NUMBERS\"", numbers);
    let strange = EventObject::parse(&template, &TestRoom::new(RoomVersionId::V5).rules).unwrap();
    seal_template(strange, &identity(0), &TestRoom::new(room.version.clone()).rules).unwrap().raw()
}

#[test]
fn numbers_of_any_kind_are_events_up_to_version_5() {
    for mut room in every_version() {
        let old = !room.rules.authorization.strict_canonical_json;
        assert_eq!(old, ["1", "2", "3", "4", "5"].contains(&room.version.as_str()));
        let raw = with_numbers(&mut room, r#"[1.5,-0.0,1e+16,123456789012345678901234567890,{"\u0000":1e-05}]"#);
        let checked = check_received(&raw, &room.room_id, &room.rules, &self_certified_keys);
        if !old {
            assert!(matches!(checked, Err(DropReason::NotJson(_))), "{checked:?}");
            continue;
        }
        let checked = checked.unwrap();
        assert!(!checked.redacted);
        assert_eq!(checked.pdu.json(), raw.get());
        // However the numbers are spelled on the way.
        let spelled = raw.get().replace("1.5", "1.50").replace("1e+16", "1E16");
        let spelled = RawJsonValue::from_string(spelled).unwrap();
        let again = check_received(&spelled, &room.room_id, &room.rules, &self_certified_keys).unwrap();
        assert_eq!((again.pdu.json(), again.redacted), (raw.get(), false));
        // Another number is another content: what is left is the redacted event, of the same id.
        let altered = RawJsonValue::from_string(raw.get().replace("1.5", "2.5")).unwrap();
        let altered = check_received(&altered, &room.room_id, &room.rules, &self_certified_keys).unwrap();
        assert!(altered.redacted);
        assert_eq!(altered.pdu.event_id, checked.pdu.event_id);
        assert_eq!(altered.pdu.json(), checked.pdu.redacted(&room.rules).json());
        // And a forged signature over numbers is none.
        let forged = raw.get().replace("\"depth\":", "\"depth\":1");
        let forged = check_received(
            &RawJsonValue::from_string(forged).unwrap(),
            &room.room_id,
            &room.rules,
            &self_certified_keys,
        );
        assert!(matches!(forged, Err(DropReason::Signature(_))), "{forged:?}");
    }
}

#[test]
fn a_fraction_where_an_event_needs_an_integer_is_dropped() {
    for mut room in every_version() {
        for (field, text) in [("depth", "1.0"), ("depth", "99999999999999999999"), ("origin_server_ts", "1.5")] {
            let pdu = room.send(0, "m.room.message", json!({ "body": "x" }));
            let mut object = pdu.canonical_object();
            object.insert(field.into(), "HERE".into());
            let raw = RawJsonValue::from_string(canonical_string(&object).replace("\"HERE\"", text)).unwrap();
            let result = check_received(&raw, &room.room_id, &room.rules, &self_certified_keys);
            assert!(matches!(result, Err(DropReason::Format(_) | DropReason::NotJson(_))), "{field}: {result:?}");
        }
    }
}

#[test]
fn depth_goes_as_far_as_its_version_can_say() {
    for mut room in every_version() {
        let draft = room.draft(0, "m.room.message", None, json!({ "body": "deep" }));
        let position = crate::domain::event::draft::Position { depth: u64::MAX, ..room.position(&draft) };
        let deep = room.seal_at(draft, position);
        let limit = if room.rules.authorization.strict_canonical_json { (1 << 53) - 1 } else { i64::MAX as u64 };
        assert_eq!(deep.depth, limit);
        let checked = check_received(&deep.raw(), &room.room_id, &room.rules, &self_certified_keys).unwrap();
        assert_eq!((checked.pdu.json(), checked.redacted), (deep.json(), false));
        assert_eq!(checked.pdu.event_id, deep.event_id);
        let countersigned = countersign(&deep, &identity(1), &room.rules).unwrap();
        assert!(check_received(&countersigned.raw(), &room.room_id, &room.rules, &self_certified_keys).is_ok());
    }
}

#[test]
fn keys_are_held_to_the_time_of_the_event_from_version_5_on() {
    for mut room in every_version() {
        let pdu = room.send(0, "m.room.message", json!({ "body": "hello" }));
        let asked = std::cell::RefCell::new(Vec::new());
        let keys = |server: &ServerName, at: SignedAt| {
            asked.borrow_mut().push(at);
            self_certified_keys(server, at)
        };
        check_received(&pdu.raw(), &room.room_id, &room.rules, &keys).unwrap();
        let enforced = !["1", "2", "3", "4"].contains(&room.version.as_str());
        assert_eq!(
            asked.into_inner(),
            [if enforced { SignedAt::Ms(pdu.origin_server_ts.get().into()) } else { SignedAt::AnyTime }],
            "{}",
            room.version
        );
        // A key that was not valid then is not known.
        let expired =
            |server: &ServerName, at: SignedAt| self_certified_keys(server, at).filter(|_| at == SignedAt::AnyTime);
        let result = check_received(&pdu.raw(), &room.room_id, &room.rules, &expired);
        assert_eq!(matches!(result, Err(DropReason::UnknownKey(_))), enforced);
    }
}

#[test]
fn the_server_that_named_an_event_signs_it_in_versions_1_and_2() {
    for mut room in every_version() {
        let named_by_other = format!("$name:{}", identity(1).server_name());
        let pdu = room.send(0, "m.room.message", json!({ "body": "hello" }));
        let says_its_id = ["1", "2"].contains(&room.version.as_str());
        assert_eq!(pdu.canonical_object().contains_key("event_id"), says_its_id);
        if !says_its_id {
            continue;
        }
        assert_eq!(pdu.event_id.server_name(), Some(identity(0).server_name()));
        let mut object = EventObject::from(pdu.canonical_object());
        object.remove("signatures");
        object.set_text("event_id", &named_by_other);
        object.hash_and_sign(&identity(0), &room.rules).unwrap();
        assert!(matches!(check(&room, object.fields()), Err(DropReason::Signature(_))));
        object.sign(&identity(1), &room.rules).unwrap();
        assert_eq!(check(&room, object.fields()).unwrap().pdu.event_id, named_by_other);
        // An id that names nobody is signed by nobody.
        object.set_text("event_id", "$name");
        assert!(check(&room, object.fields()).is_err());
    }
}

#[test]
fn ids_have_the_alphabet_of_their_version() {
    for mut room in every_version() {
        let ids: String =
            (0..20).map(|n| room.send(0, "m.room.message", json!({ "n": n })).event_id.to_string()).collect();
        let has = |letters: [char; 2]| ids.contains(letters);
        match room.version.as_str() {
            "3" => assert!(has(['+', '/']) && !has(['-', '_'])),
            "1" | "2" => assert!(ids.contains(':')),
            _ => assert!(has(['-', '_']) && !has(['+', '/'])),
        }
    }
}
