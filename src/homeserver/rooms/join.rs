//! Joining: here if we are in the room and may let the user in, else through a server that is and may. Nothing such a
//! server answers is believed unchecked.
mod under_way;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId,
    api::federation::membership::{create_join_event, prepare_join_event},
    events::{StateEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

pub use self::under_way::Joins;
use super::{
    Room,
    apart::Apart,
    append::{Append, AppendError, Audience, Placement},
    create::state_draft,
    ingest,
    membership::{member_content, profile_content},
    policy, purge,
    restricted::{self, AUTHORISED_VIA, RestrictedError},
    send::SendError,
    succession,
    through::{ask_patiently, authorised_by, candidates, complete, first_of},
};
use crate::{
    domain::{
        event::{Pdu, create_event_id, draft::DraftError},
        room::{
            admit::{Verdict, admit_by_auth_events},
            resolve::StateMap,
        },
        room_version,
    },
    homeserver::{Homeserver, key_ring::verify, peers::PeerError, refusals},
    ports::StoreError,
    storage::tables::Users,
};

/// The most events a send_join answer may hold.
const JOIN_EVENTS_MAX: usize = 100_000;
/// Events checked before other work gets a turn.
const CHECKS_PER_SLICE: usize = 20;
/// Events judged by those they cite before other work gets a turn.
pub(super) const JUDGED_PER_SLICE: usize = 100;

#[derive(Clone, Debug, Error)]
pub enum JoinError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(AppendError),
    /// The room lets in only who meets its conditions, which says nothing of what another server could do.
    #[error(transparent)]
    Restricted(RestrictedError),
    #[error("no server is known that could let you in")]
    NoServer,
    #[error(transparent)]
    Apart(#[from] Apart),
    /// Every server was asked; this is what the last one said.
    #[error(transparent)]
    Peer(PeerError),
    #[error("the room has version {0}, which is not supported")]
    Version(RoomVersionId),
    /// A server answered something that is not this room.
    #[error("{server} answered wrongly: {reason}")]
    Dishonest { server: OwnedServerName, reason: String },
}

impl From<AppendError> for JoinError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            other => Self::Append(other),
        }
    }
}

impl From<RestrictedError> for JoinError {
    fn from(error: RestrictedError) -> Self {
        match error {
            RestrictedError::Store(error) => Self::Store(error),
            other => Self::Restricted(other),
        }
    }
}

impl JoinError {
    /// Whether somebody in the room said why not, other than that nothing could be done about it.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::Peer(PeerError::Refused { busy: None, .. }) | Self::Append(_) | Self::Restricted(_) => true,
            Self::Store(_)
            | Self::NoServer
            | Self::Apart(_)
            | Self::Peer(_)
            | Self::Version(_)
            | Self::Dishonest { .. } => false,
        }
    }
}

impl From<SendError> for JoinError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Store(error) => Self::Store(error),
            SendError::Append(error) => Self::Append(error),
            SendError::NotInRoom => Self::NoServer,
            SendError::Relation(error) => Self::Append(AppendError::Forbidden(error.to_string())),
        }
    }
}

impl From<DraftError> for JoinError {
    fn from(error: DraftError) -> Self {
        Self::Append(error.into())
    }
}

/// Joins `user` to the room, through one of `via` if this server is not in it or may not let the user in. Asked again
/// meanwhile, it is the same join.
pub async fn join(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &[OwnedServerName],
    reason: Option<String>,
) -> Result<(), JoinError> {
    let asked = (room_id.to_owned(), user.clone(), via.to_vec());
    let (joining, (room_id, user, via)) = (server.clone(), asked.clone());
    let join = async move {
        let was_in = joining.rooms.get(&room_id).await?.is_some_and(|room| room.is_joined(&user));
        enter(&joining, &room_id, &user, &via, reason).await?;
        if !was_in {
            succession::carry_over(&joining, &room_id, &user).await;
        }
        Ok(())
    };
    server.joins.once(asked, Box::pin(join)).await
}

async fn enter(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &[OwnedServerName],
    reason: Option<String>,
) -> Result<(), JoinError> {
    let mut content = member_content(MembershipState::Join, reason);
    content.extend(profile_content(server, user).await?);
    let mut last = JoinError::NoServer;
    if let Some(room) = server.rooms.get(room_id).await?
        && room.live().resident
    {
        match join_here(server, &room, user, content.clone()).await {
            // Another server in the room may know more, or have somebody there who may invite.
            Err(error @ JoinError::Restricted(RestrictedError::Unverifiable | RestrictedError::NobodyToGrant)) => {
                last = error;
            }
            joined => return joined,
        }
    }
    // Two joins of the same room at once would import it twice.
    let lock = server.joins.lock_of(room_id);
    let _joining = lock.lock().await;
    if server.rooms.get(room_id).await?.is_some_and(|room| room.is_joined(user)) {
        return Ok(());
    }
    purge::finish(server, room_id).await?;
    let servers = candidates(server, room_id, user, via).await?;
    first_of(server, room_id, servers, last, async |via| join_through(server, room_id, user, via, &content).await).await
}

/// Joins a room that a local user is in, if we may let the user in.
async fn join_here(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    user: &OwnedUserId,
    mut content: CanonicalJsonObject,
) -> Result<(), JoinError> {
    let append = Append::begin(server, room).await;
    if append.live.members.get(user).is_some_and(|member| member.membership == MembershipState::Join) {
        return Ok(());
    }
    if let Some(granter) = restricted::authorise(&append, user).await? {
        content.insert(AUTHORISED_VIA.to_owned(), granter.to_string().into());
    }
    let draft = state_draft(&room.id, user, StateEventType::RoomMember, user.to_string(), content);
    let (mut append, pdu) = policy::sealed(server, room, append, draft).await?;
    append.make_strict();
    append.append_local(pdu, None).await?;
    Ok(append.commit().await?)
}

async fn join_through(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &OwnedServerName,
    content: &CanonicalJsonObject,
) -> Result<(), JoinError> {
    let mut request = prepare_join_event::v1::Request::new(room_id.to_owned(), user.clone());
    request.ver = room_version::SUPPORTED.to_vec();
    let template = ask_patiently(server, via, || request.clone()).await?;
    let version = template.room_version.unwrap_or(RoomVersionId::V1);
    let rules = room_version::rules(&version).map_err(|_| JoinError::Version(version.clone()))?;
    let room_id = room_id.to_owned();
    let mut content = content.clone();
    let granter = authorised_by(&template.event, &rules, via)?;
    if let Some(granter) = &granter {
        content.insert(AUTHORISED_VIA.to_owned(), granter.to_string().into());
    }
    let mut pdu = complete(server, &template.event, &room_id, user, content, &rules, via)?;
    let request = create_join_event::v2::Request::new(room_id.clone(), pdu.event_id.clone(), pdu.raw());
    // The same event again is the same join, so a connection that breaks in the middle costs a retry, not the join.
    let answer = ask_patiently(server, via, || request.clone()).await?.room_state;
    if answer.members_omitted {
        // It was not asked to: without its members the state of the room is not known, and nothing may rest on it.
        let reason = "it left out the members of the room".to_owned();
        return Err(JoinError::Dishonest { server: via.clone(), reason });
    }
    if granter.is_some() {
        pdu = countersigned(server, &pdu, answer.event.as_deref(), &rules, via).await?;
    }
    if let Some(room) = server.rooms.get(&room_id).await?
        && room.live().resident
    {
        return follow(server, &room, user, &pdu, via).await;
    }
    let import = Import::check(server, via, &room_id, &version, rules, pdu, answer.state, answer.auth_chain).await?;
    import.write(server).await
}

/// Our join with the signature of the server that authorised it, without which nobody takes it.
async fn countersigned(
    server: &Rc<Homeserver>,
    pdu: &Pdu,
    answered: Option<&RawJsonValue>,
    rules: &RoomVersionRules,
    via: &OwnedServerName,
) -> Result<Pdu, JoinError> {
    let dishonest = |reason: String| JoinError::Dishonest { server: via.clone(), reason };
    let answered = answered.ok_or_else(|| dishonest("it did not send back the join it authorised".to_owned()))?;
    let checked = verify::check_received(server, answered, &pdu.room_id, rules)
        .await
        .map_err(|error| dishonest(error.to_string()))?;
    if checked.pdu.event_id != pdu.event_id || checked.redacted {
        return Err(dishonest("it signed another join than the one it was sent".to_owned()));
    }
    Ok(checked.pdu)
}

/// Takes in the join of a user to a room that others of ours are in: the room goes on, it is not imported anew.
async fn follow(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    user: &OwnedUserId,
    join: &Pdu,
    via: &OwnedServerName,
) -> Result<(), JoinError> {
    ingest::ingest(server, room, vec![join.raw()], via).await?;
    if room.is_joined(user) {
        return Ok(());
    }
    let reason = "the join it accepted does not follow from the room as it is known here".to_owned();
    Err(JoinError::Dishonest { server: via.clone(), reason })
}

/// A room as a peer gave it, every event checked and judged.
struct Import {
    via: OwnedServerName,
    room_id: OwnedRoomId,
    version: RoomVersionId,
    rules: Rc<RoomVersionRules>,
    create_event: OwnedEventId,
    /// State and auth chain in an order in which each event follows those it cites.
    events: Vec<(Pdu, Verdict)>,
    state: StateMap,
    join: Pdu,
}

impl Import {
    #[expect(clippy::too_many_arguments, reason = "it is what the answer to a join consists of")]
    async fn check(
        server: &Rc<Homeserver>,
        via: &OwnedServerName,
        room_id: &OwnedRoomId,
        version: &RoomVersionId,
        rules: RoomVersionRules,
        join: Pdu,
        state: Vec<Box<RawJsonValue>>,
        auth_chain: Vec<Box<RawJsonValue>>,
    ) -> Result<Self, JoinError> {
        let dishonest = |reason: String| JoinError::Dishonest { server: via.clone(), reason };
        if state.len() + auth_chain.len() > JOIN_EVENTS_MAX {
            return Err(dishonest("it sent too many events".to_owned()));
        }
        verify::prefetch(server, state.iter().chain(&auth_chain).map(|raw| &**raw), &rules).await;
        let mut checked: BTreeMap<OwnedEventId, Pdu> = BTreeMap::new();
        let mut in_state = Vec::new();
        for (index, raw) in state.iter().chain(&auth_chain).enumerate() {
            if index % CHECKS_PER_SLICE == 0 {
                server.environment.clock.yield_now().await;
            }
            match verify::check_known(server, raw, room_id, &rules) {
                Ok(event) => {
                    if index < state.len() {
                        in_state.push(event.pdu.event_id.clone());
                    }
                    checked.insert(event.pdu.event_id.clone(), event.pdu);
                }
                // One bad event is that event's problem, unless something needs it, which shows below.
                Err(error) => refusals::note(server, via, &format!("an event of {room_id} it gave"), &error),
            }
        }
        let mut state_map = StateMap::new();
        for event_id in in_state {
            if let Some(key) = checked[&event_id].state_map_key()
                && state_map.insert(key, event_id).is_some()
            {
                return Err(dishonest("its state names one place twice".to_owned()));
            }
        }
        let create_event = state_map
            .get(&(StateEventType::RoomCreate, String::new()))
            .cloned()
            .ok_or_else(|| dishonest("the state has no create event".to_owned()))?;
        check_create(&checked[&create_event], room_id, version, &rules).map_err(dishonest)?;
        let create = Rc::new(checked[&create_event].clone());
        let events = judge(server, checked, &create, &rules).await;
        let mut rejected = BTreeSet::new();
        for (event, verdict) in &events {
            if let Verdict::Rejected { rule } | Verdict::SoftFailed { rule } = verdict {
                refusals::note(server, via, &event.event_id, rule);
                rejected.insert(event.event_id.clone());
            }
        }
        // What the rules refuse was never state.
        state_map.retain(|_, event_id| !rejected.contains(event_id));
        if !state_map.contains_key(&(StateEventType::RoomCreate, String::new())) {
            return Err(dishonest("its create event is not allowed".to_owned()));
        }
        let known: BTreeSet<_> = events.iter().map(|(event, _)| event.event_id.clone()).collect();
        state_map.retain(|_, event_id| known.contains(event_id));
        let (room_id, version) = (room_id.clone(), version.clone());
        let via = via.clone();
        Ok(Self { via, room_id, version, rules: Rc::new(rules), create_event, events, state: state_map, join })
    }

    fn dishonest(&self, reason: &str) -> JoinError {
        JoinError::Dishonest { server: self.via.clone(), reason: reason.to_owned() }
    }

    /// Makes it a room of ours, or brings the copy from an earlier stay up to date.
    async fn write(self, server: &Rc<Homeserver>) -> Result<(), JoinError> {
        let existing = server.rooms.get(&self.room_id).await?;
        let another = |room: &Rc<Room>| room.version != self.version || room.create_event != self.create_event;
        if existing.as_ref().is_some_and(another) {
            return Err(self.dishonest("this is not the room we were in"));
        }
        let mut append = match &existing {
            Some(room) => Append::begin(server, room).await,
            None => {
                let Self { room_id, version, rules, create_event, .. } = &self;
                Append::begin_room(server, room_id.clone(), version, rules.clone(), create_event.clone()).await?
            }
        };
        append.make_strict();
        for (event, verdict) in self.events {
            if append.event(&event.event_id).await?.is_none() && !append.is_taken(&event.event_id) {
                append.add_outlier(event, &verdict);
            }
        }
        let state = server.rooms.states.snapshot(&self.state, &mut append.batch).await?;
        append.adopt_state(state.clone()).await?;
        let verdict = match append.receive_at(self.join, state, Placement::Live, Audience::Nobody).await {
            Err(AppendError::Missing(_) | AppendError::Unresolvable(_)) => {
                let reason = "its answer lacks events that the join rests on".to_owned();
                return Err(JoinError::Dishonest { server: self.via, reason });
            }
            verdict => verdict?,
        };
        match verdict {
            Verdict::Accepted => Ok(append.commit().await?),
            Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => {
                Err(AppendError::Forbidden(format!("the room's state does not let you in: {rule}")).into())
            }
        }
    }
}

fn check_create(
    create: &Pdu,
    room_id: &RoomId,
    version: &RoomVersionId,
    rules: &RoomVersionRules,
) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Content {
        room_version: Option<RoomVersionId>,
    }
    let content: Content = serde_json::from_str(create.content.get()).map_err(|error| error.to_string())?;
    if content.room_version.unwrap_or(RoomVersionId::V1) != *version {
        return Err("the create event has another room version".to_owned());
    }
    let named = rules.authorization.room_create_event_id_as_room_id;
    if named && create_event_id(room_id).as_ref() != Some(&create.event_id) {
        return Err("the create event is not the one the room is named after".to_owned());
    }
    Ok(())
}

/// Judges every event by those it cites, in an order in which those come first. Events that cite something absent, or
/// each other in a circle, are left out.
async fn judge(
    server: &Homeserver,
    mut events: BTreeMap<OwnedEventId, Pdu>,
    create: &Rc<Pdu>,
    rules: &RoomVersionRules,
) -> Vec<(Pdu, Verdict)> {
    let mut judged: BTreeMap<OwnedEventId, Rc<Pdu>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut waiting: BTreeMap<OwnedEventId, Vec<OwnedEventId>> = BTreeMap::new();
    let mut open: BTreeMap<OwnedEventId, usize> = BTreeMap::new();
    let mut ready = Vec::new();
    for (id, event) in &events {
        let cited: BTreeSet<_> = event.auth_events.iter().collect();
        for cited in &cited {
            waiting.entry((*cited).clone()).or_default().push(id.clone());
        }
        match cited.len() {
            0 => ready.push(id.clone()),
            count => drop(open.insert(id.clone(), count)),
        }
    }
    while let Some(id) = ready.pop() {
        let Some(mut event) = events.remove(&id) else { continue };
        if order.len() % JUDGED_PER_SLICE == JUDGED_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        let cited: Vec<Rc<Pdu>> = event.auth_events.iter().filter_map(|id| judged.get(id).cloned()).collect();
        let verdict = admit_by_auth_events(&event, rules, &cited, Some(create.clone()))
            .unwrap_or_else(|_| Verdict::Rejected { rule: "it cites events that do not exist".to_owned() });
        event.rejected = verdict != Verdict::Accepted;
        judged.insert(id.clone(), Rc::new(event.clone()));
        order.push((event, verdict));
        for follower in waiting.remove(&id).unwrap_or_default() {
            if let Some(count) = open.get_mut(&follower) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&follower);
                    ready.push(follower);
                }
            }
        }
    }
    order
}

/// Whether a local account exists; a name of this server alone says nothing.
pub async fn is_local_user(server: &Homeserver, user: &OwnedUserId) -> Result<bool, StoreError> {
    let ours = user.server_name() == server.server_name();
    Ok(ours && server.database.get::<Users>(user).await?.is_some())
}
