//! What a room says of itself to those who are not in it yet: name, topic, how many are in it, who may join. For the
//! published directory, for spaces and for summaries.
use std::{cell::RefCell, num::NonZeroUsize, rc::Rc};

use lru::LruCache;
use ruma::{
    EventEncryptionAlgorithm, OwnedMxcUri, OwnedRoomId, RoomAliasId, RoomId, RoomVersionId, ServerName, UInt, UserId,
    events::{StateEventType, room::member::MembershipState},
    room::{JoinRule, JoinRuleSummary, RoomSummary, RoomType},
    room_version_rules::AuthorizationRules,
};
use serde_json::Value;

use super::{
    Homeserver,
    events::StoredEvent,
    rooms::{Room, acl},
};
use crate::{
    domain::{event::Pdu, room::visibility::visibility_of, room_version},
    ports::StoreError,
};

/// Rooms whose facts are kept in memory.
const ROOMS_CACHED: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Where a room stood when its facts were read: its state, and the ends of its timeline, as a redaction changes what a
/// state says without changing the state.
type ReadAt = (u64, i64, i64);

/// The facts of rooms read lately.
pub struct RoomFacts(RefCell<LruCache<OwnedRoomId, (ReadAt, Rc<RoomSummary>)>>);

impl Default for RoomFacts {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(ROOMS_CACHED)))
    }
}

/// What state events say that make up the facts, in the order in which they are read.
const KINDS: [StateEventType; 9] = [
    StateEventType::RoomCreate,
    StateEventType::RoomName,
    StateEventType::RoomTopic,
    StateEventType::RoomAvatar,
    StateEventType::RoomCanonicalAlias,
    StateEventType::RoomJoinRules,
    StateEventType::RoomGuestAccess,
    StateEventType::RoomHistoryVisibility,
    StateEventType::RoomEncryption,
];

/// The room as it is now. What its state says wrongly is left out; a join rule nobody here knows is told as "invite", as
/// it lets nobody in who was not invited.
pub async fn of_room(server: &Homeserver, room: &Room) -> Result<Rc<RoomSummary>, StoreError> {
    let (read_at, state, joined) = {
        let live = room.live();
        let read_at = (live.state.id, live.newest_order, live.oldest_order);
        if let Some((cached_at, facts)) = server.room_facts.0.borrow_mut().get(&room.id)
            && *cached_at == read_at
        {
            return Ok(facts.clone());
        }
        (read_at, live.state.clone(), live.members.joined_count())
    };
    let ids: Vec<_> = KINDS.iter().filter_map(|kind| state.get(kind, "").cloned()).collect();
    let events: Vec<Rc<StoredEvent>> = server.rooms.events.get_many(&ids).await?.into_iter().flatten().collect();
    let pdu_of = |kind: StateEventType| {
        events.iter().find(|event| event.pdu.kind.to_string() == kind.to_string()).map(|event| &*event.pdu)
    };
    let text = |kind: StateEventType, field: &str| text_of(pdu_of(kind), field);
    let rule = pdu_of(StateEventType::RoomJoinRules).and_then(|pdu| serde_json::from_str(pdu.content.get()).ok());
    let rule = known_rule(rule, &room.rules.authorization);
    let guests = text(StateEventType::RoomGuestAccess, "guest_access").as_deref() == Some("can_join");
    let visibility = visibility_of(pdu_of(StateEventType::RoomHistoryVisibility));
    let world_readable = visibility == ruma::events::room::history_visibility::HistoryVisibility::WorldReadable;
    let joined = UInt::try_from(joined).unwrap_or(UInt::MAX);
    let mut facts = RoomSummary::new(room.id.clone(), rule, guests, joined, world_readable);
    facts.room_version = Some(room.version.clone());
    let facts = Rc::new(described(facts, text));
    server.room_facts.0.borrow_mut().put(room.id.clone(), (read_at, facts.clone()));
    Ok(facts)
}

/// A room as the stripped state says that came with an invite or a knock. How many are in it that does not say: those it
/// shows are.
pub fn of_stripped(room_id: &RoomId, version: Option<&RoomVersionId>, stripped: &[Value]) -> RoomSummary {
    let content = |kind: StateEventType| {
        let kind = kind.to_string();
        let event = stripped.iter().find(|event| event["type"] == *kind && event["state_key"] == "");
        event.map_or(&Value::Null, |event| &event["content"])
    };
    let text = |kind: StateEventType, field: &str| text_in(content(kind), field);
    let rules = version.and_then(|version| room_version::rules(version).ok());
    let rule = serde_json::from_value(content(StateEventType::RoomJoinRules).clone()).ok();
    let rule = rules.map_or(JoinRuleSummary::Invite, |rules| known_rule(rule, &rules.authorization));
    let joins = |event: &&Value| event["type"] == "m.room.member" && event["content"]["membership"] == "join";
    let joined = UInt::try_from(stripped.iter().filter(joins).count()).unwrap_or(UInt::MAX);
    let guests = text(StateEventType::RoomGuestAccess, "guest_access").as_deref() == Some("can_join");
    let visibility = text(StateEventType::RoomHistoryVisibility, "history_visibility");
    let world_readable = visibility.as_deref() == Some("world_readable");
    let mut facts = RoomSummary::new(room_id.to_owned(), rule, guests, joined, world_readable);
    facts.room_version = version.cloned();
    described(facts, text)
}

fn described(mut facts: RoomSummary, text: impl Fn(StateEventType, &str) -> Option<String>) -> RoomSummary {
    facts.name = text(StateEventType::RoomName, "name");
    facts.topic = text(StateEventType::RoomTopic, "topic");
    facts.avatar_url =
        text(StateEventType::RoomAvatar, "url").map(OwnedMxcUri::from).filter(|avatar| avatar.is_valid());
    let alias = text(StateEventType::RoomCanonicalAlias, "alias");
    facts.canonical_alias = alias.and_then(|alias| RoomAliasId::parse(alias).ok());
    facts.room_type = text(StateEventType::RoomCreate, "type").map(RoomType::from);
    facts.encryption = text(StateEventType::RoomEncryption, "algorithm").map(EventEncryptionAlgorithm::from);
    facts
}

/// A text of an event's content that is there and not empty.
fn text_of(pdu: Option<&Pdu>, field: &str) -> Option<String> {
    text_in(&serde_json::from_str(pdu?.content.get()).ok()?, field)
}

fn text_in(content: &Value, field: &str) -> Option<String> {
    content.get(field)?.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

/// The rule as far as the room's version knows it; "invite" without one (specification of `m.room.join_rules`).
fn known_rule(rule: Option<JoinRule>, rules: &AuthorizationRules) -> JoinRuleSummary {
    let known = rule.filter(|rule| match rule {
        JoinRule::Public | JoinRule::Private => true,
        JoinRule::Knock => rules.knocking,
        JoinRule::Restricted(_) => rules.restricted_join_rule,
        JoinRule::KnockRestricted(_) => rules.knock_restricted_join_rule,
        _ => false,
    });
    known.map_or(JoinRuleSummary::Invite, Into::into)
}

/// Whether a room that says this of itself lets everybody know that it is there: it may be joined, knocked on or read by
/// whoever wants.
pub fn is_open(facts: &RoomSummary) -> bool {
    let open = matches!(
        facts.join_rule,
        JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_)
    );
    open || facts.world_readable
}

/// The rooms whose members may join a room that says this of itself.
pub fn allowed_rooms(facts: &RoomSummary) -> &[OwnedRoomId] {
    match &facts.join_rule {
        JoinRuleSummary::Restricted(restricted) | JoinRuleSummary::KnockRestricted(restricted) => {
            &restricted.allowed_room_ids
        }
        _ => &[],
    }
}

/// Whether a local user may know of a room we are in: joined, invited, or let in by its rules. Somebody who is banned is
/// let in by none of them, but may read what everybody may.
pub async fn user_may_know(
    server: &Homeserver,
    room: &Room,
    facts: &RoomSummary,
    user: &UserId,
) -> Result<bool, StoreError> {
    match room.membership(user) {
        Some(MembershipState::Join | MembershipState::Invite) => Ok(true),
        Some(MembershipState::Ban) => Ok(facts.world_readable),
        _ if is_open(facts) => Ok(true),
        _ => user_is_in_any(server, allowed_rooms(facts), user).await,
    }
}

/// Whether a local user is joined to one of the rooms.
pub async fn user_is_in_any(server: &Homeserver, rooms: &[OwnedRoomId], user: &UserId) -> Result<bool, StoreError> {
    if rooms.is_empty() {
        return Ok(false);
    }
    let joined = super::user_rows::joined_rooms(server, user).await?;
    Ok(rooms.iter().any(|room| joined.contains(room)))
}

/// Whether another server may know of a room we are in: one of its users could join, read or knock, or is in it.
pub async fn server_may_know(
    server: &Homeserver,
    room: &Room,
    facts: &RoomSummary,
    origin: &ServerName,
) -> Result<bool, StoreError> {
    if acl::denies_origin(server, room, origin).await? {
        return Ok(false);
    }
    if is_open(facts) || has_user_of(room, origin) {
        return Ok(true);
    }
    for allowed in allowed_rooms(facts) {
        if let Some(allowed) = resident(server, allowed).await?
            && allowed.has_joined_server(origin)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_user_of(room: &Room, origin: &ServerName) -> bool {
    let inside = |membership: &MembershipState| matches!(membership, MembershipState::Join | MembershipState::Invite);
    room.live().members.iter().any(|(user, row)| user.server_name() == origin && inside(&row.membership))
}

/// A room whose state we know as it is now, because a local user is in it.
pub async fn resident(server: &Homeserver, room_id: &RoomId) -> Result<Option<Rc<Room>>, StoreError> {
    let room = server.rooms.get(room_id).await?;
    Ok(room.filter(|room| room.live().resident))
}
