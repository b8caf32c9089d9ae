//! Where other servers' joins come in: a few at a time, so that whoever is in the room already waits for a few joins at most,
//! however many come at once.
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use ruma::{OwnedServerName, ServerName};

use super::Room;
use crate::{
    domain::turnstile::{Entry, Turnstile},
    homeserver::{
        Homeserver,
        peers::Busy,
        queueing::{Place, Queue},
    },
};

/// How many others in the room are named to a server that is turned away.
const OTHERS_NAMED_MAX: usize = 3;

#[derive(Default)]
pub struct Doorway {
    turnstile: RefCell<Turnstile<OwnedServerName>>,
    queue: Queue,
}

/// A place inside, or a wait for one; given back when it is dropped.
pub struct Pass<'a> {
    server: &'a Homeserver,
    origin: &'a OwnedServerName,
    place: Rc<Place>,
    entered_ms: Cell<Option<u64>>,
}

/// Waits for a place inside. Errs where there is none for a while.
pub async fn pass<'a>(server: &'a Homeserver, origin: &'a OwnedServerName) -> Result<Pass<'a>, Busy> {
    let doorway = &server.doorway;
    let entry = doorway.turnstile.borrow_mut().enter(origin, server.environment.clock.now_ms());
    let place = match entry {
        Entry::Away { retry_after_ms } => return Err(Busy { retry_after_ms, others: Vec::new() }),
        Entry::Waits => doorway.queue.join(),
        Entry::Inside => {
            let place = Rc::new(Place::default());
            place.call();
            place
        }
    };
    let pass = Pass { server, origin, place, entered_ms: Cell::default() };
    pass.place.turn().await;
    pass.entered_ms.set(Some(server.environment.clock.now_ms()));
    Ok(pass)
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let doorway = &self.server.doorway;
        if !self.place.is_called() {
            doorway.queue.leave(&self.place);
            doorway.turnstile.borrow_mut().give_up(self.origin);
            return;
        }
        let now_ms = self.server.environment.clock.now_ms();
        let took_ms = self.entered_ms.get().map_or(0, |entered_ms| now_ms.saturating_sub(entered_ms));
        doorway.turnstile.borrow_mut().leave(self.origin, took_ms);
        doorway.call_the_next();
    }
}

impl Doorway {
    /// Whether a join that came now would be turned away.
    pub fn is_full(&self) -> bool {
        self.turnstile.borrow().is_full()
    }

    fn call_the_next(&self) {
        while self.turnstile.borrow_mut().let_in() && self.queue.call_first() {}
    }
}

/// When `origin`, which the room would let in, is to ask again, and whom else.
pub fn turn_away(server: &Homeserver, room: &Room, origin: &ServerName) -> Busy {
    let retry_after_ms = server.doorway.turnstile.borrow_mut().turn_away(server.environment.clock.now_ms());
    Busy { retry_after_ms, others: others(server, room, origin) }
}

/// Some servers in the room that we are connected to, others each time, so that the load is theirs in turn.
fn others(server: &Homeserver, room: &Room, origin: &ServerName) -> Vec<OwnedServerName> {
    let joined = room.joined_servers();
    let mut others = server.environment.transport.connected();
    others.retain(|other| other != origin && other != server.server_name() && joined.contains(other));
    if !others.is_empty() {
        let first = server.random_below(others.len() as u64) as usize;
        others.rotate_left(first);
    }
    others.truncate(OTHERS_NAMED_MAX);
    others
}
