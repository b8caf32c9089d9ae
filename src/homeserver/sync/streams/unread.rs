//! Counts of unread notifications of a room.
use std::collections::BTreeMap;

use ruma::{OwnedEventId, api::client::sync::sync_events::UnreadNotificationsCount};

use crate::{
    homeserver::{
        rooms::Room,
        sync::Look,
        unread::{self, Counts},
    },
    ports::StoreError,
};

/// Of the whole room, or of its main timeline and each thread if the filter tells them apart.
pub struct Unread {
    pub room: UnreadNotificationsCount,
    pub threads: BTreeMap<OwnedEventId, UnreadNotificationsCount>,
}

pub async fn now(look: &Look<'_>, room: &Room) -> Result<Unread, StoreError> {
    let mut counts = unread::counts(look.server, &look.session.user_id, &room.id).await?;
    if look.filter.room.timeline.unread_thread_notifications {
        let main = counts.remove(&None).unwrap_or_default();
        let threads = counts.into_iter().filter_map(|(root, counts)| Some((root?, written(counts))));
        return Ok(Unread { room: written(main), threads: threads.collect() });
    }
    let sum = counts.values().fold(Counts::default(), |sum, counts| Counts {
        notifications: sum.notifications + counts.notifications,
        highlights: sum.highlights + counts.highlights,
    });
    Ok(Unread { room: written(sum), threads: BTreeMap::new() })
}

fn written(counts: Counts) -> UnreadNotificationsCount {
    let mut written = UnreadNotificationsCount::new();
    written.notification_count = Some(counts.notifications.into());
    written.highlight_count = Some(counts.highlights.into());
    written
}
