//! The end of an append: one batch, one commit, then what was written is what the room is.
use std::collections::BTreeSet;

use ruma::{OwnedUserId, events::StateEventType};

use super::{Append, AppendError};
use crate::{
    homeserver::{device_lists::moves, edus::presence, guests, heads::quiet, positions::Position, rooms::Live},
    storage::tables::{RoomRow, Rooms as RoomsTable},
};

impl Append<'_> {
    /// Writes everything, then makes it what the room is.
    pub async fn commit(mut self) -> Result<(), AppendError> {
        self.announce_devices().await?;
        let row = self.complete();
        self.server.database.commit(std::mem::take(&mut self.batch)).await?;
        self.adopt(row);
        Ok(())
    }

    /// Like [`Self::commit`] of this room and `other` at once: what stops in between has changed neither.
    pub async fn commit_with(mut self, mut other: Append<'_>) -> Result<(), AppendError> {
        self.announce_devices().await?;
        other.announce_devices().await?;
        let (row, other_row) = (self.complete(), other.complete());
        let mut batch = std::mem::take(&mut self.batch);
        batch.append(std::mem::take(&mut other.batch));
        self.server.database.commit(batch).await?;
        self.adopt(row);
        other.adopt(other_row);
        Ok(())
    }

    /// Puts into the batch what sums up the rest; it is then ready to be written.
    fn complete(&mut self) -> RoomRow {
        let row = RoomRow {
            num: self.room.num,
            version: self.room.version.clone(),
            create_event: self.room.create_event.clone(),
            heads: self.live.heads.clone(),
            state: self.live.state.id,
            resident: self.live.resident,
            newest_order: self.live.newest_order,
            relations: self.live.relations,
        };
        self.write_relations();
        self.batch.put::<RoomsTable>(&self.room.id, &row);
        row
    }

    /// Makes what was written what the room is, and tells whom it concerns.
    fn adopt(mut self, row: RoomRow) {
        self.server.waiting.adopt(&self.room.id, std::mem::take(&mut self.waiting));
        self.server.waiting.arrived(&self.room.id, |id| self.fresh.contains_key(id));
        for event in std::mem::take(&mut self.fresh).into_values() {
            self.server.rooms.events.remember(event);
        }
        let newest_order = self.room.live().newest_order;
        let happened = self.timeline_grew.iter().filter(|event| event.header.order > Some(newest_order));
        self.server.favourites.heard(&self.room.id, happened.map(|event| event.pdu.sender.server_name()));
        let grown = self.timeline_grew.iter();
        let grown = grown.filter_map(|event| Some((event.header.order?, event.pdu.event_id.clone())));
        let guest_access = |live: &Live| live.state.get(&StateEventType::RoomGuestAccess, "").cloned();
        let lets_in_others = guest_access(&self.room.live()) != guest_access(&self.live);
        let other_heads = self.room.live().heads != self.live.heads;
        self.server.rooms.adopt(&self.room, row, self.live.clone(), grown);
        if let Some(server) = self.server.itself.upgrade().filter(|_| other_heads) {
            quiet::changed(&server, &self.room);
        }
        if lets_in_others {
            guests::access_changed(self.server, &self.room);
        }
        let mut concerned: BTreeSet<OwnedUserId> = std::mem::take(&mut self.notified).into_iter().collect();
        concerned.extend(self.unread.iter().map(|change| change.user().to_owned()));
        self.server.unread.adopt(&self.room.id, std::mem::take(&mut self.unread));
        if let Some(position) = self.positions.last().map(Position::value) {
            presence::joined(self.server, &self.room, &self.joining, position);
        }
        moves::moved(self.server, &self.room, &self.joining, &self.leaving);
        self.positions.clear();
        concerned.iter().for_each(|user| self.server.pushes.wake(user));
        self.server.notifier.notify();
        for (destination, rows) in &self.queued {
            self.server.sender.queued(destination, *rows);
        }
    }
}
