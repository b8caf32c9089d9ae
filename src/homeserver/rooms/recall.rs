//! Events that put users of ours out, and that the room as it stands here knows nothing of any more: who comes back through a
//! server that had not heard of them takes the room over as that server has it.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{OwnedEventId, events::room::member::MembershipState};

use super::{
    Room,
    append::{Append, AppendError},
};
use crate::{
    homeserver::{Homeserver, events::StoredEvent},
    ports::StoreError,
};

/// The most events walked through to find out whether the room goes on from one.
const WALK_MAX: usize = 1_000;

/// Takes `event`, which another server reminds us of, into account again, if it put out a user of ours who is in the room
/// here, and the room does not go on from it: then the two are branches, and the state is what follows from both.
pub async fn recall(server: &Rc<Homeserver>, room: &Rc<Room>, event: &StoredEvent) -> Result<(), StoreError> {
    if !is_forgotten(server, room, event) {
        return Ok(());
    }
    let mut append = Append::begin(server, room).await;
    if !is_forgotten(server, room, event) || goes_on_from(&append, &event.pdu.event_id).await? {
        return Ok(());
    }
    let recalled = async {
        append.end_in(event.pdu.event_id.clone()).await?;
        append.commit().await
    };
    match recalled.await {
        Ok(()) => tracing::info!(room = %room.id, event = %event.pdu.event_id, "recalled"),
        Err(AppendError::Store(error)) => return Err(error),
        Err(error) => tracing::info!(room = %room.id, event = %event.pdu.event_id, %error, "not recalled"),
    }
    Ok(())
}

/// Whether somebody else put a user of ours out by this event, and the user is in the room by another one.
fn is_forgotten(server: &Homeserver, room: &Room, event: &StoredEvent) -> bool {
    let pdu = &event.pdu;
    let Some(user) = pdu.target().filter(|user| user.server_name() == server.server_name()) else { return false };
    let put_out =
        matches!(pdu.membership(), Some(MembershipState::Leave | MembershipState::Ban)) && pdu.sender != *user;
    put_out && event.is_accepted() && !event.is_outlier() && room.is_joined(user)
}

/// Whether one of the room's heads follows the event, as far as we have what lies between.
async fn goes_on_from(append: &Append<'_>, event_id: &OwnedEventId) -> Result<bool, StoreError> {
    let mut pending = append.live.heads.clone();
    let mut seen = BTreeSet::new();
    while !pending.is_empty() {
        if pending.contains(event_id) || seen.len() > WALK_MAX {
            return Ok(true);
        }
        pending.retain(|id| seen.insert(id.clone()));
        let events = append.events(&pending).await?;
        pending = events.into_iter().flatten().flat_map(|event| event.pdu.prev_events.clone()).collect();
    }
    Ok(false)
}
