//! Wakes `/sync` requests that wait for news. What is new they find out themselves, by position.
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
};

#[derive(Default)]
struct State {
    generation: u64,
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
pub struct Notifier(Rc<RefCell<State>>);

impl Notifier {
    /// Says that something clients see has changed. Called after the commit that changed it.
    pub fn notify(&self) {
        let wakers = {
            let mut state = self.0.borrow_mut();
            state.generation += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resolves at the first `notify` after this call (not after the first poll), so that nothing is missed between
    /// looking and waiting.
    pub fn listen(&self) -> impl Future<Output = ()> + Unpin + use<> {
        let state = self.0.clone();
        let heard = state.borrow().generation;
        poll_fn(move |context| {
            let mut state = state.borrow_mut();
            if state.generation != heard {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                state.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, executor::block_on};

    use super::*;

    #[test]
    fn news_between_looking_and_waiting_is_heard() {
        let notifier = Notifier::default();
        let news = notifier.listen();
        notifier.notify();
        block_on(news);
        assert!(notifier.listen().now_or_never().is_none(), "old news does not wake a new listener");
    }
}
