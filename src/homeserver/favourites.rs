//! Tells the transport which servers matter, so that those get the few direct connections a tab can have.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName,
    events::{StateEventType, room::join_rules::JoinRule},
};
use serde::Deserialize;

use super::{Homeserver, rooms::Room};
use crate::{
    domain::{event::Pdu, ties::Ties},
    ports::{StoreError, Wanted},
    storage::{Direction, tables::Timeline},
};

/// How long changes are collected before the transport is told, in milliseconds.
pub const TELL_AFTER_MS: u64 = 3_000;

/// Servers the transport is told of. More are wanted like servers that we share nothing with.
pub const WANTED_MAX: usize = 512;

/// Events at the end of a room's timeline that are read once after the start, to know who was heard of last.
const NEWEST_READ: usize = 20;

#[derive(Default)]
pub struct Favourites {
    server: RefCell<Weak<Homeserver>>,
    heard: RefCell<BTreeMap<OwnedRoomId, Heard>>,
    telling: Cell<bool>,
    told: RefCell<Vec<Wanted>>,
}

/// When something was last heard in a room, in milliseconds since 1970 by our own clock.
#[derive(Default)]
struct Heard {
    /// Of each server, this one included, since the start.
    by_server: BTreeMap<OwnedServerName, u64>,
    /// Whether the timeline from before the start has been looked at.
    recalled: bool,
}

impl Heard {
    fn at(&mut self, server: &ServerName, at_ms: u64) {
        match self.by_server.get_mut(server) {
            Some(known) => *known = at_ms.max(*known),
            None => drop(self.by_server.insert(server.to_owned(), at_ms)),
        }
    }
}

impl Favourites {
    pub fn start(&self, server: &Rc<Homeserver>) {
        self.server.replace(Rc::downgrade(server));
    }

    /// Events have become part of a room just now.
    pub fn heard<'a>(&self, room_id: &RoomId, senders: impl Iterator<Item = &'a ServerName>) {
        let Some(server) = self.server.borrow().upgrade() else { return };
        let now_ms = server.environment.clock.now_ms();
        {
            let mut rooms = self.heard.borrow_mut();
            if !rooms.contains_key(room_id) {
                rooms.insert(room_id.to_owned(), Heard::default());
            }
            let heard = rooms.get_mut(room_id).expect("it is there now");
            senders.for_each(|sender| heard.at(sender, now_ms));
        }
        tell_soon(&server);
    }
}

/// Who is in our rooms, or was heard of last, may have changed.
pub fn tell_soon(server: &Rc<Homeserver>) {
    if server.favourites.telling.replace(true) {
        return;
    }
    let (weak, clock) = (Rc::downgrade(server), server.environment.clock.clone());
    server.environment.tasks.spawn(Box::pin(async move {
        clock.sleep_ms(TELL_AFTER_MS).await;
        let Some(server) = weak.upgrade() else { return };
        // What changes from here on is told the next time.
        server.favourites.telling.set(false);
        // With nobody to choose between there is nothing to tell.
        if server.environment.transport.connected().is_empty() {
            return;
        }
        match wanted(&server).await {
            Ok(wanted) if *server.favourites.told.borrow() != wanted => {
                server.favourites.told.replace(wanted.clone());
                server.environment.transport.set_wanted(wanted);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "who matters most cannot be said"),
        }
    }));
}

/// The servers that share rooms with us, most wanted first.
async fn wanted(server: &Rc<Homeserver>) -> Result<Vec<Wanted>, StoreError> {
    let now_ms = server.environment.clock.now_ms();
    let mut ties: BTreeMap<OwnedServerName, Ties> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident {
            continue;
        }
        let is_private = is_private(server, &room).await?;
        recall(server, &room).await?;
        count(server, &room, is_private, now_ms, &mut ties);
        shared.insert(room_id);
        server.environment.clock.yield_now().await;
    }
    server.favourites.heard.borrow_mut().retain(|room_id, _| shared.contains(room_id));
    let mut wanted: Vec<_> = ties.into_iter().map(|(server, ties)| Wanted { server, weight: ties.weight() }).collect();
    wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.weight));
    wanted.truncate(WANTED_MAX);
    Ok(wanted)
}

/// Adds a room that is shared to the ties with each of its servers.
fn count(server: &Homeserver, room: &Room, is_private: bool, now_ms: u64, ties: &mut BTreeMap<OwnedServerName, Ties>) {
    let mut rooms = server.favourites.heard.borrow_mut();
    let heard = rooms.entry(room.id.clone()).or_default();
    let joined = room.joined_servers();
    heard.by_server.retain(|name, _| joined.contains(name));
    let ours_ms = heard.by_server.get(server.server_name()).copied();
    for name in joined.into_iter().filter(|name| name != server.server_name()) {
        let quiet_ms = heard.by_server.get(&name).copied().max(ours_ms).map(|at_ms| now_ms.saturating_sub(at_ms));
        let ties = ties.entry(name).or_default();
        *(if is_private { &mut ties.private_rooms } else { &mut ties.open_rooms }) += 1;
        ties.quiet_ms = [ties.quiet_ms, quiet_ms].into_iter().flatten().min();
    }
}

/// Whether the room is entered by invitation only. One whose rule cannot be read is not.
async fn is_private(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    #[derive(Deserialize)]
    struct Rule {
        join_rule: JoinRule,
    }
    let event_id = room.live().state.get(&StateEventType::RoomJoinRules, "").cloned();
    // Without the event the rule is to be invited (client-server API, "m.room.join_rules").
    let Some(event_id) = event_id else { return Ok(true) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(false) };
    let rule = serde_json::from_str::<Rule>(event.pdu.content.get());
    Ok(rule.is_ok_and(|Rule { join_rule }| matches!(join_rule, JoinRule::Invite | JoinRule::Private | JoinRule::Knock)))
}

/// Looks once at who was heard of in the room before this homeserver started. An event may say it is newer than it is,
/// which a new one would be in truth.
async fn recall(server: &Homeserver, room: &Room) -> Result<(), StoreError> {
    let known = server.favourites.heard.borrow().get(&room.id).is_some_and(|heard| heard.recalled);
    if known {
        return Ok(());
    }
    let rows = server.database.scan_prefix::<Timeline, _>(&room.num, Direction::Descending, NEWEST_READ).await?;
    let ids: Vec<OwnedEventId> = rows.into_iter().map(|(_, event_id)| event_id).collect();
    let events = server.rooms.events.get_many(&ids).await?;
    let now_ms = server.environment.clock.now_ms();
    let mut rooms = server.favourites.heard.borrow_mut();
    let heard = rooms.entry(room.id.clone()).or_default();
    heard.recalled = true;
    for event in events.into_iter().flatten() {
        heard.at(event.pdu.sender.server_name(), said_ms(&event.pdu).min(now_ms));
    }
    Ok(())
}

fn said_ms(pdu: &Pdu) -> u64 {
    pdu.origin_server_ts.get().into()
}
