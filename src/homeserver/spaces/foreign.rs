//! Rooms that only other servers know: what those say of them, checked, bounded and remembered for a while.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    rc::Rc,
};

use futures::future::{Either, select};
use lru::LruCache;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    api::federation::space::get_hierarchy::v1::{Request, Response},
    events::{room::member::MembershipState, space::child::HierarchySpaceChildEvent},
    room::{JoinRuleSummary, RoomSummary, RoomType},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{Budget, ChildEvent, SpaceRoom, in_order};
use crate::{
    homeserver::{Homeserver, room_facts, user_rows},
    ports::{Lane, StoreError},
};

/// The most bytes an answer may have.
const ANSWER_MAX_BYTES: usize = 512 << 10;
/// How long one server is waited for.
const ASK_PATIENCE_MS: u64 = 5_000;
/// Servers asked for one room.
const SERVERS_ASKED_MAX: usize = 3;
/// Answers remembered, and for how long.
const ANSWERS_KEPT: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");
const ANSWER_KEPT_MS: u64 = 5 * 60 * 1000;

/// What another server says of a room and its children.
#[derive(Debug)]
pub struct Told {
    pub room: SpaceRoom,
    /// Only rooms that the room names as its children.
    pub children: BTreeMap<OwnedRoomId, Rc<RoomSummary>>,
    pub inaccessible: BTreeSet<OwnedRoomId>,
}

type Asked = (OwnedRoomId, bool);

/// What was answered lately, by room and whether only suggested children were asked for.
pub struct Answers(RefCell<LruCache<Asked, (u64, Rc<Told>)>>);

impl Default for Answers {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(ANSWERS_KEPT)))
    }
}

/// What one of `via`, or another server that should know, says of a room. `None` if none of them tells.
pub async fn ask(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    via: &[OwnedServerName],
    suggested_only: bool,
    budget: &mut Budget,
) -> Result<Option<Rc<Told>>, StoreError> {
    let asked: Asked = (room_id.to_owned(), suggested_only);
    let now_ms = server.environment.clock.now_ms();
    if let Some((at_ms, told)) = server.foreign_spaces.0.borrow_mut().get(&asked)
        && now_ms.saturating_sub(*at_ms) <= ANSWER_KEPT_MS
    {
        return Ok(Some(told.clone()));
    }
    for other in candidates(server, room_id, via).await? {
        if budget.is_spent() {
            break;
        }
        budget.asks -= 1;
        let mut request = Request::new(room_id.to_owned());
        request.suggested_only = suggested_only;
        let asking = Box::pin(server.ask_for_at_most(&other, Lane::Queries, request, ANSWER_MAX_BYTES));
        let patience = select(server.environment.clock.sleep_ms(ASK_PATIENCE_MS), budget.patience.clone());
        let told = match select(asking, patience).await {
            Either::Left((Ok(answer), _)) => check(room_id, suggested_only, answer),
            Either::Left((Err(error), _)) => Err(error.to_string()),
            Either::Right(_) => Err("it did not answer in time".to_owned()),
        };
        match told {
            Ok(told) => {
                let told = Rc::new(told);
                server.foreign_spaces.0.borrow_mut().put(asked, (now_ms, told.clone()));
                return Ok(Some(told));
            }
            Err(error) => tracing::info!(room = %room_id, via = %other, error, "a room is not told of"),
        }
    }
    Ok(None)
}

/// Servers that should know the room: those named, the one in its id, those that were in it when we were; those connected
/// first.
async fn candidates(
    server: &Homeserver,
    room_id: &RoomId,
    via: &[OwnedServerName],
) -> Result<Vec<OwnedServerName>, StoreError> {
    let known = server.rooms.get(room_id).await?.map(|room| room.joined_servers());
    let of_id = room_id.server_name().map(ServerName::to_owned);
    let mut seen = BTreeSet::new();
    let all = via.iter().cloned().chain(of_id).chain(known.into_iter().flatten());
    let mut candidates: Vec<_> =
        all.filter(|name| name != server.server_name() && seen.insert(name.clone())).take(SERVERS_ASKED_MAX).collect();
    let connected = server.environment.transport.connected();
    candidates.sort_by_key(|candidate| !connected.contains(candidate));
    Ok(candidates)
}

/// What of an answer can be believed of the room that was asked about. Children that the room does not name are dropped.
fn check(room_id: &RoomId, suggested_only: bool, answer: Response) -> Result<Told, String> {
    if answer.room.summary.room_id != room_id {
        return Err(format!("it tells of {}", answer.room.summary.room_id));
    }
    let is_space = answer.room.summary.room_type == Some(RoomType::Space);
    let events = if is_space { answer.room.children_state } else { Vec::new() };
    let children = in_order(events.iter().filter_map(child_event).collect(), suggested_only);
    let named: BTreeSet<&OwnedRoomId> = children.iter().map(|child| &child.child.room_id).collect();
    let summaries = answer.children.into_iter().filter(|summary| named.contains(&summary.room_id));
    let summaries = summaries.map(|summary| (summary.room_id.clone(), Rc::new(believable(summary)))).collect();
    let inaccessible = answer.inaccessible_children.into_iter().filter(|id| named.contains(id)).collect();
    let room = SpaceRoom { facts: Rc::new(believable(answer.room.summary)), children };
    Ok(Told { room, children: summaries, inaccessible })
}

fn child_event(raw: &Raw<HierarchySpaceChildEvent>) -> Option<ChildEvent> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        state_key: String,
        sender: OwnedUserId,
        content: Box<RawJsonValue>,
        origin_server_ts: MilliSecondsSinceUnixEpoch,
    }
    let event: Event =
        serde_json::from_str(raw.json().get()).ok().filter(|event: &Event| event.kind == "m.space.child")?;
    ChildEvent::new(&event.state_key, &event.sender, &event.content, event.origin_server_ts)
}

/// A join rule nobody here knows lets nobody in.
fn believable(mut summary: RoomSummary) -> RoomSummary {
    let known = matches!(
        summary.join_rule,
        JoinRuleSummary::Public
            | JoinRuleSummary::Private
            | JoinRuleSummary::Invite
            | JoinRuleSummary::Knock
            | JoinRuleSummary::Restricted(_)
            | JoinRuleSummary::KnockRestricted(_)
    );
    if !known {
        summary.join_rule = JoinRuleSummary::Invite;
    }
    summary
}

/// Whether a user may know of a room that only other servers know: it is open, they are invited, or its rules let members
/// of a room in that they are in.
pub async fn user_may_know(server: &Homeserver, facts: &RoomSummary, user: &UserId) -> Result<bool, StoreError> {
    match user_rows::membership(server, user, &facts.room_id).await?.map(|row| row.membership.clone()) {
        Some(MembershipState::Join | MembershipState::Invite) => Ok(true),
        Some(MembershipState::Ban) => Ok(facts.world_readable),
        _ if room_facts::is_open(facts) => Ok(true),
        _ => room_facts::user_is_in_any(server, room_facts::allowed_rooms(facts), user).await,
    }
}
