//! Bundled aggregations (client-server API, "Aggregations of child events"): what is said of an event beside it, so that
//! a client need not ask for its children.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use futures::future::{LocalBoxFuture, try_join_all};
use ruma::{EventId, OwnedEventId, OwnedUserId, events::AnyTimelineEvent, serde::Raw};
use serde::Serialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{Child, children_in, related};
use crate::{
    domain::event::relation::{REFERENCE, REPLACE, THREAD},
    homeserver::{
        Homeserver,
        client_event::{self, Style},
        rooms::Room,
        sessions::Session,
        user_rows,
        visibility::{Eyes, Seen},
    },
    ports::StoreError,
    storage::{
        Direction,
        tables::{RelatedRow, RelationsIndex, ThreadTally},
    },
};

/// The most references bundled with an event; `/relations` has them all.
pub const REFERENCES_BUNDLED_MAX: usize = 100;
/// Replacements of one event looked at for the latest, and how many in one step.
const EDITS_LOOKED_AT_MAX: usize = 2_000;
const EDITS_PER_STEP: usize = 100;
/// Events at the end of a thread looked at for one that the user may see.
const LATEST_LOOKED_AT_MAX: usize = 50;

/// By event: what `unsigned.m.relations` says of it.
pub type Bundles = BTreeMap<OwnedEventId, Box<RawJsonValue>>;

#[derive(Default, Serialize)]
struct Bundle {
    #[serde(rename = "m.reference", skip_serializing_if = "Option::is_none")]
    reference: Option<References>,
    #[serde(rename = "m.replace", skip_serializing_if = "Option::is_none")]
    replace: Option<Raw<AnyTimelineEvent>>,
    #[serde(rename = "m.thread", skip_serializing_if = "Option::is_none")]
    thread: Option<Thread>,
}

#[derive(Serialize)]
struct References {
    chunk: Vec<Reference>,
}

#[derive(Serialize)]
struct Reference {
    event_id: OwnedEventId,
}

#[derive(Serialize)]
struct Thread {
    latest_event: Raw<AnyTimelineEvent>,
    count: u32,
    current_user_participated: bool,
}

/// Who is shown something, and how.
struct Viewer<'a> {
    server: &'a Homeserver,
    session: &'a Session,
    style: Style,
    eyes: Eyes<'a>,
    ignored: Rc<BTreeSet<OwnedUserId>>,
}

/// What relates to each of `seen`, as `session`'s user may know it.
pub fn bundles<'a>(
    server: &'a Homeserver,
    session: &'a Session,
    style: Style,
    seen: &'a [Seen],
) -> LocalBoxFuture<'a, Result<Bundles, StoreError>> {
    // Boxed, as the latest event of a thread has a bundle of its own. No deeper: an event of a thread is no root of one.
    Box::pin(async move {
        let mut bundles = Bundles::new();
        let rooms: BTreeSet<_> = seen.iter().map(|seen| &seen.event.pdu.room_id).collect();
        for room_id in rooms {
            let Some(room) = server.rooms.get(room_id).await? else { continue };
            if room.live().relations == RelationsIndex::Empty {
                continue;
            }
            let of_room = |seen: &&Seen| seen.event.pdu.room_id == *room_id && seen.event.pdu.state_key.is_none();
            let seen: Vec<&Seen> = seen.iter().filter(of_room).collect();
            bundles.extend(in_room(server, session, style, &room, &seen).await?);
        }
        Ok(bundles)
    })
}

async fn in_room(
    server: &Homeserver,
    session: &Session,
    style: Style,
    room: &Rc<Room>,
    seen: &[&Seen],
) -> Result<Bundles, StoreError> {
    let ids: Vec<OwnedEventId> = seen.iter().map(|seen| seen.event.pdu.event_id.clone()).collect();
    let rows = related(server, room, &ids).await?;
    if rows.iter().all(Option::is_none) {
        return Ok(Bundles::new());
    }
    let eyes = Eyes::open(server, room, &session.user_id).await?;
    let ignored = user_rows::digest(server, &session.user_id).await?.ignored;
    let viewer = Viewer { server, session, style, eyes, ignored };
    let parents = seen.iter().zip(rows).filter_map(|(seen, row)| Some((*seen, row?)));
    let bundled = try_join_all(parents.map(|(seen, row)| viewer.bundle(seen, row))).await?;
    Ok(bundled.into_iter().flatten().collect())
}

impl Viewer<'_> {
    async fn bundle(
        &self,
        parent: &Seen,
        row: RelatedRow,
    ) -> Result<Option<(OwnedEventId, Box<RawJsonValue>)>, StoreError> {
        let mut bundle = Bundle::default();
        if row.kinds.contains_key(REPLACE) && parent.event.header.redacted_by.is_none() {
            bundle.replace = self.latest_edit(parent).await?;
        }
        if row.kinds.contains_key(REFERENCE) {
            bundle.reference = self.references(parent).await?;
        }
        if let Some(tally) = &row.thread
            && parent.event.pdu.relation().is_none()
        {
            bundle.thread = self.thread(parent, tally).await?;
        }
        if bundle.replace.is_none() && bundle.reference.is_none() && bundle.thread.is_none() {
            return Ok(None);
        }
        let bundle = serde_json::value::to_raw_value(&bundle).expect("a bundle has string keys and finite numbers");
        Ok(Some((parent.event.pdu.event_id.clone(), bundle)))
    }

    /// The valid replacement that is latest by its own time, and among equals has the greatest id.
    async fn latest_edit(&self, parent: &Seen) -> Result<Option<Raw<AnyTimelineEvent>>, StoreError> {
        let original = &parent.event.pdu;
        let kind = original.kind.to_string();
        let (mut candidates, mut through, mut looked_at): (Vec<(u64, OwnedEventId)>, _, _) = (Vec::new(), i64::MAX, 0);
        while looked_at < EDITS_LOOKED_AT_MAX {
            let rows = self.children(&original.event_id, REPLACE, through, EDITS_PER_STEP).await?;
            looked_at += EDITS_PER_STEP;
            let fitting = rows.iter().filter(|(_, row)| row.sender == original.sender && row.kind == kind);
            candidates.extend(fitting.map(|(_, row)| (row.ts_ms, row.event_id.clone())));
            match rows.last() {
                Some((last, _)) if rows.len() == EDITS_PER_STEP => through = last - 1,
                _ => break,
            }
        }
        candidates.sort_unstable();
        for (_, event_id) in candidates.into_iter().rev() {
            if let Some(edit) = self.see(&event_id).await?
                && edit.event.pdu.may_replace(original)
            {
                let formatted = client_event::format_seen(self.server, self.session, self.style, &[edit]).await?;
                return Ok(formatted.into_iter().next());
            }
        }
        Ok(None)
    }

    async fn references(&self, parent: &Seen) -> Result<Option<References>, StoreError> {
        let of = (&parent.event.pdu.event_id, REFERENCE);
        let all = (i64::MIN, i64::MAX);
        let room = self.eyes.room;
        let rows = children_in(self.server, room, of, all, Direction::Ascending, REFERENCES_BUNDLED_MAX).await?;
        let mut chunk = Vec::new();
        for (_, row) in rows {
            if !self.ignored.contains(&row.sender) && self.see(&row.event_id).await?.is_some() {
                chunk.push(Reference { event_id: row.event_id });
            }
        }
        Ok((!chunk.is_empty()).then_some(References { chunk }))
    }

    async fn thread(&self, root: &Seen, tally: &ThreadTally) -> Result<Option<Thread>, StoreError> {
        let counted = tally.senders.iter().filter(|(sender, _)| !self.ignored.contains(*sender));
        let count = counted.map(|(_, count)| count).fold(tally.others, |sum, count| sum.saturating_add(*count));
        let Some(latest) = self.latest_in_thread(&root.event.pdu.event_id).await? else { return Ok(None) };
        let formatted = client_event::format_with_relations(self.server, self.session, self.style, &[latest]).await?;
        let user = &self.session.user_id;
        Ok(formatted.into_iter().next().map(|latest_event| Thread {
            latest_event,
            count,
            current_user_participated: root.event.pdu.sender == *user || tally.senders.contains_key(user),
        }))
    }

    async fn latest_in_thread(&self, root: &OwnedEventId) -> Result<Option<Seen>, StoreError> {
        // Nearly always the very last is shown.
        for limit in [1, LATEST_LOOKED_AT_MAX] {
            let rows = self.children(root, THREAD, i64::MAX, limit).await?;
            let whole = rows.len() < limit;
            for (_, row) in rows {
                if !self.ignored.contains(&row.sender)
                    && let Some(seen) = self.see(&row.event_id).await?
                {
                    return Ok(Some(seen));
                }
            }
            if whole {
                break;
            }
        }
        Ok(None)
    }

    /// The newest children up to a place in the timeline.
    async fn children(
        &self,
        parent: &OwnedEventId,
        rel_type: &str,
        through: i64,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        let span = (i64::MIN, through);
        children_in(self.server, self.eyes.room, (parent, rel_type), span, Direction::Descending, limit).await
    }

    async fn see(&self, event_id: &EventId) -> Result<Option<Seen>, StoreError> {
        match self.server.rooms.events.get(event_id).await? {
            Some(event) => self.eyes.look(event).await,
            None => Ok(None),
        }
    }
}
