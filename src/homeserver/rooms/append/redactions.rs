//! Redactions: what they take away is gone from the store, whichever of the two events comes first.
use std::rc::Rc;

use ruma::{
    EventId, OwnedEventId, UserId,
    events::{StateEventType, TimelineEventType},
};

use super::{Append, AppendError};
use crate::{
    domain::{event::Pdu, room::power},
    homeserver::{events::StoredEvent, unread},
    storage::tables::EventHeader,
};

impl Append<'_> {
    /// Applies `pdu` if it redacts something we have, and any redaction of `pdu` that came before it.
    pub(super) async fn apply_redactions(&mut self, pdu: &Rc<Pdu>) -> Result<(), AppendError> {
        for redaction in self.take_redactions_of(&pdu.event_id).await? {
            if let (Some(redaction), Some(target)) = (self.event(&redaction).await?, self.event(&pdu.event_id).await?) {
                self.redact(&redaction.pdu, &target).await?;
            }
        }
        let Some(redacts) = pdu.redacts.clone().filter(|_| pdu.kind == TimelineEventType::RoomRedaction) else {
            return Ok(());
        };
        match self.event(&redacts).await? {
            Some(target) => self.redact(pdu, &target).await,
            None => {
                self.keep_redaction(redacts, pdu);
                Ok(())
            }
        }
    }

    async fn redact(&mut self, redaction: &Rc<Pdu>, target: &StoredEvent) -> Result<(), AppendError> {
        // The create event cannot be taken from a room that rests on it.
        let already = target.header.redacted_by.is_some() || target.pdu.kind == TimelineEventType::RoomCreate;
        if already || !self.may_redact(redaction, &target.pdu).await? {
            return Ok(());
        }
        let header = EventHeader { redacted_by: Some(redaction.event_id.clone()), ..target.header.clone() };
        let redacted = self.store(target.pdu.redacted(&self.room.rules), header);
        self.forget_member_profile(&redacted);
        self.unindex_relation(target).await?;
        Ok(unread::forget(self, target).await?)
    }

    /// Marks an event that was known and redacted before it got its place as redacted still.
    pub(super) fn stay_redacted(&mut self, pdu: &Pdu, redaction: OwnedEventId) {
        if let Some(placed) = self.fresh.get(&pdu.event_id).cloned() {
            let header = EventHeader { redacted_by: Some(redaction), ..placed.header.clone() };
            self.store((*placed.pdu).clone(), header);
        }
    }

    /// Room versions 3 and later accept every redaction event and leave it to the server whether it takes effect:
    /// with the power to redact, or from the server the event came from. Before, the rules accepted none that may not.
    async fn may_redact(&self, redaction: &Rc<Pdu>, target: &Pdu) -> Result<bool, AppendError> {
        if self.room.rules.authorization.special_case_room_redaction {
            return Ok(true);
        }
        if redaction.sender.server_name() == target.sender.server_name() {
            return Ok(true);
        }
        self.has_redact_power(&redaction.sender).await
    }

    /// Whether this server lets its user redact the event: the user's own, or with the power to redact others'.
    pub async fn user_may_redact(&self, user: &UserId, target: &EventId) -> Result<bool, AppendError> {
        let own = self.event(target).await?.is_some_and(|event| event.pdu.sender == user);
        Ok(own || self.has_redact_power(user).await?)
    }

    async fn has_redact_power(&self, user: &UserId) -> Result<bool, AppendError> {
        let rules = &self.room.rules.authorization;
        let state = &self.live.state;
        self.with_events(|events| {
            let at = |kind: StateEventType| events.get(state.get(&kind, "")?);
            let Some(create) = at(StateEventType::RoomCreate) else { return Ok(false) };
            let levels = at(StateEventType::RoomPowerLevels);
            Ok(power::may_redact(user, &create, levels.as_ref(), rules).unwrap_or(false))
        })
        .await
    }
}
