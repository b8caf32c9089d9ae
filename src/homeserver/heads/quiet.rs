//! What was missed while everybody was connected: when nothing has happened in a room for a while, its servers compare
//! heads. Then there is silence until something changes.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName};

use super::{HEADS_ROOMS_PER_EDU, tell};
use crate::{
    homeserver::{
        Homeserver,
        rooms::{Room, ingest},
    },
    ports::StoreError,
};

/// A room in which nothing has happened for between one and two of these is compared, in milliseconds.
pub const QUIET_SPELL_MS: u64 = 30_000;
/// Servers that are told our heads of one room, of those connected: the next after ours by name, the second, the fourth.
/// Each is told by three others, so that it hears even if its neighbours missed the same.
const TOLD_PER_ROOM_MAX: usize = 3;

#[derive(Default)]
pub struct Quiet {
    /// What happened since the rooms were compared last.
    changed: RefCell<BTreeMap<OwnedRoomId, Changed>>,
    waiting: Cell<bool>,
}

#[derive(Default)]
struct Changed {
    /// Whether a spell has passed since.
    spell_passed: bool,
    /// Servers that have the same heads by now: they told us.
    agreed: BTreeSet<OwnedServerName>,
}

/// Something happened in the room: its heads are others now, or an event waits for what it follows.
pub fn changed(server: &Rc<Homeserver>, room: &Room) {
    if !room.live().members.has_others() {
        return;
    }
    server.quiet.changed.borrow_mut().insert(room.id.clone(), Changed::default());
    if server.quiet.waiting.replace(true) {
        return;
    }
    let (weak, clock) = (Rc::downgrade(server), server.environment.clock.clone());
    // At different times on different servers, so that one tells the other and need not be told.
    let mut wait_ms = QUIET_SPELL_MS / 2 + server.random_below(QUIET_SPELL_MS);
    server.environment.tasks.spawn(Box::pin(async move {
        loop {
            clock.sleep_ms(wait_ms).await;
            wait_ms = QUIET_SPELL_MS;
            let Some(server) = weak.upgrade() else { return };
            let quiet = server.quiet.take_quiet();
            if let Err(error) = compare(&server, quiet).await {
                tracing::warn!(%error, "rooms could not be compared");
            }
            if server.quiet.changed.borrow().is_empty() {
                server.quiet.waiting.set(false);
                return;
            }
        }
    }));
}

/// `origin` told us that it has the heads we have.
pub fn agreed(server: &Homeserver, room_id: &RoomId, origin: &ServerName) {
    if let Some(changed) = server.quiet.changed.borrow_mut().get_mut(room_id) {
        changed.agreed.insert(origin.to_owned());
    }
}

impl Quiet {
    /// Takes the rooms in which nothing has happened since this was asked last.
    fn take_quiet(&self) -> BTreeMap<OwnedRoomId, Changed> {
        let mut changed = self.changed.borrow_mut();
        let (quiet, rest) = std::mem::take(&mut *changed).into_iter().partition(|(_, changed)| changed.spell_passed);
        *changed = rest;
        changed.values_mut().for_each(|changed| changed.spell_passed = true);
        quiet
    }
}

async fn compare(server: &Rc<Homeserver>, quiet: BTreeMap<OwnedRoomId, Changed>) -> Result<(), StoreError> {
    let connected: BTreeSet<_> = server.environment.transport.connected().into_iter().collect();
    let mut told: BTreeMap<OwnedServerName, Vec<Rc<Room>>> = BTreeMap::new();
    for (room_id, changed) in quiet {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident {
            continue;
        }
        let there: Vec<_> = room.joined_servers().into_iter().filter(|name| connected.contains(name)).collect();
        let next = next_of(server.server_name(), &there);
        for name in next.iter().filter(|name| !changed.agreed.contains(*name)) {
            told.entry(name.clone()).or_default().push(room.clone());
        }
        if let Some(first) = next.first() {
            ingest::retry_staged(server, &room, first).await?;
        }
    }
    for (name, rooms) in told {
        for rooms in rooms.chunks(HEADS_ROOMS_PER_EDU) {
            tell(server, &name, rooms, false, Vec::new());
        }
    }
    Ok(())
}

/// Those of `there`, which are sorted, that come one, two and four after `ours` in the circle of names.
fn next_of(ours: &ServerName, there: &[OwnedServerName]) -> Vec<OwnedServerName> {
    let start = there.partition_point(|name| **name < *ours);
    let circle: Vec<_> = there[start..].iter().chain(&there[..start]).filter(|name| **name != *ours).collect();
    let places = (0..TOLD_PER_ROOM_MAX).map(|n| (1 << n) - 1);
    places.filter_map(|place| circle.get(place).map(|name| (*name).clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_by_somebody() {
        for count in 2..40 {
            let names: Vec<OwnedServerName> = (0..count).map(|n| format!("s{n:02}.alt").try_into().unwrap()).collect();
            let told: Vec<_> = names.iter().map(|name| next_of(name, &names)).collect();
            for (name, told) in names.iter().zip(&told) {
                assert!(!told.contains(name) && !told.is_empty() && told.len() <= TOLD_PER_ROOM_MAX);
            }
            for name in &names {
                let tellers = told.iter().filter(|told| told.contains(name)).count();
                assert!(tellers >= TOLD_PER_ROOM_MAX.min(count / 2), "{name} is told by {tellers} of {count}");
            }
        }
    }
}
