//! What waits for servers that we cannot reach: members of the same room that can are asked to greet them, and they
//! fetch from those. Nobody passes on an event itself, so nobody need be believed.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    rc::{Rc, Weak},
};

use futures::future::LocalBoxFuture;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};

use super::{HEADS_ROOMS_PER_EDU, tell};
use crate::{
    domain::outbox::TRANSACTION_PDUS_MAX,
    homeserver::{Homeserver, rooms::Room},
    ports::StoreError,
    storage::{
        Direction,
        tables::{Outbox, OutboxRow},
    },
};

/// Servers named as absent in one EDU, and asked about in one round.
pub const ABSENT_PER_EDU_MAX: usize = 50;
/// Members of a room asked in one round. The next round asks others.
const ASKED_PER_ROOM_MAX: usize = 3;
/// Others are asked about a server after so many failures to reach it, and again when something new waits for it. With the
/// back-off of the outbox that is nearly two hours.
pub const ASKED_ABOUT_FAILURES_MAX: u32 = 20;
/// How long servers that do not answer are collected before others are asked about them, in milliseconds.
const ASK_EVERY_MS: u64 = 2_000;
/// One server is greeted for others no more often than this, in milliseconds, whoever asks.
const GREET_EVERY_MS: u64 = 5_000;

#[derive(Default)]
pub struct Absent {
    /// Servers that something waits for and that were not reached, since others were asked last.
    missed: RefCell<BTreeSet<OwnedServerName>>,
    asking: Cell<bool>,
    /// Servers that are greeted for others, and the rooms for the next time.
    greeting: RefCell<BTreeMap<OwnedServerName, BTreeSet<OwnedRoomId>>>,
}

/// `destination` does not answer, and events wait for it: others are asked soon.
pub fn missed(server: &Rc<Homeserver>, destination: &ServerName) {
    server.absent.missed.borrow_mut().insert(destination.to_owned());
    if server.absent.asking.replace(true) {
        return;
    }
    let weak = Rc::downgrade(server);
    let sleep = sleeper(server, ASK_EVERY_MS);
    server.environment.tasks.spawn(Box::pin(async move {
        loop {
            sleep().await;
            let Some(server) = weak.upgrade() else { return };
            let missed = take_some(&mut server.absent.missed.borrow_mut());
            if missed.is_empty() {
                server.absent.asking.set(false);
                return;
            }
            if let Err(error) = ask_around(&server, missed).await {
                tracing::warn!(%error, "nobody could be asked to greet servers that are away");
            }
        }
    }));
}

/// Asks connected members of the rooms that something waits in.
async fn ask_around(server: &Rc<Homeserver>, missed: BTreeSet<OwnedServerName>) -> Result<(), StoreError> {
    let mut absent_by_room: BTreeMap<OwnedRoomId, BTreeSet<OwnedServerName>> = BTreeMap::new();
    for name in &missed {
        for room_id in rooms_waiting(server, name).await? {
            absent_by_room.entry(room_id).or_default().insert(name.clone());
        }
    }
    let connected: BTreeSet<_> = server.environment.transport.connected().into_iter().collect();
    let mut asked: BTreeMap<OwnedServerName, (Vec<Rc<Room>>, BTreeSet<OwnedServerName>)> = BTreeMap::new();
    for (room_id, absent) in absent_by_room {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident {
            continue;
        }
        let could = |name: &OwnedServerName| name != server.server_name() && !missed.contains(name);
        let reachable = room.joined_servers().into_iter().filter(|name| connected.contains(name) && could(name));
        for name in some_of(server, reachable.collect()) {
            let (rooms, names) = asked.entry(name).or_default();
            rooms.push(room.clone());
            names.extend(absent.iter().cloned());
        }
    }
    for (name, (rooms, absent)) in asked {
        tracing::debug!(asked = %name, absent = absent.len(), "asking a member to greet others");
        for rooms in rooms.chunks(HEADS_ROOMS_PER_EDU) {
            tell(server, &name, rooms, true, absent.iter().cloned().collect());
        }
    }
    Ok(())
}

/// The rooms of the newest events that wait for `destination`.
async fn rooms_waiting(
    server: &Homeserver,
    destination: &OwnedServerName,
) -> Result<BTreeSet<OwnedRoomId>, StoreError> {
    let rows =
        server.database.scan_prefix::<Outbox, _>(destination, Direction::Descending, TRANSACTION_PDUS_MAX).await?;
    let pdus = rows.into_iter().filter_map(|(_, row)| match row {
        OutboxRow::Pdu(event_id) => Some(event_id),
        OutboxRow::Invite(_) | OutboxRow::Edu(_) => None,
    });
    let events = server.rooms.events.get_many(&pdus.collect::<Vec<OwnedEventId>>()).await?;
    Ok(events.into_iter().flatten().map(|event| event.pdu.room_id.clone()).collect())
}

/// Up to [`ASKED_PER_ROOM_MAX`] of `names`, others each time.
fn some_of(server: &Homeserver, names: Vec<OwnedServerName>) -> Vec<OwnedServerName> {
    let start = server.random_below(names.len().max(1) as u64);
    names.iter().cycle().skip(start as usize).take(names.len().min(ASKED_PER_ROOM_MAX)).cloned().collect()
}

/// `origin` cannot reach `absent`: those of them that are connected to us are told our heads of the `rooms` that all
/// three are in.
pub async fn greet(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    rooms: &[Rc<Room>],
    absent: Vec<OwnedServerName>,
) {
    let connected = server.environment.transport.connected();
    let rooms: Vec<_> = rooms.iter().filter(|room| room.has_joined_server(origin)).collect();
    let greetable = |name: &OwnedServerName| name != origin && name != server.server_name() && connected.contains(name);
    for name in absent.into_iter().take(ABSENT_PER_EDU_MAX).filter(greetable) {
        let shared: BTreeSet<_> =
            rooms.iter().filter(|room| room.has_joined_server(&name)).map(|room| room.id.clone()).collect();
        if !shared.is_empty() {
            greet_in_background(server, name, shared);
        }
    }
}

/// At once, and what is asked for meanwhile when it may be greeted again.
fn greet_in_background(server: &Rc<Homeserver>, name: OwnedServerName, rooms: BTreeSet<OwnedRoomId>) {
    match server.absent.greeting.borrow_mut().entry(name.clone()) {
        Entry::Occupied(mut greeted) => return greeted.get_mut().extend(rooms),
        Entry::Vacant(free) => drop(free.insert(rooms)),
    }
    let weak = Rc::downgrade(server);
    let sleep = sleeper(server, GREET_EVERY_MS);
    server.environment.tasks.spawn(Box::pin(async move {
        while greet_once(&weak, &name).await {
            sleep().await;
        }
    }));
}

/// Returns whether there was anything to greet it for.
async fn greet_once(server: &Weak<Homeserver>, name: &OwnedServerName) -> bool {
    let Some(server) = server.upgrade() else { return false };
    let rooms = server.absent.greeting.borrow_mut().get_mut(name).map(std::mem::take).unwrap_or_default();
    if rooms.is_empty() {
        server.absent.greeting.borrow_mut().remove(name);
        return false;
    }
    let mut shared = Vec::new();
    for room_id in rooms {
        match server.rooms.get(&room_id).await {
            Ok(Some(room)) if room.live().resident && room.has_joined_server(name) => shared.push(room),
            Ok(_) => {}
            Err(error) => tracing::warn!(room = %room_id, %error, "a room could not be read"),
        }
    }
    for rooms in shared.chunks(HEADS_ROOMS_PER_EDU) {
        tell(&server, name, rooms, false, Vec::new());
    }
    true
}

/// Takes up to [`ABSENT_PER_EDU_MAX`] out of `names`.
fn take_some(names: &mut BTreeSet<OwnedServerName>) -> BTreeSet<OwnedServerName> {
    let rest = names.iter().nth(ABSENT_PER_EDU_MAX).cloned().map(|first| names.split_off(&first)).unwrap_or_default();
    std::mem::replace(names, rest)
}

/// Sleeps without keeping the homeserver alive.
fn sleeper(server: &Homeserver, duration_ms: u64) -> impl Fn() -> LocalBoxFuture<'static, ()> + use<> {
    let clock = server.environment.clock.clone();
    move || clock.sleep_ms(duration_ms)
}
