//! Letting users of other servers in and out, or knock: templates, and the signed events that come back.
use std::rc::Rc;

use ruma::{
    OwnedEventId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, UserId,
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    Room, acl,
    apart::{self, Apart},
    append::{Append, AppendError, Audience, Placement},
    create::state_draft,
    doorway,
    history::{self, HistoryError},
    membership::member_content,
    policy,
    restricted::{self, AUTHORISED_VIA, RestrictedError},
};
use crate::{
    domain::{
        event::{
            Pdu,
            check::{DropReason, event_id_of, parse_object},
            draft::countersign,
        },
        room::admit::Verdict,
    },
    homeserver::{Homeserver, key_ring::verify, peers::Busy},
    ports::StoreError,
};

#[derive(Debug, Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this server is not in that room")]
    NotInRoom,
    #[error("the room's version, {0}, is not among those you offer")]
    IncompatibleVersion(RoomVersionId),
    #[error("{0}")]
    Forbidden(String),
    #[error(transparent)]
    Apart(#[from] Apart),
    /// The room lets in only who meets its conditions, and this server cannot tell whether or cannot vouch for it.
    #[error(transparent)]
    Restricted(RestrictedError),
    #[error("not a valid membership event: {0}")]
    Dropped(#[from] DropReason),
    #[error("not a valid membership event: {0}")]
    Invalid(&'static str),
    /// The event builds on events we do not have: the template was somebody else's.
    #[error("the event does not follow from a template of this server")]
    Unknown,
    #[error("many servers join just now: ask again in {} ms", .0.retry_after_ms)]
    Busy(Busy),
}

impl From<AppendError> for HandshakeError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            AppendError::Missing(_) => Self::Unknown,
            error @ (AppendError::Draft(_)
            | AppendError::Forbidden(_)
            | AppendError::Unresolvable(_)
            | AppendError::Policy(_)) => Self::Forbidden(error.to_string()),
        }
    }
}

impl From<Busy> for HandshakeError {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

impl From<RestrictedError> for HandshakeError {
    fn from(error: RestrictedError) -> Self {
        match error {
            RestrictedError::Store(error) => Self::Store(error),
            RestrictedError::NotEntitled => Self::Forbidden(error.to_string()),
            error @ (RestrictedError::Unverifiable | RestrictedError::NobodyToGrant) => Self::Restricted(error),
        }
    }
}

/// A membership event for `user` to sign: room version and unsigned event.
pub async fn template(
    server: &Homeserver,
    room_id: &RoomId,
    user: &OwnedUserId,
    membership: MembershipState,
    versions: Option<&[RoomVersionId]>,
    origin: &OwnedServerName,
) -> Result<(RoomVersionId, Box<RawJsonValue>), HandshakeError> {
    let room = open_room(server, room_id, origin).await?;
    if membership != MembershipState::Leave {
        apart::in_room(server, &room, origin)?;
    }
    if user.server_name() != origin {
        return Err(HandshakeError::Forbidden("you may ask for users of your own server only".to_owned()));
    }
    if versions.is_some_and(|versions| !versions.contains(&room.version)) {
        return Err(HandshakeError::IncompatibleVersion(room.version.clone()));
    }
    let is_full = membership == MembershipState::Join && server.doorway.is_full();
    let mut content = member_content(membership.clone(), None);
    let append = Append::begin(server, &room).await;
    if membership == MembershipState::Join
        && let Some(granter) = restricted::authorise(&append, user).await?
    {
        content.insert(AUTHORISED_VIA.to_owned(), granter.to_string().into());
    }
    // Signed only to be judged; the template goes out without our signature.
    let draft = state_draft(&room.id, user, StateEventType::RoomMember, user.to_string(), content);
    let mut template = append.seal(draft).await?.object(&room.rules);
    if is_full {
        // Only now, as who is in the room is nothing for those whom it does not let in.
        return Err(doorway::turn_away(server, &room, origin).into());
    }
    // Where events say their ids, who signs it names it.
    ["signatures", "hashes", "event_id"].into_iter().for_each(|field| template.remove(field));
    // Whose template it is, says the specification; nothing follows from it.
    template.set_text("origin", server.server_name().as_str());
    let json = RawJsonValue::from_string(template.to_json()).expect("it is JSON");
    Ok((room.version.clone(), json))
}

/// What a server that joined through us needs: the state before its join and what that rests on.
pub struct Welcome {
    pub event: Rc<Pdu>,
    /// Who was in the room before.
    pub servers: Vec<OwnedServerName>,
    pub state: Vec<Rc<Pdu>>,
    pub auth_chain: Vec<Rc<Pdu>>,
}

/// Takes in a signed join. The same join again gets the same answer. With `omit_members` the answer leaves out of the state
/// the members whom nobody needs to name the room.
pub async fn accept_join(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    event_id: &OwnedEventId,
    event: &RawJsonValue,
    origin: &OwnedServerName,
    omit_members: bool,
) -> Result<Welcome, HandshakeError> {
    let room = open_room(server, room_id, origin).await?;
    apart::in_room(server, &room, origin)?;
    let _inside = doorway::pass(server, origin).await?;
    let servers = room.joined_servers().into_iter().collect();
    let vouched = vouched(server, &room, event)?;
    let event = vouched.as_deref().unwrap_or(event);
    let pdu = check_membership(server, &room, event_id, event, MembershipState::Join, origin)?;
    append_membership(server, &room, pdu, origin).await?;
    let unavailable = |error: HistoryError| match error {
        HistoryError::Store(error) => HandshakeError::Store(error),
        HistoryError::NotFound | HistoryError::Forbidden(_) => HandshakeError::Unknown,
    };
    let told = match omit_members {
        true => history::state_without_members(server, &room, event_id).await,
        false => history::state_before(server, &room, event_id).await,
    };
    let (state, auth_chain) = told.map_err(unavailable)?;
    let event = server.rooms.events.get(event_id).await?.ok_or(HandshakeError::Unknown)?;
    Ok(Welcome {
        event: event.pdu.clone(),
        servers,
        state: history::pdus(server, &state).await.map_err(unavailable)?,
        auth_chain: history::pdus(server, &auth_chain).await.map_err(unavailable)?,
    })
}

/// Takes in a signed leave: of a member, or of somebody who declines an invite.
pub async fn accept_leave(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    event_id: &OwnedEventId,
    event: &RawJsonValue,
    origin: &OwnedServerName,
) -> Result<(), HandshakeError> {
    let room = open_room(server, room_id, origin).await?;
    let pdu = check_membership(server, &room, event_id, event, MembershipState::Leave, origin)?;
    append_membership(server, &room, pdu, origin).await
}

/// Takes in a signed knock; answers with what the knocker gets to know of the room.
pub async fn accept_knock(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    event_id: &OwnedEventId,
    event: &RawJsonValue,
    origin: &OwnedServerName,
) -> Result<Vec<Rc<Pdu>>, HandshakeError> {
    let room = open_room(server, room_id, origin).await?;
    let pdu = check_membership(server, &room, event_id, event, MembershipState::Knock, origin)?;
    append_membership(server, &room, pdu.clone(), origin).await?;
    let append = Append::begin(server, &room).await;
    Ok(append.stripped_events(&Rc::new(pdu)).await?)
}

async fn open_room(
    server: &Homeserver,
    room_id: &RoomId,
    origin: &OwnedServerName,
) -> Result<Rc<Room>, HandshakeError> {
    let room = server.rooms.get(room_id).await?.ok_or(HandshakeError::NotInRoom)?;
    if !room.live().resident {
        return Err(HandshakeError::NotInRoom);
    }
    if acl::denies_origin(server, &room, origin).await? {
        return Err(HandshakeError::Forbidden("your server is denied by the room's ACL".to_owned()));
    }
    Ok(room)
}

/// The join with our signature, where it names a user of ours as who authorised it; without ours it would be nobody's.
/// Whether we do authorise it is decided when it is appended, and until then it goes nowhere.
fn vouched(
    server: &Homeserver,
    room: &Room,
    event: &RawJsonValue,
) -> Result<Option<Box<RawJsonValue>>, HandshakeError> {
    let object = parse_object(event, &room.rules)?;
    let named = object.fields().get("content").and_then(|content| content.as_object()?.get(AUTHORISED_VIA));
    let Some(named) = named.filter(|_| room.rules.authorization.restricted_join_rule) else { return Ok(None) };
    let ours = named.as_str().and_then(|named| UserId::parse(named).ok());
    if ours.is_none_or(|user| user.server_name() != server.server_name()) {
        return Err(HandshakeError::Invalid("it is authorised by nobody of this server"));
    }
    let event_id = event_id_of(&object, &room.rules)?;
    let pdu = Pdu::from_canonical(event_id, object.to_json(), &room.rules)
        .map_err(|_| HandshakeError::Invalid("it is malformed"))?;
    let signed =
        countersign(&pdu, &server.identity, &room.rules).map_err(|_| HandshakeError::Invalid("it cannot be signed"))?;
    Ok(Some(signed.raw()))
}

fn check_membership(
    server: &Homeserver,
    room: &Room,
    event_id: &OwnedEventId,
    event: &RawJsonValue,
    membership: MembershipState,
    origin: &OwnedServerName,
) -> Result<Pdu, HandshakeError> {
    let checked = verify::check_known(server, event, &room.id, &room.rules)?;
    if checked.redacted {
        return Err(HandshakeError::Invalid("its content is not what was hashed"));
    }
    let pdu = checked.pdu;
    if pdu.event_id != *event_id {
        return Err(HandshakeError::Invalid("the event has another id"));
    }
    if pdu.membership() != Some(membership) {
        return Err(HandshakeError::Invalid("it has another membership"));
    }
    if pdu.target() != Some(&pdu.sender) {
        return Err(HandshakeError::Invalid("it is about somebody else than its sender"));
    }
    if pdu.sender.server_name() != origin {
        return Err(HandshakeError::Forbidden("the user is not of your server".to_owned()));
    }
    Ok(pdu)
}

async fn append_membership(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    pdu: Pdu,
    origin: &OwnedServerName,
) -> Result<(), HandshakeError> {
    let mut pdus = [pdu];
    policy::ask_for(server, room, &mut pdus).await?;
    let [pdu] = pdus;
    let mut append = Append::begin(server, room).await;
    match append.event(&pdu.event_id).await? {
        Some(known) if known.is_accepted() && !known.is_outlier() => return Ok(()),
        Some(known) if !known.is_outlier() => {
            return Err(HandshakeError::Forbidden("the event was refused before".to_owned()));
        }
        _ => {}
    }
    if pdu.membership() == Some(MembershipState::Join) {
        restricted::authorise(&append, &pdu.sender).await?;
    }
    // What the other server is about to believe must not be forgotten here.
    append.make_strict();
    let audience = Audience::Room { except: Some(origin.clone()) };
    match append.receive(pdu, Placement::Live, audience).await? {
        Verdict::Accepted => Ok(append.commit().await?),
        Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => Err(HandshakeError::Forbidden(rule)),
    }
}
