//! Sending a delayed event when its time has come, as if its user had sent it now.
use std::{cell::RefCell, rc::Rc};

use ruma::{CanonicalJsonObject, CanonicalJsonValue, EventId, OwnedEventId, UserId, events::StateEventType};
use thiserror::Error;

use super::{Homeserver, finalise, finalised, remember, too_old};
use crate::{
    domain::event::draft::DraftError,
    homeserver::{
        aliases::{self, AliasError},
        rooms::{
            append::AppendError,
            invite::{self, InviteError},
            send::{self, Message, SendError},
        },
    },
    ports::StoreError,
    storage::tables::{DelayedEventRow, DelayedEvents as Table, DelayedOutcome},
};

/// Why an event cannot be sent now.
#[derive(Debug, Error)]
pub enum CarryOutError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Send(SendError),
    #[error(transparent)]
    Alias(AliasError),
    #[error(transparent)]
    Invite(InviteError),
    #[error("`redacts` is not an event id")]
    BadRedaction,
    #[error("the invited user's id is none")]
    BadUser,
}

impl CarryOutError {
    /// What clients are told that ask later what became of the event.
    pub fn errcode(&self) -> &'static str {
        match self {
            Self::Send(SendError::NotInRoom | SendError::Append(AppendError::Forbidden(_))) => "M_FORBIDDEN",
            Self::Send(SendError::Append(AppendError::Draft(DraftError::TooLarge))) => "M_TOO_LARGE",
            Self::Send(SendError::Append(AppendError::Draft(_))) => "M_BAD_JSON",
            Self::Alias(_) => "M_BAD_ALIAS",
            Self::Invite(_) => "M_FORBIDDEN",
            Self::BadRedaction | Self::BadUser => "M_INVALID_PARAM",
            Self::Store(_) | Self::Send(_) => "M_UNKNOWN",
        }
    }
}

/// Sends the event and writes that it was, both or neither.
pub async fn carry_out(
    server: &Rc<Homeserver>,
    delay_id: &str,
    row: DelayedEventRow,
    by_action: bool,
) -> Result<(), CarryOutError> {
    if let Some(event_id) = invited(server, &row).await? {
        return Ok(finalise(server, delay_id, row, by_action, DelayedOutcome::Sent(event_id)).await?);
    }
    let state_kind = row.state_key.as_ref().map(|_| StateEventType::from(row.kind.clone()));
    if state_kind == Some(StateEventType::RoomCanonicalAlias) {
        aliases::check_canonical(server, &row.room, &row.content).await.map_err(|error| match error {
            AliasError::Store(error) => CarryOutError::Store(error),
            other => CarryOutError::Alias(other),
        })?;
    }
    let mut content = row.content.clone();
    let redacts = match row.state_key.is_none() && row.kind == "m.room.redaction" {
        true => Some(take_redacts(&mut content).ok_or(CarryOutError::BadRedaction)?),
        false => None,
    };
    let message = Message {
        sender: row.user.clone(),
        kind: row.kind.clone().into(),
        state_key: row.state_key.clone(),
        content,
        redacts,
    };
    let forgotten = RefCell::new(None);
    let sent = send::send_noting(server, &row.room, message, None, |append, event_id| {
        append.note_delay_id(event_id, delay_id);
        let row = finalised(server, row.clone(), by_action, DelayedOutcome::Sent(event_id.clone()));
        append.batch.put::<Table>(&delay_id.to_owned(), &row);
        let old = too_old(server, &row.user);
        old.iter().for_each(|id| append.batch.delete::<Table>(id));
        append.make_strict();
        forgotten.replace(Some(old));
    });
    let event_id = sent.await.map_err(|error| match error {
        SendError::Store(error) | SendError::Append(AppendError::Store(error)) => CarryOutError::Store(error),
        other => CarryOutError::Send(other),
    })?;
    let outcome = DelayedOutcome::Sent(event_id);
    if let Some(old) = forgotten.into_inner() {
        old.iter().for_each(|id| server.delayed_events.forget(id));
        remember(server, delay_id, &finalised(server, row, by_action, outcome));
        return Ok(());
    }
    // The state was so already: there is no new event.
    Ok(finalise(server, delay_id, row, by_action, outcome).await?)
}

/// Invites, if that is what the event does: an invite is more than its event.
async fn invited(server: &Rc<Homeserver>, row: &DelayedEventRow) -> Result<Option<OwnedEventId>, CarryOutError> {
    let membership = row.content.get("membership").and_then(CanonicalJsonValue::as_str);
    let Some(target) = row.state_key.as_ref().filter(|_| row.kind == "m.room.member" && membership == Some("invite"))
    else {
        return Ok(None);
    };
    let target = UserId::parse(target).map_err(|_| CarryOutError::BadUser)?;
    let mut content = row.content.clone();
    content.remove("membership");
    invite::invite(server, &row.room, &row.user, &target, content).await.map_err(|error| match error {
        InviteError::Store(error) => CarryOutError::Store(error),
        other => CarryOutError::Invite(other),
    })?;
    let Some(room) = server.rooms.get(&row.room).await? else { return Ok(None) };
    let live = room.live();
    Ok(live.state.get(&StateEventType::RoomMember, target.as_str()).cloned())
}

/// Takes what is redacted out of the content, where the client put it: where it goes is for the room version to say.
pub fn take_redacts(content: &mut CanonicalJsonObject) -> Option<OwnedEventId> {
    let redacts = content.remove("redacts")?;
    EventId::parse(redacts.as_str()?).ok()
}
