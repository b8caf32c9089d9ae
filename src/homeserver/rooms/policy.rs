//! Asking a room's policy server (server-server API, "Policy Servers"): events of ours are sent once it has signed them, and
//! for what comes without its signature it is asked before that is soft-failed. About history whoever the room named then is asked.
use std::{collections::BTreeMap, rc::Rc};

use futures::{
    StreamExt,
    future::{Either, select},
    stream,
};
use ruma::{
    OwnedEventId, ServerName,
    api::federation::policy::sign_event,
    events::{StateEventType, room::member::MembershipState},
};
use thiserror::Error;

use super::{
    Live, Room,
    append::{Append, AppendError},
    history,
};
use crate::{
    domain::{
        event::{
            Pdu,
            draft::{Draft, DraftError},
        },
        room::policy::{POLICY, PolicyServer},
    },
    homeserver::{Homeserver, peers::PeerError, states::State},
    ports::{Lane, StoreError},
};

/// How long a policy server is waited for: by a user who sends something, and by a peer whose events it did not sign.
pub const SIGN_WAIT_MAX_MS: u64 = 20_000;
/// The most bytes its answer may have: signatures of one event.
const SIGN_ANSWER_MAX_BYTES: usize = 16 << 10;
/// How many events it is asked about at a time, of those of one commit.
const ASKED_AT_ONCE_MAX: usize = 8;
/// How often one event is signed when the room names another policy server meanwhile.
const SIGNED_MAX: usize = 3;

/// Why an event of ours has not been recommended, and is not sent.
#[derive(Clone, Debug, Error)]
pub enum PolicyError {
    #[error("the room's policy server did not sign the event: {0}")]
    Refused(PeerError),
    #[error("the room's policy server did not answer in time")]
    Silent,
    #[error("the room names another policy server all the time")]
    Changing,
}

/// Whether the room says something of a policy server. Only then can one be in use.
pub fn is_named(live: &Live) -> bool {
    live.state.get(&StateEventType::from(POLICY), "").is_some()
}

/// The policy server that `append`'s room uses as it is now. We are none: a room that names us uses none.
pub async fn in_use(append: &Append<'_>) -> Result<Option<PolicyServer>, StoreError> {
    let named = named_in(append, &append.live.state).await?;
    Ok(named.filter(|policy| append.live.members.has_server(policy.name())))
}

/// The one that `state` names, whether or not it takes part in the room.
async fn named_in(append: &Append<'_>, state: &State) -> Result<Option<PolicyServer>, StoreError> {
    let Some(event_id) = state.get(&StateEventType::from(POLICY), "") else { return Ok(None) };
    let Some(event) = append.event(event_id).await? else { return Ok(None) };
    let named = PolicyServer::named(&event.pdu.content);
    Ok(named.filter(|policy| policy.name() != append.server.server_name()))
}

/// The policy server that the room used in the state before `pdu`, an event of the past, if that has not recommended it.
pub async fn unconvinced(
    append: &Append<'_>,
    pdu: &Pdu,
    state_before: &State,
) -> Result<Option<PolicyServer>, StoreError> {
    let Some(policy) = named_in(append, state_before).await? else { return Ok(None) };
    let is_free =
        policy.recommends(pdu, &append.room.rules) || !had_server(append, state_before, policy.name()).await?;
    Ok((!is_free).then_some(policy))
}

/// Whether somebody of `server` was in the room.
async fn had_server(append: &Append<'_>, state: &State, server: &ServerName) -> Result<bool, StoreError> {
    let members = history::member_events_of(state, server);
    let events = append.events(&members).await?;
    Ok(events.into_iter().flatten().any(|event| event.pdu.membership() == Some(MembershipState::Join)))
}

/// Whether `pdu` may be shown and built upon, as far as the room's policy server has a say.
pub async fn recommends(append: &Append<'_>, pdu: &Pdu) -> Result<bool, StoreError> {
    Ok(in_use(append).await?.is_none_or(|policy| policy.recommends(pdu, &append.room.rules)))
}

/// Seals `draft`, and has the room's policy server sign it if there is one. That takes the room's lock from `append`, which
/// must not have changed anything yet, and gives it back with another: the event may be older than the newest then.
pub async fn sealed<'a>(
    server: &'a Homeserver,
    room: &'a Rc<Room>,
    mut append: Append<'a>,
    draft: Draft,
) -> Result<(Append<'a>, Pdu), AppendError> {
    let mut pdu = append.seal(draft).await?;
    for _ in 0..=SIGNED_MAX {
        let policy = in_use(&append).await?;
        let Some(policy) = policy.filter(|policy| !policy.recommends(&pdu, &room.rules)) else {
            return Ok((append, pdu));
        };
        drop(append);
        pdu = signed_in_time(server, room, &policy, &pdu).await?;
        append = Append::begin(server, room).await;
    }
    Err(PolicyError::Changing.into())
}

/// Asks for those of `pdus`, which others made, that lack the signature of the room's policy server. What it does not sign
/// stays as it is. Not to be called under the room's lock.
pub async fn ask_for(server: &Homeserver, room: &Rc<Room>, pdus: &mut [Pdu]) -> Result<(), StoreError> {
    if !is_named(&room.live()) {
        return Ok(());
    }
    let append = Append::begin(server, room).await;
    let policy = in_use(&append).await?;
    drop(append);
    let Some(policy) = policy else { return Ok(()) };
    let unsigned = pdus.iter_mut().filter(|pdu| !policy.recommends(pdu, &room.rules));
    ask(server, room, unsigned.map(|pdu| (pdu, &policy))).await;
    Ok(())
}

/// As [`ask_for`], about history, each event of which may have been made under another policy server.
pub async fn ask_about_history(
    server: &Homeserver,
    room: &Room,
    pdus: &mut [Pdu],
    policies: &BTreeMap<OwnedEventId, PolicyServer>,
) {
    let asked = pdus.iter_mut().filter_map(|pdu| policies.get(&pdu.event_id).map(|policy| (pdu, policy)));
    ask(server, room, asked).await;
}

/// Has these events signed, some at a time, as far as that is done in time.
async fn ask<'a>(server: &Homeserver, room: &Room, asked: impl Iterator<Item = (&'a mut Pdu, &'a PolicyServer)>) {
    let asking = stream::iter(asked).for_each_concurrent(ASKED_AT_ONCE_MAX, async |(pdu, policy)| {
        match signed(server, room, policy, pdu).await {
            Ok(signed) => *pdu = signed,
            Err(error) => tracing::info!(room = %room.id, event = %pdu.event_id, %error, "an event is not recommended"),
        }
    });
    let patience = server.environment.clock.sleep_ms(SIGN_WAIT_MAX_MS);
    if let Either::Right(((), _)) = select(Box::pin(asking), patience).await {
        tracing::info!(room = %room.id, "the policy server has not signed all events in time");
    }
}

async fn signed_in_time(
    server: &Homeserver,
    room: &Room,
    policy: &PolicyServer,
    pdu: &Pdu,
) -> Result<Pdu, AppendError> {
    let patience = server.environment.clock.sleep_ms(SIGN_WAIT_MAX_MS);
    match select(Box::pin(signed(server, room, policy, pdu)), patience).await {
        Either::Left((signed, _)) => signed,
        Either::Right(((), _)) => Err(PolicyError::Silent.into()),
    }
}

async fn signed(server: &Homeserver, room: &Room, policy: &PolicyServer, pdu: &Pdu) -> Result<Pdu, AppendError> {
    let (name, request) = (policy.name().to_owned(), sign_event::v1::Request::new(pdu.raw()));
    let answer = server.ask_for_at_most(&name, Lane::Queries, request, SIGN_ANSWER_MAX_BYTES).await;
    let answer = answer.map_err(PolicyError::Refused)?;
    let given = answer.ed25519_signature(&name).map(|signature| policy.countersigned(pdu, signature, &room.rules));
    match given.transpose() {
        Ok(Some(Some(signed))) => Ok(signed),
        Err(error @ DraftError::TooLarge) => Err(error.into()),
        Ok(_) | Err(_) => {
            let reason = format!("it gave no signature of {} that holds", pdu.event_id);
            Err(PolicyError::Refused(server.malformed(&name, reason)).into())
        }
    }
}
