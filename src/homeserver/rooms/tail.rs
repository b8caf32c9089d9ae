//! The end of a room's timeline in memory: what every sync that follows the room asks for.
use std::collections::VecDeque;

use ruma::OwnedEventId;

use crate::storage::Direction;

/// Rows kept of each room.
const TAIL_ROWS_MAX: usize = 32;

/// Every row of the timeline beyond `after`, oldest first.
pub struct Tail {
    after: i64,
    rows: VecDeque<(i64, OwnedEventId)>,
}

impl Tail {
    /// Of a timeline with nothing beyond `newest`.
    pub fn beyond(newest: i64) -> Self {
        Self { after: newest, rows: VecDeque::new() }
    }

    /// Takes over a new last row.
    pub fn push(&mut self, order: i64, event_id: OwnedEventId) {
        self.rows.push_back((order, event_id));
        if self.rows.len() > TAIL_ROWS_MAX
            && let Some((oldest, _)) = self.rows.pop_front()
        {
            self.after = oldest;
        }
    }

    /// The first `limit` rows with `after < order <= through`, or `None` where the store has to be asked for them.
    pub fn read(
        &self,
        after: i64,
        through: i64,
        direction: Direction,
        limit: usize,
    ) -> Option<Vec<(i64, OwnedEventId)>> {
        let rows = self.rows.iter().filter(|(order, _)| after < *order && *order <= through);
        let found: Vec<_> = match direction {
            Direction::Ascending => rows.take(limit).cloned().collect(),
            Direction::Descending => rows.rev().take(limit).cloned().collect(),
        };
        let is_all = after >= self.after || (direction == Direction::Descending && found.len() == limit);
        is_all.then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(order: i64) -> OwnedEventId {
        OwnedEventId::try_from(format!("$event{order}")).unwrap()
    }

    fn orders(rows: Option<Vec<(i64, OwnedEventId)>>) -> Option<Vec<i64>> {
        rows.map(|rows| rows.into_iter().map(|(order, _)| order).collect())
    }

    #[test]
    fn what_is_not_in_memory_is_left_to_the_store() {
        let mut tail = Tail::beyond(10);
        assert_eq!(orders(tail.read(10, i64::MAX, Direction::Descending, 5)), Some(vec![]));
        assert_eq!(tail.read(9, i64::MAX, Direction::Descending, 5), None);
        for order in [11, 13, 17] {
            tail.push(order, id(order));
        }
        assert_eq!(orders(tail.read(10, 13, Direction::Descending, 5)), Some(vec![13, 11]));
        assert_eq!(orders(tail.read(11, i64::MAX, Direction::Ascending, 1)), Some(vec![13]));
        assert_eq!(orders(tail.read(i64::MIN, 16, Direction::Descending, 2)), Some(vec![13, 11]));
        assert_eq!(tail.read(i64::MIN, 16, Direction::Descending, 3), None);
        assert_eq!(tail.read(9, i64::MAX, Direction::Ascending, 1), None);
    }

    #[test]
    fn it_is_bounded() {
        let mut tail = Tail::beyond(0);
        let newest = TAIL_ROWS_MAX as i64 + 2;
        (1..=newest).for_each(|order| tail.push(order, id(order)));
        assert_eq!(tail.rows.len(), TAIL_ROWS_MAX);
        assert_eq!(tail.read(1, newest, Direction::Descending, usize::MAX), None);
        assert_eq!(tail.read(2, newest, Direction::Descending, usize::MAX).unwrap().len(), TAIL_ROWS_MAX);
    }
}
