//! Where the room ends: its heads, and the state that follows from them.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::OwnedEventId;

use super::{Append, AppendError};
use crate::{
    domain::{event::Pdu, room::extremities},
    homeserver::states::State,
    ports::StoreError,
    storage::tables::EventHeader,
};

impl Append<'_> {
    /// Replaces the room's state and heads by what a peer vouched for when we joined through it.
    pub async fn adopt_state(&mut self, state: State) -> Result<(), AppendError> {
        let position = self.next_position().await?;
        self.live.heads.clear();
        self.change_state(state, position).await
    }

    /// Has the room end in one more accepted event, which its other heads do not follow.
    pub async fn end_in(&mut self, event_id: OwnedEventId) -> Result<(), AppendError> {
        let heads: BTreeSet<_> = self.live.heads.drain(..).chain([event_id]).collect();
        self.live.heads = heads.into_iter().collect();
        let heads = self.live.heads.clone();
        let current = self.state_after(&heads).await?;
        let position = self.next_position().await?;
        self.change_state(current, position).await
    }

    /// Moves heads and current state past a new accepted event.
    pub(super) async fn advance(
        &mut self,
        pdu: &Rc<Pdu>,
        followed: bool,
        state_after: &State,
        position: u64,
    ) -> Result<(), AppendError> {
        let hidden = self.hidden_prevs(pdu).await?;
        let heads: BTreeSet<_> = self.live.heads.iter().cloned().collect();
        let mut heads = extremities::advance(&heads, pdu, &|id| hidden.get(id).cloned());
        if followed && heads.len() > 1 {
            // It came late: an event that follows it is here already, so it is no extremity.
            heads.remove(&pdu.event_id);
        }
        self.live.heads = heads.into_iter().collect();
        let current = match self.live.heads.as_slice() {
            [only] if *only == pdu.event_id => state_after.clone(),
            heads => {
                let heads = heads.to_vec();
                self.state_after(&heads).await?
            }
        };
        self.change_state(current, position).await
    }

    /// Notes with the event what the room's state is now, for syncs that ask what it was then.
    pub(super) fn note_current_state(&mut self, pdu: &Rc<Pdu>, state_after: &State) {
        if self.live.state.id != state_after.id {
            let header =
                EventHeader { state_current: Some(self.live.state.id), ..self.fresh[&pdu.event_id].header.clone() };
            self.store((**pdu).clone(), header);
        }
    }

    /// The previous events of those that `pdu` follows but clients never saw (soft-failed, rejected).
    async fn hidden_prevs(&self, pdu: &Pdu) -> Result<BTreeMap<OwnedEventId, Vec<OwnedEventId>>, StoreError> {
        let mut hidden = BTreeMap::new();
        let mut pending = pdu.prev_events.clone();
        while !pending.is_empty() && hidden.len() < extremities::HIDDEN_WALK_MAX {
            let events = self.events(&pending).await?;
            pending.clear();
            for event in events.into_iter().flatten() {
                let known = hidden.contains_key(&event.pdu.event_id);
                if !event.is_accepted() && !event.is_outlier() && !known {
                    pending.extend(event.pdu.prev_events.iter().cloned());
                    hidden.insert(event.pdu.event_id.clone(), event.pdu.prev_events.clone());
                }
            }
        }
        Ok(hidden)
    }
}
