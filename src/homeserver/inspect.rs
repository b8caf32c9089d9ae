//! What a room and its events look like from here: for diagnosis, and for the simulation to compare servers by.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};

use super::Homeserver;
use crate::{
    ports::StoreError,
    storage::tables::{Events, StagedPdus, StoredVerdict},
};

pub type InspectedState = BTreeMap<(String, String), OwnedEventId>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedRoom {
    pub resident: bool,
    pub heads: BTreeSet<OwnedEventId>,
    pub state: InspectedState,
    /// Events kept until their ancestry is known.
    pub staged: BTreeSet<OwnedEventId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedEvent {
    /// The PDU as it is stored.
    pub json: String,
    pub verdict: StoredVerdict,
    /// `None` for events known only as part of a state or an auth chain.
    pub state_before: Option<InspectedState>,
}

impl Homeserver {
    /// Every room there is a copy of here, whether or not anybody is in it.
    pub fn inspect_rooms(&self) -> Vec<OwnedRoomId> {
        self.rooms.ids()
    }

    pub async fn inspect_room(&self, room_id: &RoomId) -> Result<Option<InspectedRoom>, StoreError> {
        let Some(room) = self.rooms.get(room_id).await? else { return Ok(None) };
        let staged = self.database.scan_all::<StagedPdus, _>(&room.id).await?;
        let staged = staged.into_iter().map(|((_, event_id), _)| event_id).collect();
        let live = room.live();
        let heads = live.heads.iter().cloned().collect();
        Ok(Some(InspectedRoom { resident: live.resident, heads, state: inspected(&live.state), staged }))
    }

    /// Every event of the room that was judged here, outliers left out, and how.
    pub async fn inspect_verdicts(
        &self,
        room_id: &RoomId,
    ) -> Result<BTreeMap<OwnedEventId, StoredVerdict>, StoreError> {
        let Some(room) = self.rooms.get(room_id).await? else { return Ok(BTreeMap::new()) };
        let rows = self.database.scan_all::<Events, _>(&()).await?.into_iter();
        let judged = rows.filter(|(_, row)| row.header.room == room.num && row.header.state_before.is_some());
        Ok(judged.map(|(event_id, row)| (event_id, row.header.verdict)).collect())
    }

    pub async fn inspect_event(&self, event_id: &EventId) -> Result<Option<InspectedEvent>, StoreError> {
        let Some(event) = self.rooms.events.get(event_id).await? else { return Ok(None) };
        let state_before = match event.header.state_before {
            Some(state) => Some(inspected(&self.rooms.states.load(state).await?)),
            None => None,
        };
        Ok(Some(InspectedEvent { json: event.pdu.json().to_owned(), verdict: event.header.verdict, state_before }))
    }
}

fn inspected(state: &super::states::State) -> InspectedState {
    state.entries.iter().map(|((kind, key), id)| ((kind.to_string(), key.clone()), id.clone())).collect()
}
