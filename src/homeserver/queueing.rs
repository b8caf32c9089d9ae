//! Waiting in the order one came. The locks of `futures` let newcomers overtake, so that in a storm somebody would wait until
//! it is over.
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// A place in a queue.
#[derive(Default)]
pub struct Place {
    is_called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Place {
    pub fn is_called(&self) -> bool {
        self.is_called.get()
    }

    /// Waits until it is called.
    pub async fn turn(&self) {
        poll_fn(|context| match self.is_called() {
            true => Poll::Ready(()),
            false => {
                self.waker.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await;
    }

    pub fn call(&self) {
        self.is_called.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Default)]
pub struct Queue(RefCell<VecDeque<Rc<Place>>>);

impl Queue {
    pub fn join(&self) -> Rc<Place> {
        let place = Rc::new(Place::default());
        self.0.borrow_mut().push_back(place.clone());
        place
    }

    /// Gives up a place that was not called.
    pub fn leave(&self, place: &Rc<Place>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(other, place));
    }

    /// Calls who came first; answers whether there was anybody.
    pub fn call_first(&self) -> bool {
        let first = self.0.borrow_mut().pop_front();
        first.map(|place| place.call()).is_some()
    }
}

/// A lock that is given in the order it was asked for.
#[derive(Default)]
pub struct FairLock {
    is_held: Cell<bool>,
    queue: Queue,
}

/// Holds the lock, or waits for it; gives either up when it is dropped.
pub struct FairGuard<'a> {
    lock: &'a FairLock,
    place: Rc<Place>,
}

impl FairLock {
    pub async fn lock(&self) -> FairGuard<'_> {
        let place = match self.is_held.replace(true) {
            true => self.queue.join(),
            false => {
                let place = Rc::new(Place::default());
                place.call();
                place
            }
        };
        let guard = FairGuard { lock: self, place };
        guard.place.turn().await;
        guard
    }
}

impl Drop for FairGuard<'_> {
    fn drop(&mut self) {
        if !self.place.is_called() {
            self.lock.queue.leave(&self.place);
        } else if !self.lock.queue.call_first() {
            self.lock.is_held.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_came_first_is_first_even_if_others_come_meanwhile() {
        let lock = FairLock::default();
        let held = lock.lock().now_or_never().unwrap();
        let (mut second, mut third) = (Box::pin(lock.lock()), Box::pin(lock.lock()));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(held);
        assert!(lock.lock().now_or_never().is_none(), "nobody overtakes");
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.now_or_never().expect("it is its turn");
        drop(second);
        assert!(third.now_or_never().is_some());
        assert!(lock.lock().now_or_never().is_some(), "it is free again");
    }

    #[test]
    fn who_no_longer_wants_it_holds_up_nobody() {
        let lock = FairLock::default();
        let held = lock.lock().now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(lock.lock())).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        // One before it is called, and one after, before it noticed.
        drop(waiting.remove(0));
        drop(held);
        drop(waiting.remove(0));
        assert!(waiting.remove(0).now_or_never().is_some());
        drop(waiting);
        assert!(lock.lock().now_or_never().is_some());
    }
}
