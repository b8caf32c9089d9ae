//! The authorization rules clause by clause, in every room version that has them (docs/receipt-checks.md): who is refused, and
//! by which rule. That it is the right one its words show.
use serde_json::{Value, json};

use super::*;

/// Who is who: 0 made the room, 1 has 50, 2 has nothing, 3 is invited, 4 was never there, 5 is banned, 6 has 50 as well.
const MAKER: u8 = 0;
const MODERATOR: u8 = 1;
const MEMBER: u8 = 2;
const INVITED: u8 = 3;
const STRANGER: u8 = 4;
const BANNED: u8 = 5;
const OTHER_MODERATOR: u8 = 6;

/// What one may do who has no power: nothing that these levels name.
fn levels(room: &TestRoom) -> Value {
    let mut levels = json!({
        "users": { user(MODERATOR): 50, user(OTHER_MODERATOR): 50 },
        "events": { "m.room.power_levels": 50, "m.room.topic": 60, "org.example.said": 50 },
        "notifications": { "room": 50 },
        "state_default": 50, "events_default": 0, "users_default": 0,
        "ban": 50, "kick": 50, "invite": 50, "redact": 50,
    });
    if number(room) < 12 {
        levels["users"][user(MAKER).as_str()] = json!(100);
    }
    levels
}

fn scene(room: &mut TestRoom) {
    for member in [MODERATOR, MEMBER, BANNED, OTHER_MODERATOR] {
        room.member(member, member, "join");
    }
    room.member(MAKER, BANNED, "ban");
    room.member(MAKER, INVITED, "invite");
    let levels = levels(room);
    room.set(MAKER, "m.room.power_levels", "", levels);
}

fn scenes() -> impl Iterator<Item = TestRoom> {
    every_version().map(|mut room| {
        scene(&mut room);
        room
    })
}

fn scenes_since(first: u8) -> impl Iterator<Item = TestRoom> {
    scenes().filter(move |room| number(room) >= first)
}

fn judged(room: &mut TestRoom, sender: u8, kind: &str, state_key: Option<&str>, content: Value) -> Verdict {
    let draft = room.draft(sender, kind, state_key, content);
    let pdu = room.seal(draft);
    verdict(room, &pdu)
}

#[track_caller]
fn allowed(room: &mut TestRoom, sender: u8, kind: &str, state_key: Option<&str>, content: Value) {
    let verdict = judged(room, sender, kind, state_key, content.clone());
    assert_eq!(verdict, Verdict::Accepted, "{kind} of {sender} in version {}: {content}", room.version);
}

#[track_caller]
fn refused(room: &mut TestRoom, sender: u8, kind: &str, state_key: Option<&str>, content: Value, words: &str) {
    let verdict = judged(room, sender, kind, state_key, content.clone());
    let of_rule = matches!(&verdict, Verdict::Rejected { rule } if rule.contains(words));
    assert!(of_rule, "{kind} of {sender} in version {}: {content}: {verdict:?}", room.version);
}

#[track_caller]
fn membership(room: &mut TestRoom, sender: u8, target: u8, membership: &str, refusal: Option<&str>) {
    let (target, content) = (user(target), json!({ "membership": membership }));
    match refusal {
        None => allowed(room, sender, "m.room.member", Some(target.as_str()), content),
        Some(words) => refused(room, sender, "m.room.member", Some(target.as_str()), content, words),
    }
}

#[test]
fn a_membership_is_of_somebody_and_says_what_it_is() {
    for mut room in scenes() {
        let room = &mut room;
        let content = json!({ "membership": "join" });
        refused(room, MEMBER, "m.room.member", None, content.clone(), "state_key");
        refused(room, MEMBER, "m.room.member", Some("nobody"), content, "state_key");
        let own = user(MEMBER);
        for content in [json!({}), json!({ "membership": null }), json!({ "membership": ["join"] })] {
            refused(room, MEMBER, "m.room.member", Some(own.as_str()), content, "membership");
        }
        membership(room, MEMBER, MEMBER, "member", Some("unknown membership"));
    }
}

#[test]
fn who_joins_joins_by_themselves_is_not_banned_and_as_the_room_has_it() {
    for mut room in scenes() {
        let (version, room) = (number(&room), &mut room);
        membership(room, STRANGER, STRANGER, "join", None);
        membership(room, MAKER, STRANGER, "join", Some("match target user"));
        membership(room, BANNED, BANNED, "join", Some("banned"));
        for (rule, since) in [("invite", 1), ("knock", 7), ("restricted", 8), ("knock_restricted", 10)] {
            room.set(MAKER, "m.room.join_rules", "", json!({ "join_rule": rule, "allow": [] }));
            let known = version >= since;
            membership(room, INVITED, INVITED, "join", (!known).then_some("not `public`"));
            membership(room, MEMBER, MEMBER, "join", (!known).then_some("not `public`"));
            let vouched_for = known && rule.contains("restricted");
            let refusal = if vouched_for { "join_authorised_via_users_server" } else { "not `public`" };
            membership(room, STRANGER, STRANGER, "join", Some(refusal));
            membership(room, BANNED, BANNED, "join", Some("banned"));
        }
        for rule in ["private", "org.example.whatever"] {
            room.set(MAKER, "m.room.join_rules", "", json!({ "join_rule": rule }));
            membership(room, INVITED, INVITED, "join", Some("not `public`"));
        }
        room.state.remove(&(StateEventType::RoomJoinRules, String::new()));
        membership(room, INVITED, INVITED, "join", Some("join_rules"));
    }
}

#[test]
fn who_vouches_for_a_join_is_there_and_may_invite() {
    for mut room in scenes_since(8) {
        let room = &mut room;
        let rules = if number(room) < 10 { &["restricted"][..] } else { &["restricted", "knock_restricted"] };
        for rule in rules {
            room.set(MAKER, "m.room.join_rules", "", json!({ "join_rule": rule, "allow": [] }));
            let by = |voucher: u8| json!({ "membership": "join", "join_authorised_via_users_server": user(voucher) });
            let own = user(STRANGER);
            allowed(room, STRANGER, "m.room.member", Some(own.as_str()), by(MODERATOR));
            refused(room, STRANGER, "m.room.member", Some(own.as_str()), by(MEMBER), "enough power");
            refused(room, STRANGER, "m.room.member", Some(own.as_str()), by(INVITED), "not joined");
            refused(room, STRANGER, "m.room.member", Some(own.as_str()), by(40), "not joined");
        }
    }
}

#[test]
fn the_first_to_join_is_whoever_the_create_event_says_made_the_room() {
    for version in [RoomVersionId::V1, RoomVersionId::V6, RoomVersionId::V10, RoomVersionId::V11] {
        let mut room = TestRoom::new(version.clone());
        let key = (StateEventType::RoomCreate, String::new());
        let mut object = room.events[&room.state[&key]].canonical_object();
        object.insert("content".to_owned(), crate::domain::test_room::object(json!({ "creator": user(1) })).into());
        let create = Rc::new(seal_template(object, &identity(0), &room.rules).unwrap());
        (room.events, room.state) = Default::default();
        room.push(&create);
        let by_content = !room.rules.authorization.use_room_create_sender;
        membership(&mut room, 1, 1, "join", (!by_content).then_some("join_rules"));
        membership(&mut room, 0, 0, "join", by_content.then_some("join_rules"));
        // Nobody else, and nobody who does not come first.
        membership(&mut room, 2, 2, "join", Some("join_rules"));
        room.member(u8::from(by_content), u8::from(by_content), "join");
        membership(&mut room, 2, 2, "join", Some("join_rules"));
    }
}

#[test]
fn who_invites_is_there_has_the_power_and_invites_who_is_neither_there_nor_banned() {
    for mut room in scenes() {
        let room = &mut room;
        membership(room, MODERATOR, STRANGER, "invite", None);
        membership(room, MODERATOR, INVITED, "invite", None);
        membership(room, STRANGER, 7, "invite", Some("sender is not joined"));
        membership(room, INVITED, STRANGER, "invite", Some("sender is not joined"));
        membership(room, MODERATOR, MEMBER, "invite", Some("joined or banned"));
        membership(room, MODERATOR, BANNED, "invite", Some("joined or banned"));
        membership(room, MEMBER, STRANGER, "invite", Some("enough power"));
    }
}

#[test]
fn who_leaves_was_there_and_who_is_put_out_has_less_power() {
    for mut room in scenes() {
        let room = &mut room;
        membership(room, MEMBER, MEMBER, "leave", None);
        membership(room, INVITED, INVITED, "leave", None);
        membership(room, STRANGER, STRANGER, "leave", Some("cannot leave"));
        membership(room, BANNED, BANNED, "leave", Some("cannot leave"));
        membership(room, MODERATOR, MEMBER, "leave", None);
        membership(room, MODERATOR, INVITED, "leave", None);
        membership(room, MODERATOR, BANNED, "leave", None);
        membership(room, STRANGER, MEMBER, "leave", Some("sender is not joined"));
        membership(room, MEMBER, INVITED, "leave", Some("enough power to kick"));
        membership(room, MODERATOR, OTHER_MODERATOR, "leave", Some("enough power to kick"));
        membership(room, MODERATOR, MAKER, "leave", Some("enough power to kick"));
        // Who lets in again who was banned must be able to do both.
        for (ban, kick, words) in [(51, 50, "unban"), (50, 51, "kick")] {
            let mut levels = levels(room);
            (levels["ban"], levels["kick"]) = (json!(ban), json!(kick));
            room.set(MAKER, "m.room.power_levels", "", levels);
            membership(room, MODERATOR, BANNED, "leave", Some(words));
        }
        if number(room) >= 7 {
            room.member(STRANGER, STRANGER, "knock");
            membership(room, STRANGER, STRANGER, "leave", None);
        }
    }
}

#[test]
fn who_bans_is_there_and_has_the_power_and_more_than_the_other() {
    for mut room in scenes() {
        let room = &mut room;
        for target in [MEMBER, INVITED, STRANGER, BANNED] {
            membership(room, MODERATOR, target, "ban", None);
        }
        membership(room, STRANGER, MEMBER, "ban", Some("sender is not joined"));
        membership(room, MEMBER, STRANGER, "ban", Some("enough power to ban"));
        membership(room, MODERATOR, OTHER_MODERATOR, "ban", Some("enough power to ban"));
        membership(room, MODERATOR, MAKER, "ban", Some("enough power to ban"));
    }
}

#[test]
fn who_knocks_knocks_by_themselves_from_outside_where_there_is_a_door() {
    for mut room in scenes_since(7) {
        let room = &mut room;
        membership(room, STRANGER, STRANGER, "knock", Some("knocking is not allowed"));
        let doors = if number(room) < 10 { &["knock"][..] } else { &["knock", "knock_restricted"] };
        for rule in doors {
            room.set(MAKER, "m.room.join_rules", "", json!({ "join_rule": rule, "allow": [] }));
            membership(room, STRANGER, STRANGER, "knock", None);
            membership(room, MODERATOR, STRANGER, "knock", Some("match target user"));
            for outside in [MEMBER, INVITED, BANNED] {
                membership(room, outside, outside, "knock", Some("banned, invited or joined"));
            }
        }
        for rule in ["invite", "restricted", "private"] {
            room.set(MAKER, "m.room.join_rules", "", json!({ "join_rule": rule, "allow": [] }));
            membership(room, STRANGER, STRANGER, "knock", Some("knocking is not allowed"));
        }
    }
}

#[test]
fn an_invite_to_an_address_is_what_the_identity_server_signed() {
    use ruma::signatures::sign_json;
    let server = crate::domain::identity::Identity::named([55; 32], "id.example".try_into().unwrap());
    let key = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(server.public_key().0.to_vec()).encode();
    let signed_by = |by: &crate::domain::identity::Identity, content: Value| {
        let mut signed = crate::domain::test_room::object(content);
        sign_json("id.example", by.key_pair(), &mut signed).unwrap();
        serde_json::to_value(signed).unwrap()
    };
    for mut room in scenes() {
        let room = &mut room;
        for (token, keys) in [
            ("one", json!({ "public_key": key })),
            ("many", json!({ "public_key": "AAAA", "public_keys": [{ "public_key": key }] })),
        ] {
            room.set(MODERATOR, "m.room.third_party_invite", token, keys);
        }
        let invite = |target: u8, signed: Value| {
            (
                user(target),
                json!({ "membership": "invite", "third_party_invite": { "display_name": "a", "signed": signed } }),
            )
        };
        let good = |target: u8, token: &str| signed_by(&server, json!({ "mxid": user(target), "token": token }));
        for token in ["one", "many"] {
            let (target, content) = invite(STRANGER, good(STRANGER, token));
            allowed(room, MODERATOR, "m.room.member", Some(target.as_str()), content.clone());
            // It is in the name of whoever invited the address, though they cannot sign it.
            refused(room, OTHER_MODERATOR, "m.room.member", Some(target.as_str()), content, "does not match");
        }
        let mut altered = good(STRANGER, "one");
        altered["mxid"] = json!(user(7));
        for (target, signed, words) in [
            (BANNED, good(BANNED, "one"), "banned"),
            (STRANGER, Value::Null, "third_party_invite"),
            (STRANGER, signed_by(&server, json!({ "token": "one" })), "mxid"),
            (STRANGER, signed_by(&server, json!({ "mxid": user(STRANGER) })), "token"),
            (STRANGER, good(7, "one"), "match target user"),
            (STRANGER, good(STRANGER, "another"), "no `m.room.third_party_invite`"),
            (STRANGER, signed_by(&identity(4), json!({ "mxid": user(STRANGER), "token": "one" })), "no signature"),
            (7, altered, "no signature"),
            (STRANGER, json!({ "mxid": user(STRANGER), "token": "one", "signatures": {} }), "no signature"),
        ] {
            let (target, content) = invite(target, signed);
            refused(room, MODERATOR, "m.room.member", Some(target.as_str()), content, words);
        }
        let unsigned = json!({ "membership": "invite", "third_party_invite": { "display_name": "a" } });
        let target = user(STRANGER);
        refused(room, MODERATOR, "m.room.member", Some(target.as_str()), unsigned, "third_party_invite");
    }
}

#[test]
fn who_says_anything_is_there_and_has_the_power_that_its_type_takes() {
    for mut room in scenes() {
        let room = &mut room;
        allowed(room, MEMBER, "m.room.message", None, json!({}));
        for outside in [STRANGER, INVITED, BANNED] {
            refused(room, outside, "m.room.message", None, json!({}), "not `join`");
        }
        refused(room, MEMBER, "org.example.said", None, json!({}), "enough power");
        allowed(room, MODERATOR, "org.example.said", None, json!({}));
        refused(room, MEMBER, "m.room.name", Some(""), json!({}), "enough power");
        allowed(room, MODERATOR, "m.room.name", Some(""), json!({}));
        refused(room, MODERATOR, "m.room.topic", Some(""), json!({}), "enough power");
        allowed(room, MAKER, "m.room.topic", Some(""), json!({}));
        allowed(room, MODERATOR, "org.example", Some(user(MODERATOR).as_str()), json!({}));
        refused(room, MODERATOR, "org.example", Some(user(MEMBER).as_str()), json!({}), "another user's");
        refused(room, MAKER, "org.example", Some("@"), json!({}), "another user's");
        // Inviting an address takes what inviting takes, whatever its type would.
        let mut levels = levels(room);
        levels["events"]["m.room.third_party_invite"] = json!(100);
        room.set(MAKER, "m.room.power_levels", "", levels);
        allowed(room, MODERATOR, "m.room.third_party_invite", Some("t"), json!({}));
        refused(room, MEMBER, "m.room.third_party_invite", Some("t"), json!({}), "send invites");
    }
}

#[test]
fn without_power_levels_only_who_made_the_room_has_power() {
    for mut room in scenes() {
        let room = &mut room;
        room.state.remove(&(StateEventType::RoomPowerLevels, String::new()));
        allowed(room, MAKER, "m.room.name", Some(""), json!({}));
        allowed(room, MEMBER, "m.room.message", None, json!({}));
        membership(room, MEMBER, STRANGER, "invite", None);
        // Whoever may set state may set the first levels as they like.
        let all = json!({ "users": { user(MODERATOR): 200 }, "ban": 1_000 });
        allowed(room, MAKER, "m.room.power_levels", Some(""), all.clone());
        // State takes fifty until levels say otherwise.
        let others = judged(room, MEMBER, "m.room.power_levels", Some(""), all);
        assert!(matches!(&others, Verdict::Rejected { rule } if rule.contains("enough power")), "{others:?}");
    }
}

#[test]
fn power_levels_are_integers_of_users() {
    let single = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];
    for mut room in scenes() {
        let (strict, room) = (number(&room) >= 10, &mut room);
        for field in single {
            for (value, is_read) in
                [(json!("50"), !strict), (json!("fifty"), false), (json!(null), false), (json!([]), false)]
            {
                let mut levels = levels(room);
                levels[field] = value;
                match is_read {
                    true => allowed(room, MAKER, "m.room.power_levels", Some(""), levels),
                    false => refused(room, MAKER, "m.room.power_levels", Some(""), levels, "unexpected format"),
                }
            }
        }
        for field in ["events", "notifications", "users"] {
            let name = if field == "users" { user(MEMBER).to_string() } else { "key".to_owned() };
            for (value, is_read) in [
                (json!({ &name: "10" }), !strict),
                (json!({ &name: null }), false),
                (json!({ &name: "ten" }), false),
                (json!([]), false),
                (json!("none"), false),
            ] {
                let mut levels = levels(room);
                levels[field] = value;
                match is_read {
                    true => allowed(room, MAKER, "m.room.power_levels", Some(""), levels),
                    // Notifications had no rule before version 6.
                    false if field == "notifications" && number(room) < 6 => {}
                    false => refused(room, MAKER, "m.room.power_levels", Some(""), levels, "unexpected format"),
                }
            }
        }
        for nobody in ["", "somebody", "@nobody", "#room:example.org"] {
            let mut levels = levels(room);
            levels["users"][nobody] = json!(10);
            refused(room, MAKER, "m.room.power_levels", Some(""), levels, "unexpected format");
        }
    }
}

#[test]
fn levels_with_fractions_count_without_them_before_version_6() {
    for mut room in scenes().filter(|room| number(room) < 6) {
        let room = &mut room;
        // As a peer may write it where numbers need not be integers: 0.9 of a level is none.
        let draft = room.draft(MAKER, "m.room.power_levels", Some(""), levels(room));
        let levels = room.seal(draft);
        let with = |said: &str| {
            let json = levels.json().replace("\"state_default\":50", &format!("\"state_default\":{said}"));
            assert_ne!(json, levels.json());
            Rc::new(Pdu::from_canonical(levels.event_id.clone(), json, &room.rules).unwrap())
        };
        let cases: Vec<_> = ["0.9", "5e-1", "1.0", "50.9", "51.0", "1e300"].map(with).into();
        let allowed_to = |state: &Rc<Pdu>, sender: u8, room: &mut TestRoom| {
            room.push(state);
            let verdict = judged(room, sender, "org.example", Some(""), json!({}));
            !rejected(&verdict)
        };
        let said: Vec<_> =
            cases.iter().map(|case| (allowed_to(case, MEMBER, room), allowed_to(case, MODERATOR, room))).collect();
        let (nothing, one, all) = ((true, true), (false, true), (false, false));
        assert_eq!(said[..5], [nothing, nothing, one, one, all], "{}", room.version);
        assert_eq!(said[5], all, "out of reach");
    }
}

#[test]
fn nobody_takes_gives_or_guards_more_power_than_they_have() {
    let single = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];
    for mut room in scenes() {
        let (notifications, room) = (number(&room) >= 6, &mut room);
        let mut high = levels(room);
        (high["ban"], high["events"]["org.example.high"], high["notifications"]["high"]) =
            (json!(60), json!(60), json!(60));
        high["users"][user(MEMBER).as_str()] = json!(60);
        room.set(MAKER, "m.room.power_levels", "", high.clone());
        let changed = |path: &str, value: Option<i64>| {
            let mut levels = high.clone();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let parent = levels.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match value {
                Some(value) => drop(parent.insert(key.replace("~1", "/"), json!(value))),
                None => drop(parent.remove(key)),
            }
            levels
        };
        let mut set = |path: &str, value: Option<i64>, is_allowed: bool| {
            let levels = changed(path, value);
            match is_allowed {
                true => allowed(room, MODERATOR, "m.room.power_levels", Some(""), levels),
                false => refused(room, MODERATOR, "m.room.power_levels", Some(""), levels, "enough power to change"),
            }
        };
        for field in single.into_iter().filter(|field| *field != "ban") {
            set(&format!("/{field}"), Some(49), true);
            set(&format!("/{field}"), Some(51), false);
        }
        set("/ban", Some(50), false);
        set("/ban", Some(61), false);
        set("/ban", None, false);
        set("/kick", None, true);
        for (map, is_guarded) in [("events", true), ("notifications", notifications)] {
            set(&format!("/{map}/org.example.new"), Some(50), true);
            set(&format!("/{map}/org.example.new"), Some(51), !is_guarded);
            let (there, high) = match map {
                "events" => ("org.example.said", "org.example.high"),
                _ => ("room", "high"),
            };
            set(&format!("/{map}/{there}"), Some(40), true);
            set(&format!("/{map}/{there}"), None, true);
            set(&format!("/{map}/{there}"), Some(51), !is_guarded);
            set(&format!("/{map}/{high}"), Some(40), !is_guarded);
            set(&format!("/{map}/{high}"), None, !is_guarded);
        }
        let of = |person: u8| format!("/users/{}", user(person));
        set(&of(STRANGER), Some(50), true);
        set(&of(STRANGER), Some(51), false);
        // One's own may go down and away, an equal's may not.
        set(&of(MODERATOR), Some(10), true);
        set(&of(MODERATOR), None, true);
        set(&of(MODERATOR), Some(51), false);
        set(&of(OTHER_MODERATOR), Some(10), false);
        set(&of(OTHER_MODERATOR), None, false);
        set(&of(MEMBER), Some(50), false);
        set(&of(MEMBER), None, false);
    }
}

#[test]
fn creators_have_power_without_end_in_version_12_and_no_level_names_them() {
    let mut request = crate::domain::test_room::create_request(&RoomVersionId::V12);
    request.creation_content = crate::domain::test_room::object(json!({ "additional_creators": [user(7)] }));
    let mut room = TestRoom::created(&request);
    scene(&mut room);
    let room = &mut room;
    room.member(7, 7, "join");
    let mut out_of_reach = levels(room);
    (out_of_reach["ban"], out_of_reach["events"]["m.room.power_levels"]) = (json!(1_000_000), json!(1_000_000));
    out_of_reach["users"][user(MODERATOR).as_str()] = json!(1_000_000);
    room.set(MAKER, "m.room.power_levels", "", out_of_reach);
    for creator in [MAKER, 7] {
        membership(room, creator, MODERATOR, "ban", None);
        membership(room, creator, MODERATOR, "leave", None);
        let levels = levels(room);
        allowed(room, creator, "m.room.power_levels", Some(""), levels);
        for named in [MAKER, 7] {
            let mut levels = self::levels(room);
            levels["users"][user(named).as_str()] = json!(100);
            refused(room, creator, "m.room.power_levels", Some(""), levels, "creator user IDs");
        }
    }
    for (sender, target) in [(MAKER, 7), (7, MAKER), (MODERATOR, MAKER), (MODERATOR, 7)] {
        membership(room, sender, target, "ban", Some("enough power to ban"));
        membership(room, sender, target, "leave", Some("enough power to kick"));
    }
    // Before, they are words that nobody reads.
    let mut request = crate::domain::test_room::create_request(&RoomVersionId::V11);
    request.creation_content = crate::domain::test_room::object(json!({ "additional_creators": [user(7)] }));
    let mut room = TestRoom::created(&request);
    scene(&mut room);
    room.member(7, 7, "join");
    refused(&mut room, 7, "m.room.name", Some(""), json!({}), "enough power");
}

#[test]
fn an_event_that_follows_nothing_is_refused() {
    for mut room in scenes() {
        let draft = room.draft(MAKER, "m.room.message", None, json!({}));
        let position = Position { prev_events: vec![], ..room.position(&draft) };
        let pdu = room.seal_at(draft, position);
        let nothing = |_: &StateEventType, _: &str| None;
        let verdict = admit(&pdu, &room.rules, &room.auth_events_of(&pdu), &nothing, &room.lookup()).unwrap();
        assert!(matches!(&verdict, Verdict::Rejected { rule } if rule.contains("m.room.create")), "{verdict:?}");
    }
}
