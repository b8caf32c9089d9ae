//! A short description of one room, for somebody who may not be in it: ours to tell, or learnt from another server.
use std::rc::Rc;

use ruma::{OwnedServerName, RoomId, UserId, events::room::member::MembershipState, room::RoomSummary};
use thiserror::Error;

use super::{
    Homeserver, room_facts,
    spaces::{Budget, foreign},
    user_rows,
};
use crate::{ports::StoreError, storage::tables::MembershipRow};

#[derive(Debug, Error)]
pub enum SummaryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such room, or none that you may know of")]
    NotFound,
}

/// The room and, for a user, what the user is in it. Who says not who they are is told of rooms only that everybody may
/// know of.
pub async fn of_room(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    via: &[OwnedServerName],
    asking: Option<&UserId>,
) -> Result<(Rc<RoomSummary>, Option<MembershipState>), SummaryError> {
    let facts = match room_facts::resident(server, room_id).await? {
        Some(room) => {
            let facts = room_facts::of_room(server, &room).await?;
            let may = match asking {
                Some(user) => room_facts::user_may_know(server, &room, &facts, user).await?,
                None => room_facts::is_open(&facts),
            };
            may.then_some(facts)
        }
        None => learn(server, room_id, via, asking).await?,
    };
    let Some(user) = asking else { return Ok((facts.ok_or(SummaryError::NotFound)?, None)) };
    let row = user_rows::membership(server, user, room_id).await?;
    let facts = facts.or_else(|| shown_at_the_door(room_id, row.as_ref()?)).ok_or(SummaryError::NotFound)?;
    Ok((facts, Some(row.map_or(MembershipState::Leave, |row| row.membership.clone()))))
}

/// What came with an invite, or with what answered a knock, if nobody tells more.
fn shown_at_the_door(room_id: &RoomId, row: &MembershipRow) -> Option<Rc<RoomSummary>> {
    let waits = matches!(row.membership, MembershipState::Invite | MembershipState::Knock);
    let shown = waits && !row.stripped_state.is_empty();
    shown.then(|| Rc::new(room_facts::of_stripped(room_id, row.room_version.as_ref(), &row.stripped_state)))
}

async fn learn(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    via: &[OwnedServerName],
    asking: Option<&UserId>,
) -> Result<Option<Rc<RoomSummary>>, StoreError> {
    let mut budget = Budget::for_one(server);
    let told = foreign::ask(server, room_id, via, false, &mut budget).await?;
    let Some(facts) = told.map(|told| told.room.facts.clone()) else { return Ok(None) };
    let may = match asking {
        Some(user) => foreign::user_may_know(server, &facts, user).await?,
        None => room_facts::is_open(&facts),
    };
    Ok(may.then_some(facts))
}
