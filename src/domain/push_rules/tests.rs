//! What the rules of the specification decide, example by example.
use ruma::{
    events::room::power_levels::UserPowerLevel,
    push::{Action, Ruleset},
    user_id,
};
use serde_json::{Value, json};

use super::*;

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";

/// A room of three in which bob says something to alice.
struct Scene {
    event: Value,
    displayname: Option<&'static str>,
    members: u64,
    power: i64,
    notifications: BTreeMap<String, i64>,
}

fn event(kind: &str, content: Value) -> Scene {
    Scene {
        event: json!({
            "content": content, "event_id": "$e", "origin_server_ts": 1, "room_id": "!r:example.org", "sender": BOB,
            "type": kind,
        }),
        displayname: Some("Alice"),
        members: 3,
        power: 0,
        notifications: BTreeMap::new(),
    }
}

fn message(body: &str) -> Scene {
    event("m.room.message", json!({ "msgtype": "m.text", "body": body }))
}

impl Scene {
    fn with(mut self, field: &str, value: Value) -> Self {
        self.event[field] = value;
        self
    }

    fn listen<T>(&self, look: impl FnOnce(&Event, &Listener<'_>) -> T) -> T {
        let level = UserPowerLevel::Int(ruma::Int::try_from(self.power).unwrap());
        let sender = SenderPower { level, notifications: self.notifications.clone() };
        let listener = Listener {
            user: user_id!("@alice:example.org"),
            displayname: self.displayname,
            members: self.members,
            sender: Some(&sender),
        };
        look(&Event::new(self.event.clone()), &listener)
    }

    /// The id of the predefined rule that decides, without its prefix, and what it does: n for notify, s for a sound,
    /// h for a highlight.
    fn predefined(&self) -> (String, String) {
        self.listen(|event, listener| {
            let rules = Ruleset::server_default(user_id!("@alice:example.org"));
            let Some(rule) = deciding(&rules, event, listener) else { return Default::default() };
            let letters = rule.actions().iter().map(|action| match action {
                action if action.is_highlight() => 'h',
                action if action.sound().is_some() => 's',
                Action::Notify => 'n',
                other => panic!("{other:?}"),
            });
            (rule.rule_id().trim_start_matches(".m.rule.").to_owned(), letters.collect())
        })
    }

    fn meets(&self, condition: Value) -> bool {
        let condition: PushCondition = serde_json::from_value(condition).unwrap();
        self.listen(|event, listener| holds(&condition, event, listener))
    }
}

#[track_caller]
fn decides(scene: Scene, rule: &str, does: &str) {
    assert_eq!(scene.predefined(), (rule.to_owned(), does.to_owned()), "{}", scene.event);
}

#[test]
fn the_predefined_rules_are_those_of_the_specification_in_its_order() {
    let rules = serde_json::to_value(Ruleset::server_default(user_id!("@alice:example.org"))).unwrap();
    let ids = |kind: &str| -> Vec<String> {
        let rules = rules[kind].as_array().cloned().unwrap_or_default();
        rules.iter().map(|rule| rule["rule_id"].as_str().unwrap().replace(".m.rule.", "")).collect()
    };
    assert_eq!(
        ids("override"),
        [
            "master",
            "suppress_notices",
            "invite_for_me",
            "member_event",
            "is_user_mention",
            "is_room_mention",
            "tombstone",
            "reaction",
            "room.server_acl",
            "suppress_edits"
        ]
    );
    assert_eq!(ids("underride"), ["call", "encrypted_room_one_to_one", "room_one_to_one", "message", "encrypted"]);
    assert!(["content", "room", "sender"].iter().all(|kind| ids(kind).is_empty()));
    let rule = |kind: &str, n: usize| rules[kind][n].clone();
    let of = |id: &str, conditions: Value, actions: Value| {
        json!({
            "rule_id": format!(".m.rule.{id}"), "default": true, "enabled": id != "master", "conditions": conditions,
            "actions": actions,
        })
    };
    let event_match = |key: &str, pattern: &str| json!({ "kind": "event_match", "key": key, "pattern": pattern });
    let (sound, highlight) = (json!({ "set_tweak": "sound", "value": "default" }), json!({ "set_tweak": "highlight" }));
    assert_eq!(rule("override", 0), of("master", json!([]), json!([])));
    let notice = json!([event_match("content.msgtype", "m.notice")]);
    assert_eq!(rule("override", 1), of("suppress_notices", notice, json!([])));
    let invite = json!([
        event_match("type", "m.room.member"),
        event_match("content.membership", "invite"),
        event_match("state_key", ALICE)
    ]);
    assert_eq!(rule("override", 2), of("invite_for_me", invite, json!(["notify", sound])));
    let mention =
        json!([{ "kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": ALICE }]);
    assert_eq!(rule("override", 4), of("is_user_mention", mention, json!(["notify", sound, highlight])));
    let room = json!([
        { "kind": "event_property_is", "key": "content.m\\.mentions.room", "value": true },
        { "kind": "sender_notification_permission", "key": "room" }
    ]);
    assert_eq!(rule("override", 5), of("is_room_mention", room, json!(["notify", highlight])));
    let tombstone = json!([event_match("type", "m.room.tombstone"), event_match("state_key", "")]);
    assert_eq!(rule("override", 6), of("tombstone", tombstone, json!(["notify", highlight])));
    let acl = json!([event_match("type", "m.room.server_acl"), event_match("state_key", "")]);
    assert_eq!(rule("override", 8), of("room.server_acl", acl, json!([])));
    let edit = json!([{ "kind": "event_property_is", "key": "content.m\\.relates_to.rel_type", "value": "m.replace" }]);
    assert_eq!(rule("override", 9), of("suppress_edits", edit, json!([])));
    let two = json!([{ "kind": "room_member_count", "is": "2" }, event_match("type", "m.room.message")]);
    assert_eq!(rule("underride", 2), of("room_one_to_one", two, json!(["notify", sound])));
    let ring = json!(["notify", { "set_tweak": "sound", "value": "ring" }]);
    assert_eq!(rule("underride", 0), of("call", json!([event_match("type", "m.call.invite")]), ring));
}

#[test]
fn predefined_rules_decide_about_everything_that_happens() {
    decides(message("hi"), "message", "n");
    decides(Scene { members: 2, ..message("hi") }, "room_one_to_one", "ns");
    decides(event("m.room.encrypted", json!({ "ciphertext": "alice" })), "encrypted", "n");
    decides(Scene { members: 2, ..event("m.room.encrypted", json!({})) }, "encrypted_room_one_to_one", "ns");
    decides(event("m.call.invite", json!({})), "call", "ns");
    decides(event("m.room.message", json!({ "msgtype": "m.notice", "body": "hi" })), "suppress_notices", "");
    decides(event("m.reaction", json!({ "m.relates_to": { "key": "👍" } })), "reaction", "");
    decides(event("m.room.topic", json!({ "topic": "alice" })).with("state_key", json!("")), "", "");
    let member = |membership: &str, whom: &str| {
        event("m.room.member", json!({ "membership": membership })).with("state_key", json!(whom))
    };
    decides(member("invite", ALICE), "invite_for_me", "ns");
    decides(member("invite", "@carol:example.org"), "member_event", "");
    decides(member("join", BOB), "member_event", "");
    decides(event("m.room.tombstone", json!({})).with("state_key", json!("")), "tombstone", "nh");
    decides(event("m.room.tombstone", json!({})), "", "");
    decides(event("m.room.server_acl", json!({})).with("state_key", json!("")), "room.server_acl", "");
    decides(message("hi").with("sender", json!(ALICE)), "", "");
}

#[test]
fn mentions_are_what_the_sender_says_and_not_what_the_body_looks_like() {
    let said =
        |mentions: Value| event("m.room.message", json!({ "body": "x", "msgtype": "m.text", "m.mentions": mentions }));
    decides(said(json!({ "user_ids": [BOB, ALICE] })), "is_user_mention", "nsh");
    decides(event("m.room.encrypted", json!({ "m.mentions": { "user_ids": [ALICE] } })), "is_user_mention", "nsh");
    for mentions in [json!({ "user_ids": [BOB] }), json!({ "user_ids": ALICE }), json!([ALICE]), json!({})] {
        decides(said(mentions), "message", "n");
    }
    decides(message("alice Alice @alice:example.org @room"), "message", "n");
    decides(Scene { power: 50, ..said(json!({ "room": true })) }, "is_room_mention", "nh");
    decides(Scene { power: 49, ..said(json!({ "room": true })) }, "message", "n");
    decides(Scene { power: 50, ..said(json!({ "room": "true" })) }, "message", "n");
    let notifications = BTreeMap::from([("room".to_owned(), 10)]);
    decides(Scene { power: 10, notifications, ..said(json!({ "room": true })) }, "is_room_mention", "nh");
    let edit =
        json!({ "body": "x", "msgtype": "m.text", "m.relates_to": { "rel_type": "m.replace", "event_id": "$a" } });
    decides(event("m.room.message", edit.clone()), "suppress_edits", "");
    let mut edit_that_mentions = edit;
    edit_that_mentions["m.mentions"] = json!({ "user_ids": [ALICE] });
    decides(event("m.room.message", edit_that_mentions), "is_user_mention", "nsh");
    let threaded =
        json!({ "body": "x", "msgtype": "m.text", "m.relates_to": { "rel_type": "m.thread", "event_id": "$a" } });
    decides(event("m.room.message", threaded), "message", "n");
}

#[test]
fn a_property_matches_a_pattern_whole_and_a_body_by_the_word() {
    let topic = |topic: Value| event("m.room.topic", json!({ "topic": topic }));
    let lunch = json!({ "kind": "event_match", "key": "content.topic", "pattern": "lunc?*" });
    assert!(topic(json!("Lunch plans")).meets(lunch.clone()) && topic(json!("LUNCH")).meets(lunch.clone()));
    for other in [json!(" lunch"), json!("lunc"), json!(null), json!(["lunch"])] {
        assert!(!topic(other).meets(lunch.clone()));
    }
    assert!(!message("lunch").meets(lunch), "an absent property matches nothing");
    let any = json!({ "kind": "event_match", "key": "content.topic", "pattern": "*" });
    assert!(topic(json!("")).meets(any.clone()) && !topic(json!(5)).meets(any));
    let word = json!({ "kind": "event_match", "key": "content.body", "pattern": "Ex*ple" });
    assert!(
        message("An example event.").meets(word.clone()) && message("An exciting triple-whammy").meets(word.clone())
    );
    assert!(!message("Examples").meets(word));
    assert!(message("x").meets(json!({ "kind": "event_match", "key": "room_id", "pattern": "!R:*" })));
}

#[test]
fn values_are_compared_exactly() {
    let is = |value: Value, wanted: Value| {
        let scene = event("m.room.create", json!({ "m.federate": value }));
        scene.meets(json!({ "kind": "event_property_is", "key": "content.m\\.federate", "value": wanted }))
    };
    assert!(is(json!(true), json!(true)) && is(json!(null), json!(null)) && is(json!(1), json!(1)));
    assert!(is(json!("A"), json!("A")) && !is(json!("A"), json!("a")));
    assert!(!is(json!("true"), json!(true)) && !is(json!(1), json!(true)) && !is(json!({}), json!(null)));
    assert!(!message("x").meets(json!({ "kind": "event_property_is", "key": "content.m\\.federate", "value": null })));
    let contains = |value: Value, wanted: Value| {
        let scene = event("m.room.canonical_alias", json!({ "alt_aliases": value }));
        scene.meets(json!({ "kind": "event_property_contains", "key": "content.alt_aliases", "value": wanted }))
    };
    assert!(contains(json!(["#a:example.org", 7, {}]), json!("#a:example.org")) && contains(json!([{}, 7]), json!(7)));
    assert!(!contains(json!(["#a:example.org"]), json!(":example.org")) && !contains(json!("x"), json!("x")));
    assert!(!contains(json!([]), json!(null)));
}

#[test]
fn paths_are_taken_apart_at_dots_that_no_backslash_precedes() {
    for (path, expected) in [
        ("content.body", vec!["content", "body"]),
        (r"content.m\.mentions.room", vec!["content", "m.mentions", "room"]),
        (r"a\\.b", vec![r"a\", "b"]),
        (r"a\b\", vec![r"a\b\"]),
        ("", vec![""]),
        ("a..b", vec!["a", "", "b"]),
    ] {
        assert_eq!(segments(path), expected, "{path}");
    }
    let odd = event("t", json!({ r"a\b": "x", "": { "": "y" } }));
    assert!(odd.meets(json!({ "kind": "event_match", "key": r"content.a\b", "pattern": "x" })));
    assert!(odd.meets(json!({ "kind": "event_match", "key": "content..", "pattern": "y" })));
}

#[test]
fn names_counts_and_power_are_those_of_the_room() {
    let named = json!({ "kind": "contains_display_name" });
    assert!(message("hello aLICE!").meets(named.clone()) && !message("malice").meets(named.clone()));
    for displayname in [Some("*"), Some("?lice"), Some(""), None] {
        assert!(!Scene { displayname, ..message("alice") }.meets(named.clone()), "{displayname:?}");
    }
    assert!(!Scene { displayname: Some(""), ..message("") }.meets(named.clone()));
    assert!(Scene { displayname: Some("*"), ..message("a * b") }.meets(named));
    for (is, met) in
        [("3", true), ("==3", true), ("<3", false), (">3", false), (">=3", true), ("<=10", true), ("2", false)]
    {
        assert_eq!(message("x").meets(json!({ "kind": "room_member_count", "is": is })), met, "{is}");
    }
    let may = |key: &str, power: i64| {
        let notifications = BTreeMap::from([("org.example.shout".to_owned(), 80)]);
        let scene = Scene { power, notifications, ..message("x") };
        scene.meets(json!({ "kind": "sender_notification_permission", "key": key }))
    };
    assert!(may("org.example.shout", 80) && !may("org.example.shout", 79));
    assert!(may("room", 50) && !may("room", 49) && may("org.example.other", 50) && !may("org.example.other", 49));
}

#[test]
fn what_is_not_known_matches_nothing() {
    for condition in [
        json!({ "kind": "org.example.full_moon" }),
        json!({ "kind": "device", "profile_tag": "x" }),
        json!({ "kind": "", "key": "type", "pattern": "*" }),
    ] {
        assert!(!message("x").meets(condition));
    }
}

#[test]
fn kinds_come_in_their_order_and_disabled_rules_are_not_there() {
    let rule = |id: &str, extra: Value| {
        let mut rule = json!({ "rule_id": id, "default": false, "enabled": true, "actions": [] });
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        rule
    };
    let mut rules = json!({
        "override": [rule("o", json!({ "conditions": [] }))],
        "content": [rule("c", json!({ "pattern": "tea" })), rule("d", json!({ "pattern": "time" }))],
        "room": [rule("!r:example.org", json!({}))],
        "sender": [rule(BOB, json!({}))],
        "underride": [rule("u", json!({}))],
    });
    let decided = |rules: &Value, scene: &Scene| {
        let rules: Ruleset = serde_json::from_value(rules.clone()).unwrap();
        scene.listen(|event, listener| deciding(&rules, event, listener).map(|rule| rule.rule_id().to_owned()))
    };
    let scene = message("It's time for tea");
    for (expected, kind) in [
        ("o", "override"),
        ("c", "content"),
        ("d", "content"),
        ("!r:example.org", "room"),
        (BOB, "sender"),
        ("u", "underride"),
    ] {
        assert_eq!(decided(&rules, &scene).as_deref(), Some(expected));
        let of_kind = rules[kind].as_array_mut().unwrap();
        of_kind.iter_mut().find(|rule| rule["rule_id"] == expected).unwrap()["enabled"] = false.into();
    }
    assert_eq!(decided(&rules, &scene), None);
    // Ids are what they are, and no patterns.
    for (kind, id) in [("room", "!R:example.org"), ("sender", "@BOB:example.org"), ("room", "!*:example.org")] {
        let rules = json!({ kind: [rule(id, json!({}))] });
        if let Ok(rules) = serde_json::from_value::<Ruleset>(rules) {
            assert!(scene.listen(|event, listener| deciding(&rules, event, listener).is_none()), "{id}");
        }
    }
    let historical = json!({ "override": [{ "rule_id": "h", "default": false, "enabled": true, "conditions": [], "actions": ["dont_notify", "coalesce"] }] });
    let historical: Ruleset = serde_json::from_value(historical).unwrap();
    assert!(!scene.listen(|event, listener| actions(&historical, event, listener).iter().any(Action::should_notify)));
}
