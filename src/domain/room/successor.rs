//! What a room's replacement begins with, and what closes the room it replaces (client-server API, "Room Upgrades").
use std::collections::BTreeSet;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, Int, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, ServerName,
    UserId, events::StateEventType, room_version_rules::AuthorizationRules,
};

use super::preset::InitialEvent;

/// The level that speaking and inviting takes at least in a room that was replaced.
const CLOSED_LEVEL: i64 = 50;
/// The level of whoever had infinite power, in a room version that knows no such.
const ADMIN_LEVEL: i64 = 100;

/// The room that is replaced, as its state says.
pub struct Predecessor<'a> {
    pub room_id: &'a RoomId,
    /// The tombstone, where the replacement can name it: not if its own id goes into it first.
    pub tombstone: Option<&'a EventId>,
    pub create: &'a CanonicalJsonObject,
    pub power_levels: Option<&'a CanonicalJsonObject>,
    /// Those with infinite power; nobody in room versions that know no such.
    pub infinite: &'a BTreeSet<OwnedUserId>,
}

/// The room that is to be.
pub struct Plan<'a> {
    pub version: &'a RoomVersionId,
    pub rules: &'a AuthorizationRules,
    pub creator: &'a UserId,
    /// Beside the creator; of no effect in room versions that know no such.
    pub additional_creators: &'a [OwnedUserId],
}

impl Plan<'_> {
    /// Everybody with infinite power in the new room.
    pub fn creators(&self) -> BTreeSet<&UserId> {
        if !self.rules.explicitly_privilege_room_creators {
            return BTreeSet::new();
        }
        self.additional_creators.iter().map(|user| &**user).chain([self.creator]).collect()
    }
}

/// The content of the new room's create event.
pub fn create_content(old: &Predecessor<'_>, plan: &Plan<'_>) -> CanonicalJsonObject {
    let mut predecessor = CanonicalJsonObject::from([("room_id".to_owned(), old.room_id.to_string().into())]);
    if let Some(tombstone) = old.tombstone {
        predecessor.insert("event_id".to_owned(), tombstone.to_string().into());
    }
    let mut content = CanonicalJsonObject::from([
        ("room_version".to_owned(), plan.version.as_str().into()),
        ("predecessor".to_owned(), predecessor.into()),
    ]);
    for field in ["type", "m.federate"] {
        content.extend(old.create.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    if !plan.rules.use_room_create_sender {
        content.insert("creator".to_owned(), plan.creator.to_string().into());
    }
    let others: BTreeSet<_> = plan.additional_creators.iter().filter(|user| **user != plan.creator).collect();
    if plan.rules.additional_room_creators && !others.is_empty() {
        let others = others.into_iter().map(|user| user.to_string().into()).collect();
        content.insert("additional_creators".to_owned(), CanonicalJsonValue::Array(others));
    }
    content
}

/// A state event of the old room as the new one has it; `None` for what stays behind. Power levels, aliases and members
/// are not asked about here.
pub fn carried(event: &InitialEvent, is_space: bool, rules: &AuthorizationRules) -> Option<InitialEvent> {
    match event.kind {
        StateEventType::RoomServerAcl
        | StateEventType::RoomEncryption
        | StateEventType::RoomName
        | StateEventType::RoomAvatar
        | StateEventType::RoomTopic
        | StateEventType::RoomGuestAccess
        | StateEventType::RoomHistoryVisibility
            if event.state_key.is_empty() =>
        {
            Some(event.clone())
        }
        StateEventType::RoomJoinRules if event.state_key.is_empty() => {
            Some(InitialEvent { content: join_rules(event.content.clone(), rules), ..event.clone() })
        }
        // One that is empty was taken out of the space.
        StateEventType::SpaceChild if is_space && !event.content.is_empty() => Some(event.clone()),
        _ => None,
    }
}

/// A rule that the new version does not know lets nobody in there, so it becomes one that does.
fn join_rules(mut content: CanonicalJsonObject, rules: &AuthorizationRules) -> CanonicalJsonObject {
    let known = match content.get("join_rule").and_then(|rule| rule.as_str()) {
        Some("public" | "invite" | "private") => true,
        Some("knock") => rules.knocking,
        Some("restricted") => rules.restricted_join_rule,
        Some("knock_restricted") => rules.knock_restricted_join_rule,
        _ => false,
    };
    if !known {
        content.insert("join_rule".to_owned(), "invite".into());
    }
    content
}

/// The power levels of the new room: those of the old as integers, without whom the version forbids to list, and with
/// those listed whose power was beyond listing.
pub fn power_levels(old: &Predecessor<'_>, plan: &Plan<'_>) -> CanonicalJsonObject {
    let mut content = old.power_levels.cloned().unwrap_or_default();
    for field in ["ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"] {
        if let Some(value) = content.remove(field) {
            content.extend(level(&value).map(|level| (field.to_owned(), number(level))));
        }
    }
    for field in ["events", "notifications"] {
        if let Some(value) = content.remove(field) {
            content.insert(field.to_owned(), levels(&value).into());
        }
    }
    let mut users = content.remove("users").map(|value| levels(&value)).unwrap_or_default();
    users.retain(|user, _| UserId::parse(user.as_str()).is_ok());
    if plan.rules.explicitly_privilege_room_creators {
        let creators = plan.creators();
        users.retain(|user, _| !creators.iter().any(|creator| creator.as_str() == user));
    } else {
        let highest = users.values().filter_map(level).max().unwrap_or(ADMIN_LEVEL).max(ADMIN_LEVEL);
        for user in old.infinite {
            users.insert(user.to_string(), number(highest));
        }
        if old.power_levels.is_none() {
            users.entry(plan.creator.to_string()).or_insert_with(|| number(ADMIN_LEVEL));
        }
    }
    content.insert("users".to_owned(), users.into());
    content
}

/// Power levels under which nobody who is not a moderator speaks or invites any more; `None` if it is so already.
pub fn closed(levels: &CanonicalJsonObject) -> Option<CanonicalJsonObject> {
    let of = |field: &str| levels.get(field).and_then(level).unwrap_or(0);
    let needed = CLOSED_LEVEL.max(of("users_default").saturating_add(1));
    let mut closed = levels.clone();
    for field in ["events_default", "invite"] {
        if of(field) < needed {
            closed.insert(field.to_owned(), number(needed));
        }
    }
    (closed != *levels).then_some(closed)
}

/// What a canonical alias event says of aliases of `server`, which move, and of those of others, which stay.
pub fn split_aliases(content: &CanonicalJsonObject, server: &ServerName) -> (CanonicalJsonObject, CanonicalJsonObject) {
    let moves = |alias: &CanonicalJsonValue| {
        let alias = alias.as_str().and_then(|alias| RoomAliasId::parse(alias).ok());
        alias.is_some_and(|alias| alias.server_name() == server)
    };
    let (mut moved, mut stays) = (CanonicalJsonObject::new(), content.clone());
    if content.get("alias").is_some_and(moves) {
        moved.extend(stays.remove_entry("alias"));
    }
    if let Some(CanonicalJsonValue::Array(alternatives)) = stays.remove("alt_aliases") {
        let (move_too, stay_too): (Vec<_>, Vec<_>) = alternatives.into_iter().partition(moves);
        for (aliases, content) in [(move_too, &mut moved), (stay_too, &mut stays)] {
            if !aliases.is_empty() {
                content.insert("alt_aliases".to_owned(), CanonicalJsonValue::Array(aliases));
            }
        }
    }
    (moved, stays)
}

/// A power level, which old room versions also have as text.
fn level(value: &CanonicalJsonValue) -> Option<i64> {
    match value {
        CanonicalJsonValue::Integer(level) => Some((*level).into()),
        CanonicalJsonValue::String(text) => {
            text.trim().parse().ok().filter(|level: &i64| Int::try_from(*level).is_ok())
        }
        _ => None,
    }
}

fn levels(value: &CanonicalJsonValue) -> CanonicalJsonObject {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), number(level(value)?)))).collect()
}

fn number(level: i64) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::new_saturating(level))
}

#[cfg(test)]
mod tests {
    use ruma::canonical_json::try_from_json_map;
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> CanonicalJsonObject {
        let Value::Object(map) = value else { panic!("{value}") };
        try_from_json_map(map).unwrap()
    }

    fn user(name: &str) -> OwnedUserId {
        UserId::parse(format!("@{name}:x.alt")).unwrap()
    }

    fn levels_of(old: Option<Value>, infinite: &[&str], version: RoomVersionId) -> Value {
        let (create, old) = (CanonicalJsonObject::new(), old.map(object));
        let infinite = infinite.iter().map(|name| user(name)).collect();
        let old = Predecessor {
            room_id: ruma::room_id!("!old:x.alt"),
            tombstone: None,
            create: &create,
            power_levels: old.as_ref(),
            infinite: &infinite,
        };
        let (rules, creator, additional) = (version.rules().unwrap(), user("alice"), [user("adam")]);
        let rules = &rules.authorization;
        let plan = Plan { version: &version, rules, creator: &creator, additional_creators: &additional };
        serde_json::to_value(power_levels(&old, &plan)).unwrap()
    }

    #[test]
    fn power_is_what_it_was_as_far_as_the_version_can_say_it() {
        let old = json!({ "users": { "@alice:x.alt": 100, "@adam:x.alt": 90, "@bob:x.alt": "50", "nobody": 9 },
            "events": { "m.room.name": " 60 ", "x": [] }, "ban": "70", "kick": {}, "invite": 3 });
        let v11 = json!({ "users": { "@alice:x.alt": 100, "@adam:x.alt": 90, "@bob:x.alt": 50 },
            "events": { "m.room.name": 60 }, "ban": 70, "invite": 3 });
        assert_eq!(levels_of(Some(old.clone()), &[], RoomVersionId::V11), v11);
        let mut v12 = v11.clone();
        v12["users"] = json!({ "@bob:x.alt": 50 });
        assert_eq!(levels_of(Some(old), &[], RoomVersionId::V12), v12);
        let of_v12 = json!({ "users": { "@bob:x.alt": 150 } });
        let listed = json!({ "users": { "@alice:x.alt": 150, "@bob:x.alt": 150 } });
        assert_eq!(levels_of(Some(of_v12), &["alice"], RoomVersionId::V11), listed);
        assert_eq!(levels_of(None, &[], RoomVersionId::V11), json!({ "users": { "@alice:x.alt": 100 } }));
        assert_eq!(levels_of(None, &[], RoomVersionId::V12), json!({ "users": {} }));
    }

    #[test]
    fn a_closed_room_is_for_moderators() {
        let of = |levels: Value| closed(&object(levels)).map(|levels| serde_json::to_value(levels).unwrap());
        assert_eq!(of(json!({})), Some(json!({ "events_default": 50, "invite": 50 })));
        let high = json!({ "users_default": 60, "invite": 70 });
        assert_eq!(of(high), Some(json!({ "users_default": 60, "invite": 70, "events_default": 61 })));
        assert_eq!(of(json!({ "events_default": 50, "invite": 100 })), None);
    }

    #[test]
    fn aliases_move_with_their_server() {
        let ours = ruma::server_name!("x.alt");
        let content = object(json!({ "alias": "#a:x.alt", "alt_aliases": ["#b:x.alt", "#c:y.alt", 5] }));
        let (moved, stays) = split_aliases(&content, ours);
        assert_eq!(moved, object(json!({ "alias": "#a:x.alt", "alt_aliases": ["#b:x.alt"] })));
        assert_eq!(stays, object(json!({ "alt_aliases": ["#c:y.alt", 5] })));
        let content = object(json!({ "alias": "#a:y.alt", "alt_aliases": "none" }));
        let (moved, stays) = split_aliases(&content, ours);
        assert_eq!((moved.len(), stays), (0, object(json!({ "alias": "#a:y.alt" }))));
    }

    #[test]
    fn a_join_rule_of_another_version_lets_the_invited_in() {
        let carry = |rule: &str, version: RoomVersionId| {
            let content = object(json!({ "join_rule": rule }));
            let event = InitialEvent { kind: StateEventType::RoomJoinRules, state_key: String::new(), content };
            let carried = carried(&event, false, &version.rules().unwrap().authorization).unwrap();
            carried.content["join_rule"].as_str().unwrap().to_owned()
        };
        assert_eq!(carry("knock_restricted", RoomVersionId::V9), "invite");
        assert_eq!(carry("knock_restricted", RoomVersionId::V10), "knock_restricted");
        assert_eq!(carry("knock", RoomVersionId::V6), "invite");
        assert_eq!(carry("org.example.moon", RoomVersionId::V12), "invite");
    }
}
