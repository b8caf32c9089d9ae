//! What users report as inappropriate, kept for whoever runs this homeserver (client-server API, "Reporting Content").
use std::rc::Rc;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Homeserver,
    room_view::{ReadError, RoomView},
};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{ReportRow, Reported, Reports, Users},
    },
};

/// The most reports that are kept; the oldest gives way to the newest.
pub const REPORTS_MAX: usize = 1_000;
/// The most of them that are one user's, so that nobody drives out those of others.
pub const REPORTS_PER_USER_MAX: usize = 100;
/// The most bytes a reason may have.
pub const REASON_MAX_BYTES: usize = 4_096;

#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such room here")]
    NoSuchRoom,
    #[error("there is no such event, or you are not in its room")]
    NoSuchEvent,
    #[error("there is no such user here")]
    NoSuchUser,
    #[error("there is no such report, or not any more")]
    NoSuchReport,
    #[error("a reason has {REASON_MAX_BYTES} bytes at most")]
    ReasonTooLong,
    #[error("{REPORTS_PER_USER_MAX} reports of yours are waiting to be read")]
    TooMany,
}

/// Reports a room that there is a copy of here, whether or not the reporter is in it.
pub async fn report_room(
    server: &Rc<Homeserver>,
    reporter: &OwnedUserId,
    room_id: OwnedRoomId,
    reason: String,
) -> Result<(), ReportError> {
    server.rooms.get(&room_id).await?.ok_or(ReportError::NoSuchRoom)?;
    keep(server, reporter, Reported::Room { room_id }, reason).await
}

/// Reports an event that the reporter, who is in the room, may see.
pub async fn report_event(
    server: &Rc<Homeserver>,
    reporter: &OwnedUserId,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    reason: String,
) -> Result<(), ReportError> {
    let unseen = |error: ReadError| match error {
        ReadError::Store(error) => ReportError::Store(error),
        _ => ReportError::NoSuchEvent,
    };
    let room = server.rooms.get(&room_id).await?;
    if room.is_none_or(|room| !room.is_joined(reporter)) {
        return Err(ReportError::NoSuchEvent);
    }
    let view = RoomView::open(server, &room_id, reporter).await.map_err(unseen)?;
    view.event(server, reporter, &event_id).await.map_err(unseen)?;
    keep(server, reporter, Reported::Event { room_id, event_id }, reason).await
}

/// Reports a user: one of ours who exists, or one of another server, which alone knows whether there is such a user.
pub async fn report_user(
    server: &Rc<Homeserver>,
    reporter: &OwnedUserId,
    user_id: OwnedUserId,
    reason: String,
) -> Result<(), ReportError> {
    let is_ours = user_id.server_name() == server.server_name();
    if is_ours && server.database.get::<Users>(&user_id).await?.is_none() {
        return Err(ReportError::NoSuchUser);
    }
    keep(server, reporter, Reported::User { user_id }, reason).await
}

/// Every report with its number, the newest first. At most [`REPORTS_MAX`].
pub async fn all(server: &Homeserver) -> Result<Vec<(u64, ReportRow)>, StoreError> {
    server.database.scan_prefix::<Reports, _>(&(), Direction::Descending, REPORTS_MAX).await
}

/// Forgets a report that was dealt with.
pub async fn delete(server: &Homeserver, number: u64) -> Result<(), StoreError> {
    let mut batch = Batch::strict();
    batch.delete::<Reports>(&number);
    server.database.commit(batch).await
}

async fn keep(server: &Rc<Homeserver>, reporter: &UserId, about: Reported, reason: String) -> Result<(), ReportError> {
    if reason.len() > REASON_MAX_BYTES {
        return Err(ReportError::ReasonTooLong);
    }
    let _accounts = server.accounts_lock.lock().await;
    let rows = server.database.scan_all::<Reports, _>(&()).await?;
    if rows.iter().filter(|(_, row)| row.reporter == reporter).count() >= REPORTS_PER_USER_MAX {
        return Err(ReportError::TooMany);
    }
    let position = server.positions.next().await?;
    let mut batch = Batch::strict();
    for (oldest, _) in rows.iter().take((rows.len() + 1).saturating_sub(REPORTS_MAX)) {
        batch.delete::<Reports>(oldest);
    }
    let at_ms = server.environment.clock.now_ms();
    tracing::warn!(%reporter, ?about, "something was reported");
    batch.put::<Reports>(&position.value(), &ReportRow { reporter: reporter.to_owned(), about, reason, at_ms });
    Ok(server.database.commit(batch).await?)
}
