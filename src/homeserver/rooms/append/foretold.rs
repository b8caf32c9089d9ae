//! What was said of events before they came: that something follows them (gaps of the timeline), that they are redacted.
//! Asked in bulk, since every read of a browser's store is a round trip.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use futures::future::try_join_all;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use super::Append;
use crate::{
    domain::event::Pdu,
    ports::StoreError,
    storage::tables::{GapRow, Gaps, PendingRedactions},
};

/// What the store and this append know of events to come.
#[derive(Default)]
pub(super) struct Foretold {
    /// Events about which the store need not be asked any more.
    asked: BTreeSet<OwnedEventId>,
    gaps: BTreeSet<OwnedEventId>,
    /// Redactions by their target and who sent them.
    redactions: BTreeMap<(OwnedEventId, OwnedUserId), OwnedEventId>,
}

impl Append<'_> {
    /// Asks the store whether it has `ids` and what was said of them, all at once. Appending asks for one that was not
    /// asked for before.
    pub async fn foresee(&mut self, ids: &[OwnedEventId]) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().filter(|id| self.foretold.asked.insert((*id).clone())).cloned().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (_, gaps, redactions) =
            futures::try_join!(self.events(&ids), self.stored_gaps_of(&ids), self.stored_redactions_of(&ids))?;
        for ((_, target, user), redaction) in redactions {
            // One of this append is newer.
            self.foretold.redactions.entry((target, user)).or_insert(redaction);
        }
        self.foretold.gaps.extend(gaps);
        Ok(())
    }

    /// Says that `event_id` is new in the world: nobody can have spoken of it.
    pub(super) fn note_new(&mut self, event_id: OwnedEventId) {
        self.foretold.asked.insert(event_id);
    }

    /// Those of `ids` that something follows in the timeline.
    async fn stored_gaps_of(&self, ids: &[OwnedEventId]) -> Result<Vec<OwnedEventId>, StoreError> {
        let (database, room) = (&self.server.database, self.room.num);
        if !database.has_any::<Gaps, _>(&room).await? {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = ids.iter().map(|id| (room, id.clone())).collect();
        let gaps = database.get_many::<Gaps>(&keys).await?;
        Ok(keys.into_iter().zip(gaps).filter(|(_, gap)| gap.is_some()).map(|((_, id), _)| id).collect())
    }

    async fn stored_redactions_of(
        &self,
        ids: &[OwnedEventId],
    ) -> Result<Vec<((OwnedRoomId, OwnedEventId, OwnedUserId), OwnedEventId)>, StoreError> {
        let (database, room) = (&self.server.database, &self.room.id);
        // Most rooms have none waiting.
        if !database.has_any::<PendingRedactions, _>(&(room.clone(),)).await? {
            return Ok(Vec::new());
        }
        let prefixes: Vec<_> = ids.iter().map(|id| (room.clone(), id.clone())).collect();
        let found =
            try_join_all(prefixes.iter().map(|prefix| database.scan_all::<PendingRedactions, _>(prefix))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Notes which of the events it follows are not in the timeline, and that it fills such a gap itself: whether it does.
    pub(super) async fn note_gaps(&mut self, pdu: &Rc<Pdu>, order: i64) -> Result<bool, StoreError> {
        self.foresee(std::slice::from_ref(&pdu.event_id)).await?;
        let prevs = self.events(&pdu.prev_events).await?;
        for (id, prev) in pdu.prev_events.iter().zip(prevs) {
            if prev.is_none_or(|prev| prev.is_outlier()) {
                self.batch.put::<Gaps>(&(self.room.num, id.clone()), &GapRow { order });
                self.foretold.gaps.insert(id.clone());
            }
        }
        let filled = self.foretold.gaps.remove(&pdu.event_id);
        if filled {
            self.batch.delete::<Gaps>(&(self.room.num, pdu.event_id.clone()));
        }
        Ok(filled)
    }

    /// Keeps a redaction until what it redacts comes.
    pub(super) fn keep_redaction(&mut self, redacts: OwnedEventId, redaction: &Pdu) {
        let key = (self.room.id.clone(), redacts, redaction.sender.clone());
        self.batch.put::<PendingRedactions>(&key, &redaction.event_id);
        self.foretold.redactions.insert((key.1, key.2), redaction.event_id.clone());
    }

    /// The redactions of `target` that came before it: they wait no longer.
    pub(super) async fn take_redactions_of(&mut self, target: &OwnedEventId) -> Result<Vec<OwnedEventId>, StoreError> {
        self.foresee(std::slice::from_ref(target)).await?;
        let waiting: Vec<_> = self.foretold.redactions.extract_if(.., |(id, _), _| id == target).collect();
        for ((_, user), _) in &waiting {
            self.batch.delete::<PendingRedactions>(&(self.room.id.clone(), target.clone(), user.clone()));
        }
        Ok(waiting.into_iter().map(|(_, redaction)| redaction).collect())
    }
}
