//! A user's delayed events: those to come, and for a while those that were.
use ruma::{OwnedRoomId, UserId};

use super::{DelayedError, Homeserver, Table, stored};
use crate::{
    ports::StoreError,
    storage::tables::{DelayedEventRow, DelayedOutcome},
};

/// The time by which a list is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// When the event is or was to be sent.
    #[default]
    Due,
    /// When it was sent or cancelled; when it is to be sent, if it was not.
    Finalised,
    /// When it was scheduled or restarted last.
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    Cancelled,
    Failed,
}

/// Which events are asked for, and in which order.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub order: Order,
    /// Latest first.
    pub backward: bool,
    /// From this time on; `None` for now.
    pub since_ms: Option<u64>,
    pub scheduled: Option<bool>,
    pub room_id: Option<OwnedRoomId>,
    pub kind: Option<String>,
    pub outcome: Option<Outcome>,
    pub by_action: Option<bool>,
}

/// The user's delayed events with their ids. All there are: their number is bounded.
pub async fn list(
    server: &Homeserver,
    user: &UserId,
    listing: &Listing,
) -> Result<Vec<(String, DelayedEventRow)>, StoreError> {
    let ids: Vec<String> = server.delayed_events.of_user(user).into_iter().map(|(id, _)| id).collect();
    let rows = server.database.get_many::<Table>(&ids).await?;
    let since_ms = listing.since_ms.unwrap_or_else(|| server.environment.clock.now_ms());
    let mut events: Vec<_> = ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?))).collect();
    events.retain(|(_, row)| {
        let at_ms = listing.time_of(row);
        let reached = if listing.backward { at_ms <= since_ms } else { at_ms >= since_ms };
        reached && listing.wants(row)
    });
    events.sort_by_key(|(id, row)| (listing.time_of(row), id.clone()));
    if listing.backward {
        events.reverse();
    }
    Ok(events)
}

/// One delayed event of the user.
pub async fn get(server: &Homeserver, user: &UserId, delay_id: &str) -> Result<DelayedEventRow, DelayedError> {
    let row = stored(server, delay_id).await?;
    row.filter(|row| row.user == user).ok_or(DelayedError::NotFound)
}

impl Listing {
    fn time_of(&self, row: &DelayedEventRow) -> u64 {
        match self.order {
            Order::Due => row.due_ms(),
            Order::Finalised => row.finalised.as_ref().map_or_else(|| row.due_ms(), |finalised| finalised.at_ms),
            Order::Running => row.running_since_ms,
        }
    }

    fn wants(&self, row: &DelayedEventRow) -> bool {
        let finalised = row.finalised.as_ref();
        let outcome = finalised.map(|finalised| match finalised.outcome {
            DelayedOutcome::Sent(_) => Outcome::Sent,
            DelayedOutcome::Cancelled => Outcome::Cancelled,
            DelayedOutcome::Failed { .. } => Outcome::Failed,
        });
        self.scheduled.is_none_or(|scheduled| scheduled == finalised.is_none())
            && self.room_id.as_ref().is_none_or(|room_id| *room_id == row.room)
            && self.kind.as_ref().is_none_or(|kind| *kind == row.kind)
            && self.outcome.is_none_or(|wanted| outcome == Some(wanted))
            && self.by_action.is_none_or(|wanted| finalised.is_some_and(|finalised| finalised.by_action == wanted))
    }
}
