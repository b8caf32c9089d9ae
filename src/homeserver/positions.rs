//! Stream positions: one counter orders everything that `/sync` tells, and no number is ever used twice.
//!
//! Numbers are reserved in blocks with a strict commit, so that a crash that loses relaxed commits cannot bring one
//! back. A position is visible to readers once every position before it is either written or given up.
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use super::notifier::Notifier;
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{Positions as PositionsTable, PositionsRow},
    },
};

/// How many positions one strict commit reserves.
const POSITIONS_RESERVED_AT_ONCE: u64 = 1 << 20;

struct Counter {
    next: u64,
    reserved_until: u64,
    in_flight: BTreeSet<u64>,
    /// Told when a position goes that held back later ones: whoever wrote those has told readers already.
    notifier: Notifier,
}

#[derive(Clone)]
pub struct Positions {
    database: Database,
    counter: Rc<RefCell<Counter>>,
}

/// A position being written. Give it up by dropping it; either way it stops holding readers back.
pub struct Position {
    value: u64,
    counter: Rc<RefCell<Counter>>,
}

impl Positions {
    pub async fn open(database: Database) -> Result<Self, StoreError> {
        let start = database.get::<PositionsTable>(&()).await?.map_or(1, |row| row.reserved_until);
        let counter =
            Counter { next: start, reserved_until: start, in_flight: BTreeSet::new(), notifier: Notifier::default() };
        let positions = Self { database, counter: Rc::new(RefCell::new(counter)) };
        positions.reserve().await?;
        Ok(positions)
    }

    /// The next position. It counts as in flight until the returned value is dropped.
    pub async fn next(&self) -> Result<Position, StoreError> {
        loop {
            {
                let mut counter = self.counter.borrow_mut();
                if counter.next < counter.reserved_until {
                    let value = counter.next;
                    counter.next += 1;
                    counter.in_flight.insert(value);
                    return Ok(Position { value, counter: self.counter.clone() });
                }
            }
            self.reserve().await?;
        }
    }

    /// The largest position up to which everything is written: the token a sync may hand out now.
    pub fn visible(&self) -> u64 {
        let counter = self.counter.borrow();
        counter.in_flight.first().copied().unwrap_or(counter.next) - 1
    }

    /// What readers listen to for positions becoming visible.
    pub fn notifier(&self) -> Notifier {
        self.counter.borrow().notifier.clone()
    }

    async fn reserve(&self) -> Result<(), StoreError> {
        let until = self.counter.borrow().next + POSITIONS_RESERVED_AT_ONCE;
        let mut batch = Batch::strict();
        batch.put::<PositionsTable>(&(), &PositionsRow { reserved_until: until });
        self.database.commit(batch).await?;
        let mut counter = self.counter.borrow_mut();
        counter.reserved_until = counter.reserved_until.max(until);
        Ok(())
    }
}

impl Position {
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        let held_back = {
            let mut counter = self.counter.borrow_mut();
            let was_first = counter.in_flight.first() == Some(&self.value);
            counter.in_flight.remove(&self.value);
            (was_first && counter.next > self.value + 1).then(|| counter.notifier.clone())
        };
        if let Some(notifier) = held_back {
            notifier.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::storage::memory::MemoryDisk;

    #[test]
    fn readers_never_pass_a_position_in_flight() {
        let positions = block_on(Positions::open(Database::new(Rc::new(MemoryDisk::default().open())))).unwrap();
        let (a, b) = block_on(async { (positions.next().await.unwrap(), positions.next().await.unwrap()) });
        let before = a.value() - 1;
        assert_eq!(positions.visible(), before);
        let b_value = b.value();
        drop(b);
        assert_eq!(positions.visible(), before, "a is still being written");
        drop(a);
        assert_eq!(positions.visible(), b_value);
    }

    #[test]
    fn giving_up_a_position_that_held_others_back_is_told() {
        use futures::FutureExt;
        let positions = block_on(Positions::open(Database::new(Rc::new(MemoryDisk::default().open())))).unwrap();
        let first = block_on(positions.next()).unwrap();
        let alone = positions.notifier().listen();
        drop(first);
        assert!(alone.now_or_never().is_none(), "nobody waits behind it");
        let (first, second) = block_on(async { (positions.next().await.unwrap(), positions.next().await.unwrap()) });
        drop(second);
        let news = positions.notifier().listen();
        drop(first);
        assert!(news.now_or_never().is_some());
    }

    #[test]
    fn no_position_returns_after_a_restart() {
        let disk = MemoryDisk::default();
        let open = || block_on(Positions::open(Database::new(Rc::new(disk.open())))).unwrap();
        let last = block_on(open().next()).unwrap().value();
        assert!(block_on(open().next()).unwrap().value() > last);
    }
}
