//! The events a new room starts with (client-server API, createRoom), in the order the specification gives.
//! Invites follow once the room stands; they are not made here.
use std::collections::BTreeSet;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId,
    ServerName, UserId,
    api::client::room::{Visibility, create_room::v3::RoomPreset},
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use thiserror::Error;

use crate::domain::event::draft::Draft;

/// The least power that ends a room whose creators have infinite power.
const TOMBSTONE_LEVEL: i64 = 150;

/// What a client asks of a new room. Bounds on its size are those of the request; each event keeps its own.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    pub creator: OwnedUserId,
    pub version: RoomVersionId,
    pub preset: RoomPreset,
    pub creation_content: CanonicalJsonObject,
    /// The creator's profile: `displayname`, `avatar_url`.
    pub creator_profile: CanonicalJsonObject,
    pub power_level_override: CanonicalJsonObject,
    pub alias: Option<OwnedRoomAliasId>,
    pub initial_state: Vec<InitialEvent>,
    pub name: Option<String>,
    pub topic: Option<String>,
    /// Whom the room will invite: with `trusted_private_chat` they get the power of the creator.
    pub invite: Vec<OwnedUserId>,
}

/// A state event of a new room, still without a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialEvent {
    pub kind: StateEventType,
    pub state_key: String,
    pub content: CanonicalJsonObject,
}

impl InitialEvent {
    fn new(kind: StateEventType, content: CanonicalJsonObject) -> Self {
        Self { kind, state_key: String::new(), content }
    }

    /// `room_id` is `None` only for the create event of a room version that derives it.
    pub fn into_draft(self, room_id: Option<OwnedRoomId>, sender: OwnedUserId) -> Draft {
        Draft {
            room_id,
            sender,
            kind: TimelineEventType::from(self.kind.to_string()),
            state_key: Some(self.state_key),
            content: self.content,
            redacts: None,
        }
    }
}

/// Why no room can be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PresetError {
    #[error("creation_content.additional_creators must be a list of user ids")]
    AdditionalCreators,
    #[error("power_level_content_override.users must list {0}, or nobody could change the room")]
    CreatorWithoutPower(OwnedUserId),
    #[error("power_level_content_override.users must not list {0}: creators have infinite power in this room version")]
    CreatorListed(OwnedUserId),
}

/// The preset of a room for which none was asked: by its visibility in the directory.
pub fn preset_for(visibility: &Visibility) -> RoomPreset {
    if *visibility == Visibility::Public { RoomPreset::PublicChat } else { RoomPreset::PrivateChat }
}

/// An id for a room of a version that does not derive it. `random` must come from a secure source.
pub fn random_room_id(random: u128, server: &ServerName) -> OwnedRoomId {
    RoomId::parse(format!("!{random:032x}:{server}")).expect("hexadecimal digits and a server name make a room id")
}

/// The create event, the creator's join, and everything else up to name and topic.
pub fn initial_events(request: &CreateRequest, rules: &RoomVersionRules) -> Result<Vec<InitialEvent>, PresetError> {
    let creators = creators(request, rules)?;
    let mut events = vec![
        create(request, rules, &creators),
        creator_join(request),
        InitialEvent::new(StateEventType::RoomPowerLevels, power_levels(request, rules, &creators)?),
    ];
    if let Some(alias) = &request.alias {
        let content = object([("alias", alias.to_string().into())]);
        events.push(InitialEvent::new(StateEventType::RoomCanonicalAlias, content));
    }
    let asked_for = |kind: &StateEventType| {
        request.initial_state.iter().any(|event| event.kind == *kind && event.state_key.is_empty())
    };
    events.extend(preset_events(&request.preset).into_iter().filter(|event| !asked_for(&event.kind)));
    events.extend(request.initial_state.iter().cloned());
    if let Some(name) = &request.name {
        events.push(InitialEvent::new(StateEventType::RoomName, object([("name", name.as_str().into())])));
    }
    if let Some(topic) = &request.topic {
        events.push(InitialEvent::new(StateEventType::RoomTopic, topic_content(topic)));
    }
    Ok(events)
}

/// Everybody who has the power of a creator: in room versions that know such, with the invited of a trusted chat.
fn creators(request: &CreateRequest, rules: &RoomVersionRules) -> Result<BTreeSet<OwnedUserId>, PresetError> {
    let mut creators = BTreeSet::from([request.creator.clone()]);
    if !rules.authorization.additional_room_creators {
        return Ok(creators);
    }
    if let Some(listed) = request.creation_content.get("additional_creators") {
        for user in listed.as_array().ok_or(PresetError::AdditionalCreators)? {
            let user =
                user.as_str().and_then(|user| UserId::parse(user).ok()).ok_or(PresetError::AdditionalCreators)?;
            creators.insert(user);
        }
    }
    if request.preset == RoomPreset::TrustedPrivateChat {
        creators.extend(request.invite.iter().cloned());
    }
    Ok(creators)
}

fn create(request: &CreateRequest, rules: &RoomVersionRules, creators: &BTreeSet<OwnedUserId>) -> InitialEvent {
    let mut content = request.creation_content.clone();
    content.insert("room_version".to_owned(), request.version.as_str().into());
    if rules.authorization.use_room_create_sender {
        content.remove("creator");
    } else {
        content.insert("creator".to_owned(), request.creator.to_string().into());
    }
    if rules.authorization.additional_room_creators && creators.len() > 1 {
        let others = creators.iter().filter(|user| **user != request.creator).map(|user| user.to_string().into());
        content.insert("additional_creators".to_owned(), CanonicalJsonValue::Array(others.collect()));
    }
    InitialEvent::new(StateEventType::RoomCreate, content)
}

fn creator_join(request: &CreateRequest) -> InitialEvent {
    let mut content = request.creator_profile.clone();
    content.insert("membership".to_owned(), "join".into());
    InitialEvent { kind: StateEventType::RoomMember, state_key: request.creator.to_string(), content }
}

fn power_levels(
    request: &CreateRequest,
    rules: &RoomVersionRules,
    creators: &BTreeSet<OwnedUserId>,
) -> Result<CanonicalJsonObject, PresetError> {
    let infinite_creators = rules.authorization.explicitly_privilege_room_creators;
    let trusted = request.invite.iter().filter(|_| request.preset == RoomPreset::TrustedPrivateChat);
    let users = creators.iter().chain(trusted).filter(|_| !infinite_creators);
    let invite = if request.preset == RoomPreset::PublicChat { 50 } else { 0 };
    let mut content = object([
        ("users", levels(users.map(|user| (user.as_str(), 100)))),
        ("users_default", level(0)),
        (
            "events",
            levels([
                ("m.room.avatar", 50),
                ("m.room.canonical_alias", 50),
                ("m.room.encryption", 100),
                ("m.room.history_visibility", 100),
                ("m.room.name", 50),
                ("m.room.power_levels", 100),
                ("m.room.server_acl", 100),
                ("m.room.tombstone", 100),
            ]),
        ),
        ("events_default", level(0)),
        ("state_default", level(50)),
        ("ban", level(50)),
        ("kick", level(50)),
        ("redact", level(50)),
        ("invite", level(invite)),
    ]);
    content.extend(request.power_level_override.clone());
    if infinite_creators {
        raise_tombstone(&mut content, request);
    }

    let users = content.get("users").and_then(|users| users.as_object());
    let listed = |user: &OwnedUserId| users.is_some_and(|users| users.contains_key(user.as_str()));
    if infinite_creators {
        if let Some(creator) = creators.iter().find(|creator| listed(creator)) {
            return Err(PresetError::CreatorListed(creator.clone()));
        }
    } else if !listed(&request.creator) {
        return Err(PresetError::CreatorWithoutPower(request.creator.clone()));
    }
    Ok(content)
}

fn preset_events(preset: &RoomPreset) -> [InitialEvent; 3] {
    let (join_rule, guest_access) =
        if *preset == RoomPreset::PublicChat { ("public", "forbidden") } else { ("invite", "can_join") };
    [
        InitialEvent::new(StateEventType::RoomJoinRules, object([("join_rule", join_rule.into())])),
        InitialEvent::new(StateEventType::RoomHistoryVisibility, object([("history_visibility", "shared".into())])),
        InitialEvent::new(StateEventType::RoomGuestAccess, object([("guest_access", guest_access.into())])),
    ]
}

/// The plain topic, and the same as a `text/plain` block of extensible text.
fn topic_content(topic: &str) -> CanonicalJsonObject {
    let text = object([("body", topic.into()), ("mimetype", "text/plain".into())]);
    let block = object([("m.text", CanonicalJsonValue::Array(vec![text.into()]))]);
    object([("topic", topic.into()), ("m.topic", block.into())])
}

fn object<const N: usize>(fields: [(&str, CanonicalJsonValue); N]) -> CanonicalJsonObject {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Where creators stand above everybody, the power to end a room stays above the power to run it, unless the client says
/// otherwise of just that.
fn raise_tombstone(content: &mut CanonicalJsonObject, request: &CreateRequest) {
    let asked_for = request.power_level_override.get("events").and_then(CanonicalJsonValue::as_object);
    if asked_for.is_some_and(|events| events.contains_key("m.room.tombstone")) {
        return;
    }
    let state_default = content.get("state_default").and_then(CanonicalJsonValue::as_integer);
    let above = state_default.map_or(0, |level| i64::from(level).saturating_add(1));
    let level = Int::new_saturating(above.max(TOMBSTONE_LEVEL));
    if let Some(CanonicalJsonValue::Object(events)) = content.get_mut("events") {
        events.insert("m.room.tombstone".to_owned(), CanonicalJsonValue::Integer(level));
    }
}

fn level(level: i32) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::from(level))
}

fn levels<'a>(entries: impl IntoIterator<Item = (&'a str, i32)>) -> CanonicalJsonValue {
    CanonicalJsonValue::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), level(value))).collect())
}

#[cfg(test)]
mod tests;
