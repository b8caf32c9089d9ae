//! The index of relations, kept with what is appended: a child enters with its place in the timeline and leaves when it is
//! redacted.
use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedUserId};

use super::Append;
use crate::{
    domain::event::{
        Pdu,
        relation::{Relation, THREAD},
    },
    homeserver::events::StoredEvent,
    ports::StoreError,
    storage::{
        Direction, Table,
        tables::{Related, RelatedRow, RelationRow, Relations, RelationsIndex, ThreadTally, Threads},
    },
};

/// The most types of relations to one event that are told apart; further ones are not kept.
pub const RELATION_TYPES_PER_EVENT_MAX: usize = 64;
/// The most senders of a thread that are counted one by one.
pub const THREAD_SENDERS_MAX: usize = 500;
/// Children read at once to find the latest event of a thread again.
const LATEST_SEARCHED_AT_ONCE: usize = 50;

type Key = <Relations as Table>::Key;

/// Changes of this append. A row that is `None` goes.
#[derive(Default)]
pub(super) struct FreshRelations {
    children: BTreeMap<Key, Option<RelationRow>>,
    related: BTreeMap<OwnedEventId, RelatedRow>,
}

impl Append<'_> {
    /// Takes an event at `order` in the timeline into the index, if it relates to another.
    pub async fn index_relation(&mut self, pdu: &Pdu, order: i64) -> Result<(), StoreError> {
        let Some(Relation { rel_type, parent, key }) = pdu.relation() else { return Ok(()) };
        let mut related = self.related(&parent).await?;
        let has_room = related.kinds.len() < RELATION_TYPES_PER_EVENT_MAX || related.kinds.contains_key(&rel_type);
        if parent == pdu.event_id || !has_room {
            return Ok(());
        }
        if rel_type == THREAD {
            let thread = related.thread.get_or_insert_with(|| ThreadTally { latest: i64::MIN, ..Default::default() });
            *tally_of(thread, &pdu.sender) += 1;
            let latest = thread.latest.max(order);
            self.move_thread(&parent, thread, latest);
        }
        *related.kinds.entry(rel_type.clone()).or_default() += 1;
        let row = RelationRow {
            event_id: pdu.event_id.clone(),
            kind: pdu.kind.to_string(),
            sender: pdu.sender.clone(),
            ts_ms: pdu.origin_server_ts.get().into(),
            key,
        };
        self.relations.children.insert((self.room.num, parent.clone(), rel_type, order), Some(row));
        self.relations.related.insert(parent, related);
        if self.live.relations == RelationsIndex::Empty {
            self.live.relations = RelationsIndex::Whole;
        }
        Ok(())
    }

    /// Takes an event that is being redacted out of the index.
    pub(super) async fn unindex_relation(&mut self, event: &StoredEvent) -> Result<(), StoreError> {
        let (Some(order), Some(relation)) = (event.header.order, event.pdu.relation()) else { return Ok(()) };
        let Relation { rel_type, parent, .. } = relation;
        let key = (self.room.num, parent.clone(), rel_type.clone(), order);
        let known = match self.relations.children.get(&key) {
            Some(row) => row.is_some(),
            None => self.server.database.get::<Relations>(&key).await?.is_some(),
        };
        if !known {
            return Ok(());
        }
        self.relations.children.insert(key, None);
        let mut related = self.related(&parent).await?;
        if let Some(count) = related.kinds.get_mut(&rel_type) {
            *count = count.saturating_sub(1);
        }
        related.kinds.retain(|_, count| *count > 0);
        if let Some(thread) = related.thread.as_mut().filter(|_| rel_type == THREAD) {
            let tally = thread.senders.get_mut(&event.pdu.sender).unwrap_or(&mut thread.others);
            *tally = tally.saturating_sub(1);
            thread.senders.retain(|_, count| *count > 0);
            let latest = match thread.latest == order {
                true => self.latest_in_thread(&parent).await?.unwrap_or(i64::MIN),
                false => thread.latest,
            };
            self.move_thread(&parent, thread, latest);
            related.thread = related.thread.filter(|thread| thread.latest != i64::MIN);
        }
        self.relations.related.insert(parent, related);
        Ok(())
    }

    /// Puts what this append did to the index into its batch.
    pub(super) fn write_relations(&mut self) {
        let FreshRelations { children, related } = std::mem::take(&mut self.relations);
        for (key, row) in children {
            match row {
                Some(row) => self.batch.put::<Relations>(&key, &row),
                None => self.batch.delete::<Relations>(&key),
            }
        }
        for (parent, row) in related {
            let key = (self.room.num, parent);
            match row.kinds.is_empty() {
                true => self.batch.delete::<Related>(&key),
                false => self.batch.put::<Related>(&key, &row),
            }
        }
    }

    /// Whether this append leaves something in the index.
    pub fn has_relations(&self) -> bool {
        self.relations.children.values().any(Option::is_some)
    }

    async fn related(&self, parent: &OwnedEventId) -> Result<RelatedRow, StoreError> {
        if let Some(row) = self.relations.related.get(parent) {
            return Ok(row.clone());
        }
        if self.live.relations == RelationsIndex::Empty {
            return Ok(RelatedRow::default());
        }
        Ok(self.server.database.get::<Related>(&(self.room.num, parent.clone())).await?.unwrap_or_default())
    }

    /// Puts a thread where its latest event now is; `i64::MIN` if it has none.
    fn move_thread(&mut self, root: &OwnedEventId, thread: &mut ThreadTally, latest: i64) {
        if thread.latest == latest {
            return;
        }
        if thread.latest != i64::MIN {
            self.batch.delete::<Threads>(&(self.room.num, thread.latest));
        }
        if latest != i64::MIN {
            self.batch.put::<Threads>(&(self.room.num, latest), root);
        }
        thread.latest = latest;
    }

    async fn latest_in_thread(&self, root: &OwnedEventId) -> Result<Option<i64>, StoreError> {
        let start = (self.room.num, root.clone(), THREAD.to_owned(), i64::MIN);
        let mut end = (self.room.num, root.clone(), THREAD.to_owned(), i64::MAX);
        let fresh = self.relations.children.range(start.clone()..end.clone());
        let fresh = fresh.filter(|(_, row)| row.is_some()).map(|(key, _)| key.3).max();
        loop {
            let rows = self.server.database.scan_range::<Relations>(
                &start,
                &end,
                Direction::Descending,
                LATEST_SEARCHED_AT_ONCE,
            );
            let rows = rows.await?;
            let stays = |key: &Key| self.relations.children.get(key).is_none_or(Option::is_some);
            let stored = rows.iter().map(|(key, _)| key).find(|key| stays(key)).map(|key| key.3);
            match rows.last() {
                Some((last, _)) if stored.is_none() => end.3 = last.3,
                _ => return Ok(stored.max(fresh)),
            }
        }
    }
}

/// Where the events of `sender` are counted.
fn tally_of<'a>(thread: &'a mut ThreadTally, sender: &OwnedUserId) -> &'a mut u32 {
    if thread.senders.contains_key(sender) || thread.senders.len() < THREAD_SENDERS_MAX {
        return thread.senders.entry(sender.clone()).or_default();
    }
    &mut thread.others
}
