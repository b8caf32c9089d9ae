//! What deactivated users had erased: whoever comes to a room later is shown their events redacted
//! (client-server API, "Account deactivation").
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{Homeserver, events::StoredEvent, rooms::Room, states::State, timeline};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{ErasureRow, Erasures as Table, RoomMembers, Rooms},
    },
};

/// Every erasure, in memory: each event that is shown asks whether its sender is among them.
#[derive(Default)]
pub struct Erasures(RefCell<BTreeMap<OwnedUserId, BTreeMap<OwnedRoomId, i64>>>);

impl Erasures {
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let erasures = Self::default();
        for ((user_id, room_id), row) in database.scan_all::<Table, _>(&()).await? {
            erasures.0.borrow_mut().entry(user_id).or_default().insert(room_id, row.order);
        }
        Ok(erasures)
    }

    /// Takes over what was committed.
    pub fn adopt(&self, user_id: OwnedUserId, rooms: Vec<(OwnedRoomId, i64)>) {
        if !rooms.is_empty() {
            self.0.borrow_mut().entry(user_id).or_default().extend(rooms);
        }
    }

    /// The order of the room's newest event when `sender` had what they sent erased.
    pub fn of(&self, sender: &UserId, room_id: &RoomId) -> Option<i64> {
        self.0.borrow().get(sender)?.get(room_id).copied()
    }
}

/// Puts into `batch` how far each room has come that the user ever was in; adopt it after the commit.
pub async fn put(
    homeserver: &Homeserver,
    batch: &mut Batch,
    user_id: &OwnedUserId,
) -> Result<Vec<(OwnedRoomId, i64)>, StoreError> {
    let rooms = homeserver.database.scan_all::<Rooms, _>(&()).await?;
    let keys: Vec<_> = rooms.iter().map(|(_, room)| (room.num, user_id.clone())).collect();
    let members = homeserver.database.get_many::<RoomMembers>(&keys).await?;
    let were_in = rooms.into_iter().zip(members).filter(|(_, member)| member.is_some());
    let orders = were_in.filter_map(|((room_id, _), _)| {
        let order = homeserver.rooms.newest_order(&room_id)?;
        Some((room_id, order))
    });
    let orders: Vec<_> = orders.collect();
    for (room_id, order) in &orders {
        batch.put::<Table>(&(user_id.clone(), room_id.clone()), &ErasureRow { order: *order });
    }
    Ok(orders)
}

/// The state of the room when the newest event was that at `order`: who was in the room then is shown events whole.
pub async fn state_then(homeserver: &Homeserver, room: &Room, order: i64) -> Result<Option<State>, StoreError> {
    timeline::state_at(homeserver, room, order).await
}

/// The event without its content.
pub fn redacted(room: &Room, event: &StoredEvent) -> Rc<StoredEvent> {
    Rc::new(StoredEvent { pdu: Rc::new(event.pdu.redacted(&room.rules)), header: event.header.clone() })
}
