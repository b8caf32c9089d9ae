//! So many at a time, and the others in the order they came.
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use futures::channel::oneshot;

pub struct Turns {
    free: Cell<usize>,
    waiting_max: usize,
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Turns {
    pub fn new(at_once: usize, waiting_max: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(at_once), waiting_max, waiting: RefCell::default() })
    }

    /// A turn, in the order asked for.
    pub async fn turn(self: &Rc<Self>) -> Result<Turn, TooMany> {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Ok(Turn(Some(self.clone())));
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|waiter| !waiter.is_canceled());
            if waiting.len() >= self.waiting_max {
                return Err(TooMany);
            }
            waiting.push_back(sender);
        }
        // Turns are handed on and never lost, so somebody answers.
        receiver.await.map_err(|_| TooMany)
    }
}

/// Handed to the next in line, or given back, when dropped.
pub struct Turn(Option<Rc<Turns>>);

impl Drop for Turn {
    fn drop(&mut self) {
        // Empty in those that could not be handed on, below.
        let Some(turns) = self.0.take() else { return };
        loop {
            let waiter = turns.waiting.borrow_mut().pop_front();
            let Some(waiter) = waiter else { break };
            match waiter.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // That one stopped waiting.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        turns.free.set(turns.free.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::{
        executor::block_on,
        future::{join_all, poll_immediate},
        poll,
    };

    use super::*;

    #[test]
    fn turns_go_in_order_and_are_never_lost() {
        block_on(async {
            let turns = Turns::new(1, 3);
            let first = turns.turn().await.unwrap();
            let mut second = Box::pin(turns.turn());
            let mut third = Box::pin(turns.turn());
            let mut fourth = Box::pin(turns.turn());
            assert!(
                poll!(&mut second).is_pending() && poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending()
            );
            drop(second);
            drop(first);
            assert!(poll!(&mut fourth).is_pending(), "the third is before the fourth");
            // Handed the turn but never looked at it.
            drop(third);
            let Poll::Ready(Ok(turn)) = poll!(&mut fourth) else { panic!("the turn was lost") };
            drop(turn);
            assert_eq!(turns.free.get(), 1);
        });
    }

    #[test]
    fn the_line_is_bounded_and_all_turns_are_given() {
        block_on(async {
            let turns = Turns::new(4, 16);
            let given = join_all((0..4).map(|_| turns.turn())).await;
            let mut waiting: Vec<_> = (0..16).map(|_| Box::pin(turns.turn())).collect();
            for waiter in &mut waiting {
                assert!(poll!(waiter).is_pending());
            }
            assert_eq!(turns.turn().await.err(), Some(TooMany));
            waiting.pop();
            assert!(poll_immediate(turns.turn()).await.is_none(), "one has left the line");
            drop(given);
            drop(waiting);
            assert_eq!(turns.free.get(), 4);
        });
    }
}
