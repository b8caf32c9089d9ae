//! Checks four to six on receipt of a PDU (server-server API): is the event allowed, at the three states that matter?
//! The rules are ruma's; this file says which state they are asked about.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    EventId, OwnedEventId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    state_res::{check_state_dependent_auth_rules, check_state_independent_auth_rules},
};
use thiserror::Error;

use crate::domain::event::{Pdu, SharedPdu, create_event_id};

/// What became of an event. Data, not an error: rejected and soft-failed events are stored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Allowed where it claims to be, not by the room as it is now: kept for state resolution, not shown to clients
    /// and not used as an extremity of new events.
    SoftFailed {
        rule: String,
    },
    /// Never allowed: takes no part in state, and neither does what cites it to authorize itself.
    Rejected {
        rule: String,
    },
}

/// Events without which there is no verdict yet: not a rejection, load or fetch them and ask again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} events needed for a verdict are not at hand", .0.len())]
pub struct Missing(pub BTreeSet<OwnedEventId>);

/// Looks up the event that holds a place in some state of the room.
pub type StateLookup<'a> = dyn Fn(&StateEventType, &str) -> Option<Rc<Pdu>> + 'a;

/// Judges `pdu`, which passed `event::check`.
///
/// - `auth_events`: the events it cites, `rejected` set on those that were. Since room version 12 the create event is
///   not among them; it is found in `state_before` or `current_state`.
/// - `state_before`: the state of the room before the event, resolved if it has several `prev_events`.
/// - `current_state`: the state of the room as this server now sees it; decides only between accepted and soft-failed.
pub fn admit(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    auth_events: &[Rc<Pdu>],
    state_before: &StateLookup<'_>,
    current_state: &StateLookup<'_>,
) -> Result<Verdict, Missing> {
    let create =
        state_before(&StateEventType::RoomCreate, "").or_else(|| current_state(&StateEventType::RoomCreate, ""));
    if let Verdict::Rejected { rule } = admit_by_auth_events(pdu, rules, auth_events, create)? {
        return Ok(Verdict::Rejected { rule });
    }
    if let Err(rule) = allowed_at(pdu, rules, state_before) {
        return Ok(Verdict::Rejected { rule });
    }
    if let Err(rule) = allowed_at(pdu, rules, current_state) {
        return Ok(Verdict::SoftFailed { rule });
    }
    Ok(Verdict::Accepted)
}

/// Judges an event by the events it cites alone (check four): all there is to ask about the auth chain and the state
/// that send_join answers with. Never soft-fails. `create` is the create event of the room, for room version 12.
pub fn admit_by_auth_events(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    auth_events: &[Rc<Pdu>],
    create: Option<Rc<Pdu>>,
) -> Result<Verdict, Missing> {
    let create = named_create(pdu, rules, create)?;
    let absent: BTreeSet<_> =
        pdu.auth_events.iter().filter(|id| !auth_events.iter().any(|event| event.event_id == **id)).cloned().collect();
    if !absent.is_empty() {
        return Err(Missing(absent));
    }
    let cited = || auth_events.iter().filter(|event| pdu.auth_events.contains(&event.event_id)).chain(&create);
    let by_id = |id: &EventId| cited().find(|event| event.event_id == id).cloned().map(SharedPdu);
    let by_key = |kind: &StateEventType, key: &str| {
        cited()
            .find(|event| event.state_key.as_deref() == Some(key) && event.kind.to_string() == kind.to_string())
            .cloned()
    };
    let verdict = check_state_independent_auth_rules(&rules.authorization, pdu, by_id)
        .and_then(|()| allowed_at(pdu, rules, &by_key));
    Ok(verdict.map_or_else(|rule| Verdict::Rejected { rule }, |()| Verdict::Accepted))
}

/// Whether the rules allow `pdu` at one state.
pub fn allowed_at(pdu: &Pdu, rules: &RoomVersionRules, state: &StateLookup<'_>) -> Result<(), String> {
    check_state_dependent_auth_rules(&rules.authorization, pdu, |kind, key| state(kind, key).map(SharedPdu))
}

/// The create event that the room id names, in room versions where it does; no event needs it cited there.
fn named_create(pdu: &Pdu, rules: &RoomVersionRules, create: Option<Rc<Pdu>>) -> Result<Option<Rc<Pdu>>, Missing> {
    if !rules.authorization.room_create_event_id_as_room_id || pdu.kind == TimelineEventType::RoomCreate {
        return Ok(None);
    }
    let Some(id) = create_event_id(&pdu.room_id) else { return Ok(None) };
    match create.filter(|create| create.event_id == id) {
        Some(create) => Ok(Some(create)),
        None => Err(Missing([id].into())),
    }
}

#[cfg(test)]
mod tests;
