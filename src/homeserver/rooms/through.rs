//! Changing a membership through a server that is in the room: which servers, how patiently, and what of their template is
//! believed.
mod turns;

use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId,
    RoomVersionId, ServerName, UserId,
    api::federation::membership::{create_leave_event, prepare_leave_event},
    events::{TimelineEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue as RawJsonValue;

use self::turns::{SERVERS_TRIED_MAX, Turns};
use super::{apart, create::now, join::JoinError, membership::member_content, restricted::AUTHORISED_VIA};
use crate::{
    domain::{
        event::{Pdu, draft::seal_template, object::EventObject, reference},
        room_version,
    },
    homeserver::{Homeserver, peers::Busy, refusals},
    ports::{Lane, Reach},
    storage::tables::Memberships,
};

/// How often one server is asked again when the connection breaks, and the wait before each time.
const ATTEMPTS_PER_SERVER: u64 = 4;
const RETRY_WAIT_MS: u64 = 500;
/// Up to so many milliseconds more than a busy server says are waited, so that those it told the same do not come together.
const BUSY_JITTER_MS: u64 = 1_000;
/// The most `prev_events` or `auth_events` a template may name.
const TEMPLATE_REFERENCES_MAX: usize = 20;

/// Leaves or declines through a server that is in the room; answers with the leave event's id.
pub async fn leave_through(
    server: &Rc<Homeserver>,
    room_id: &OwnedRoomId,
    user: &OwnedUserId,
    via: &OwnedServerName,
    reason: Option<String>,
) -> Result<OwnedEventId, JoinError> {
    let request = prepare_leave_event::v1::Request::new(room_id.clone(), user.clone());
    let template = server.ask(via, Lane::Queries, request).await.map_err(JoinError::Peer)?;
    let version = template.room_version.unwrap_or(RoomVersionId::V1);
    let rules = room_version::rules(&version).map_err(|_| JoinError::Version(version))?;
    let content = member_content(MembershipState::Leave, reason);
    let pdu = complete(server, &template.event, room_id, user, content, &rules, via)?;
    let request = create_leave_event::v2::Request::new(room_id.clone(), pdu.event_id.clone(), pdu.raw());
    server.ask(via, Lane::Queries, request).await.map_err(JoinError::Peer)?;
    Ok(pdu.event_id)
}

/// Who may let us in: those named, the inviters' servers, the server in the room id, those that were in the room when we
/// left it; those there is a way to now first. Errs where there will be a way to none of them.
pub(super) async fn candidates(
    server: &Homeserver,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &[OwnedServerName],
) -> Result<Vec<OwnedServerName>, JoinError> {
    let invited = server.database.get::<Memberships>(&(user.clone(), room_id.to_owned())).await?;
    let invited = invited.filter(|row| row.membership == MembershipState::Invite);
    let earlier = invited.as_ref().and_then(|row| row.earlier_invite.as_deref());
    let inviters: Vec<_> = invited.iter().chain(earlier).map(|row| row.sender.server_name().to_owned()).collect();
    let known = server.rooms.get(room_id).await?.map(|room| room.joined_servers());
    let mut seen = BTreeSet::new();
    let mut candidates: Vec<OwnedServerName> = via
        .iter()
        .cloned()
        .chain(inviters)
        .chain(room_id.server_name().map(ServerName::to_owned))
        .chain(known.into_iter().flatten())
        .filter(|candidate| candidate != server.server_name() && seen.insert(candidate.clone()))
        .take(SERVERS_TRIED_MAX)
        .collect();
    candidates.sort_by_key(|candidate| server.environment.transport.reach(candidate) != Reach::Now);
    Ok(apart::reachable(server, candidates)?)
}

pub(super) async fn ask_patiently<R>(
    server: &Rc<Homeserver>,
    via: &OwnedServerName,
    request: impl Fn() -> R,
) -> Result<R::IncomingResponse, JoinError>
where
    R: ruma::api::OutgoingRequest<PathBuilder = ruma::api::path_builder::SinglePath>,
    for<'a> R::Authentication:
        ruma::api::auth_scheme::AuthScheme<Input<'a> = ruma::api::federation::authentication::XMatrixSigningInput<'a>>,
    R::EndpointError: std::fmt::Display,
{
    let mut attempt = 1;
    loop {
        match server.ask(via, Lane::Queries, request()).await {
            Ok(response) => return Ok(response),
            // One that says when it has time is not asked before, and others may have some.
            Err(error) if error.is_temporary() && error.busy().is_none() && attempt < ATTEMPTS_PER_SERVER => {
                tracing::info!(%via, %error, attempt, "asking again");
                server.environment.clock.sleep_ms(RETRY_WAIT_MS * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(JoinError::Peer(error)),
        }
    }
}

/// Who of `via` authorises the join, in a room that lets in only who meets its conditions.
pub(super) fn authorised_by(
    template: &RawJsonValue,
    rules: &RoomVersionRules,
    via: &OwnedServerName,
) -> Result<Option<OwnedUserId>, JoinError> {
    #[derive(serde::Deserialize)]
    struct Template {
        #[serde(default)]
        content: serde_json::Map<String, serde_json::Value>,
    }
    let named = serde_json::from_str::<Template>(template.get()).ok();
    let named = named.and_then(|template| template.content.get(AUTHORISED_VIA).cloned());
    let Some(named) = named.filter(|_| rules.authorization.restricted_join_rule) else { return Ok(None) };
    let granter = named.as_str().and_then(|named| UserId::parse(named).ok());
    match granter.filter(|granter| granter.server_name() == via) {
        Some(granter) => Ok(Some(granter)),
        None => {
            let reason = "the template is authorised by nobody of this server".to_owned();
            Err(JoinError::Dishonest { server: via.clone(), reason })
        }
    }
}

/// What the first of `servers` gives that `through` succeeds with. Those that have no time are asked again when they have
/// some, and so are the others they name. Where none succeeds, errs with what the last one said, but
/// rather with a verdict than with a failure to ask; `last` is what was said before any was asked.
pub(super) async fn first_of<T>(
    server: &Homeserver,
    room_id: &RoomId,
    servers: Vec<OwnedServerName>,
    mut last: JoinError,
    through: impl AsyncFn(&OwnedServerName) -> Result<T, JoinError>,
) -> Result<T, JoinError> {
    let mut turns = Turns::new(servers);
    while let Some((via, wait_ms)) = turns.next() {
        if wait_ms > 0 {
            server.environment.clock.sleep_ms(wait_ms).await;
        }
        match through(&via).await {
            Ok(taken) => return Ok(taken),
            Err(error @ (JoinError::Store(_) | JoinError::Version(_))) => return Err(error),
            Err(error) => {
                if let JoinError::Dishonest { reason, .. } = &error {
                    refusals::note(server, &via, &format!("its way into {room_id}"), reason);
                }
                tracing::info!(room = %room_id, %via, %error, "this server did not let us through");
                if let JoinError::Peer(error) = &error
                    && let Some(Busy { retry_after_ms, others }) = error.busy()
                {
                    let reachable = apart::reachable(server, others.clone());
                    turns.add(
                        reachable
                            .unwrap_or_default()
                            .into_iter()
                            .filter(|other| other != server.server_name())
                            .collect(),
                    );
                    turns.put_off(via, retry_after_ms.saturating_add(server.random_below(BUSY_JITTER_MS)));
                }
                if error.is_verdict() || !last.is_verdict() {
                    last = error;
                }
            }
        }
    }
    Err(last)
}

/// Our own membership event in the place the template gives: it must be a template for this event, and only what places
/// it in the room is taken from it.
pub(super) fn complete(
    server: &Homeserver,
    template: &RawJsonValue,
    room_id: &OwnedRoomId,
    user: &OwnedUserId,
    content: CanonicalJsonObject,
    rules: &RoomVersionRules,
    via: &OwnedServerName,
) -> Result<Pdu, JoinError> {
    let dishonest = |reason: &str| JoinError::Dishonest { server: via.clone(), reason: reason.to_owned() };
    let template = EventObject::parse(template.get(), rules)
        .map_err(|_| dishonest("the template is not JSON as its room version allows it"))?;
    let depth = depth_of(&template).ok_or_else(|| dishonest("the template has no depth"))?;
    let template = template.fields();
    let membership = content.get("membership").and_then(CanonicalJsonValue::as_str).unwrap_or_default();
    check_template(template, room_id, user, membership).map_err(dishonest)?;
    let references = |field: &str| match template.get(field) {
        Some(named @ CanonicalJsonValue::Array(list))
            if list.len() <= TEMPLATE_REFERENCES_MAX && reference::are_references(list, rules) =>
        {
            Ok(named.clone())
        }
        _ => Err(dishonest("the template does not say which events it follows")),
    };
    let event = CanonicalJsonObject::from([
        ("room_id".to_owned(), room_id.to_string().into()),
        ("sender".to_owned(), user.to_string().into()),
        ("state_key".to_owned(), user.to_string().into()),
        ("type".to_owned(), TimelineEventType::RoomMember.to_string().into()),
        ("content".to_owned(), content.into()),
        ("origin_server_ts".to_owned(), CanonicalJsonValue::Integer(now(server).get().into())),
        ("prev_events".to_owned(), references("prev_events")?),
        ("auth_events".to_owned(), references("auth_events")?),
    ]);
    let mut event = EventObject::from(event);
    event.set_depth(depth, rules);
    Ok(seal_template(event, &server.identity, rules)?)
}

fn depth_of(template: &EventObject) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Template {
        depth: u64,
    }
    serde_json::from_str::<Template>(&template.to_json()).ok().map(|template| template.depth)
}

/// What must be so of a template before anything made of it is signed (server-server API, make_join, make_knock and
/// make_leave).
fn check_template(
    template: &CanonicalJsonObject,
    room_id: &RoomId,
    user: &UserId,
    membership: &str,
) -> Result<(), &'static str> {
    let is = |field: &str, expected: &str| template.get(field).and_then(|value| value.as_str()) == Some(expected);
    let content = template.get("content").and_then(|content| content.as_object());
    let offered = content.and_then(|content| content.get("membership")).and_then(|offered| offered.as_str());
    if !is("room_id", room_id.as_str()) {
        return Err("the template is for another room");
    }
    if !is("sender", user.as_str()) || !is("state_key", user.as_str()) {
        return Err("the template is for another user");
    }
    if !is("type", "m.room.member") || offered != Some(membership) {
        return Err("the template is for another event");
    }
    Ok(())
}
