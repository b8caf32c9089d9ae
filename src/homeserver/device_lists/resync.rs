//! Lists that miss an update are asked for again: one at a time of each server, each after a pause, with a back-off that a
//! returning server cuts short.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use futures::future::{Either, select};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, api::federation::device::get_devices::v1, serde::Raw};
use serde_json::{Map, Value};

use super::{
    COPIES_PER_SERVER_MAX_BYTES, DeviceLists, LISTED_DEVICES_MAX, List, Tie, bytes_of_list, commit, copied,
    put_uncopied, signing_keys, tie,
};
use crate::{
    domain::{
        device_list::{self, note_seen},
        outbox::Backoff,
    },
    homeserver::{Homeserver, notifier::Notifier, peers::PeerError, refusals},
    ports::{Batch, Lane, StoreError},
    storage::tables::{CrossSigningKeys, DeviceListCopy, DeviceListRow, ListedDeviceRow, ListedDevices},
};

/// How often one list is asked for at most, in milliseconds.
pub const ASKED_AGAIN_AFTER_MS: u64 = 10_000;
/// The longest wait for a server that does not answer, in milliseconds.
pub const RESYNC_BACKOFF_MAX_MS: u64 = 60 * 60 * 1_000;
/// Lists of one server that wait to be asked for; of further users none is kept until somebody asks.
pub const STALE_PER_SERVER_MAX: usize = 1_000;
/// How long a server may take to answer, in milliseconds.
pub const PATIENCE_MS: u64 = 30_000;
/// The most bytes a list may have that a server answers with.
pub const LIST_MAX_BYTES: usize = 2 << 20;
/// Lists whose last asking is remembered, of each server.
const ASKED_REMEMBERED_MAX: usize = STALE_PER_SERVER_MAX;

/// What is to be asked of one server.
#[derive(Default)]
struct Queue {
    /// Users whose lists miss something.
    stale: Vec<OwnedUserId>,
    /// When each list was last asked for.
    asked_ms: BTreeMap<OwnedUserId, u64>,
    backoff: Backoff,
    running: bool,
}

impl Queue {
    /// Who is next, and from when on.
    fn next(&self) -> Option<(OwnedUserId, u64)> {
        let from = |user: &OwnedUserId| self.asked_ms.get(user).map_or(0, |asked| asked + ASKED_AGAIN_AFTER_MS);
        let next = self.stale.iter().min_by_key(|user| from(user))?;
        Some((next.clone(), from(next).max(self.backoff.retry_at_ms().unwrap_or(0))))
    }

    fn note_asked(&mut self, user: &UserId, now_ms: u64) {
        self.asked_ms.retain(|_, asked| *asked + ASKED_AGAIN_AFTER_MS > now_ms);
        if self.asked_ms.len() < ASKED_REMEMBERED_MAX {
            self.asked_ms.insert(user.to_owned(), now_ms);
        }
    }
}

#[derive(Default)]
pub struct Resyncs {
    queues: RefCell<BTreeMap<OwnedServerName, Queue>>,
    /// Told when a wait may be over sooner.
    returned: Notifier,
}

/// A list as its server answered, and as of which update.
pub struct Fetched {
    pub list: List,
    stream_id: u64,
    /// The updates that had come when it was asked for.
    seen: Vec<u64>,
}

/// Asks again for what an earlier run missed.
pub fn resume(server: &Rc<Homeserver>) {
    let stale: Vec<OwnedUserId> = {
        let index = server.device_lists.index.borrow();
        let stale = index.rows.iter().filter(|(_, row)| row.copy == DeviceListCopy::Stale);
        stale.map(|(user, _)| user.clone()).collect()
    };
    for user in stale {
        server.device_lists.enqueue(&user);
        wake(server, &user);
    }
}

/// A server is there again: what it is to be asked need not wait any longer.
pub fn seen(server: &Homeserver, name: &ServerName) {
    let resyncs = &server.device_lists.resyncs;
    if let Some(queue) = resyncs.queues.borrow_mut().get_mut(name) {
        queue.backoff.on_peer_seen();
    }
    resyncs.returned.notify();
}

impl DeviceLists {
    /// Whether there is room for one more list to be asked for; then it waits.
    fn enqueue(&self, user: &UserId) -> bool {
        let mut queues = self.resyncs.queues.borrow_mut();
        let queue = queues.entry(user.server_name().to_owned()).or_default();
        if queue.stale.iter().any(|waiting| waiting == user) {
            return true;
        }
        let room = queue.stale.len() < STALE_PER_SERVER_MAX;
        if room {
            queue.stale.push(user.to_owned());
        }
        room
    }

    fn dequeue(&self, user: &UserId) {
        if let Some(queue) = self.resyncs.queues.borrow_mut().get_mut(user.server_name()) {
            queue.stale.retain(|waiting| waiting != user);
        }
    }
}

/// Notes that our copy of the user's list misses something. Of those that find no place among what is to be asked for no
/// copy is kept. Called under `writing`.
pub(super) async fn set_stale(server: &Homeserver, user: &UserId, mut row: DeviceListRow) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let already = row.copy == DeviceListCopy::Stale;
    row.copy = DeviceListCopy::Stale;
    if !server.device_lists.enqueue(user) {
        let rule = "too many lists of this server are to be asked for";
        refusals::note(server, user.server_name(), &format!("an update of the devices of {user}"), &rule);
        put_uncopied(server, &mut batch, user, &mut row).await?;
    }
    let position = if already { None } else { Some(server.positions.next().await?) };
    if let Some(position) = &position {
        row.changed_at = position.value();
    }
    commit(server, batch, user, row, position).await
}

/// The list need not be asked for any longer.
pub(super) fn forget(server: &Homeserver, user: &UserId) {
    server.device_lists.dequeue(user);
}

/// Sees to it that what waits for the user's server is asked for.
pub(super) fn wake(server: &Rc<Homeserver>, user: &UserId) {
    let name = user.server_name().to_owned();
    {
        let mut queues = server.device_lists.resyncs.queues.borrow_mut();
        let Some(queue) = queues.get_mut(&name) else { return };
        if queue.stale.is_empty() || std::mem::replace(&mut queue.running, true) {
            return;
        }
    }
    server.environment.tasks.spawn(Box::pin(run(Rc::downgrade(server), name)));
}

/// Asks one server for one list after the other until none is stale.
async fn run(server: Weak<Homeserver>, name: OwnedServerName) {
    loop {
        let (sleep, returned) = {
            let Some(server) = server.upgrade() else { return };
            let now_ms = server.environment.clock.now_ms();
            let next = {
                let mut queues = server.device_lists.resyncs.queues.borrow_mut();
                let Some(queue) = queues.get_mut(&name) else { return };
                let next = queue.next();
                if next.is_none() {
                    queue.running = false;
                    // When each was asked still counts.
                    let idle = queue.asked_ms.values().all(|asked| asked + ASKED_AGAIN_AFTER_MS <= now_ms);
                    if idle {
                        queues.remove(&name);
                    }
                    return;
                }
                next
            };
            let Some((user, from_ms)) = next else { return };
            if from_ms <= now_ms {
                if let Err(error) = ask(&server, &name, &user).await {
                    tracing::warn!(%user, %error, "a list of devices could not be kept");
                    fail(&server, &name);
                }
                continue;
            }
            let returned = server.device_lists.resyncs.returned.listen();
            (server.environment.clock.sleep_ms(from_ms - now_ms), returned)
        };
        select(sleep, returned).await;
    }
}

async fn ask(server: &Rc<Homeserver>, name: &ServerName, user: &UserId) -> Result<(), StoreError> {
    let now_ms = server.environment.clock.now_ms();
    if let Some(queue) = server.device_lists.resyncs.queues.borrow_mut().get_mut(name) {
        queue.note_asked(user, now_ms);
        queue.backoff.on_start();
    }
    match fetch(server, user).await {
        Ok(fetched) => {
            succeed(server, name);
            keep(server, user, fetched).await
        }
        Err(error) if error.is_temporary() => {
            fail(server, name);
            Ok(())
        }
        Err(error) => {
            tracing::info!(%user, %error, "no copy is kept of a list of devices");
            succeed(server, name);
            give_up(server, user).await
        }
    }
}

fn succeed(server: &Homeserver, name: &ServerName) {
    if let Some(queue) = server.device_lists.resyncs.queues.borrow_mut().get_mut(name) {
        queue.backoff.on_success();
    }
}

fn fail(server: &Homeserver, name: &ServerName) {
    let mut random = [0; 8];
    server.environment.entropy.fill(&mut random);
    let now_ms = server.environment.clock.now_ms();
    if let Some(queue) = server.device_lists.resyncs.queues.borrow_mut().get_mut(name) {
        queue.backoff.on_failure(now_ms, u64::from_le_bytes(random), RESYNC_BACKOFF_MAX_MS);
    }
}

/// The list as the user's server has it now.
pub(super) async fn fetch(server: &Homeserver, user: &UserId) -> Result<Fetched, PeerError> {
    let name = user.server_name().to_owned();
    let seen = server.device_lists.row(user).map(|row| row.seen).unwrap_or_default();
    let request = v1::Request::new(user.to_owned());
    let asking = Box::pin(server.ask_for_at_most(&name, Lane::Queries, request, LIST_MAX_BYTES));
    let response = match select(asking, server.environment.clock.sleep_ms(PATIENCE_MS)).await {
        Either::Left((response, _)) => response?,
        Either::Right(_) => return Err(crate::ports::TransportError::TimedOut { server: name.clone() }.into()),
    };
    read(server, user, response, seen).map_err(|rule| server.malformed(&name, rule))
}

/// The list that an answer holds, without the devices and keys that cannot be so.
fn read(server: &Homeserver, user: &UserId, answer: v1::Response, seen: Vec<u64>) -> Result<Fetched, String> {
    if answer.user_id != user {
        return Err(format!("it lists the devices of {} instead of those of {user}", answer.user_id));
    }
    if answer.devices.len() > LISTED_DEVICES_MAX {
        return Err(format!("it lists more than {LISTED_DEVICES_MAX} devices of {user}"));
    }
    let mut list = List::default();
    for device in answer.devices {
        let keys = object(&device.keys);
        let id = device.device_id;
        let name = device.device_display_name;
        match device_list::check(user, id.as_str(), name.as_deref(), keys.as_ref()) {
            Ok(()) => drop(list.devices.insert(id, ListedDeviceRow { display_name: name, keys })),
            Err(rule) => refusals::note(server, user.server_name(), &format!("a device of {user}"), &rule),
        }
    }
    let (master, self_signing) =
        (answer.master_key.as_ref().and_then(object), answer.self_signing_key.as_ref().and_then(object));
    list.keys = signing_keys::checked(server, user, master, self_signing);
    Ok(Fetched { list, stream_id: answer.stream_id.into(), seen })
}

fn object<T>(raw: &Raw<T>) -> Option<Map<String, Value>> {
    serde_json::from_str(raw.json().get()).ok()
}

/// Keeps a list that was asked for, if its user shares a room with one of ours and there is room for it.
pub(super) async fn keep(server: &Rc<Homeserver>, user: &UserId, fetched: Fetched) -> Result<(), StoreError> {
    let _writing = server.device_lists.writing.lock().await;
    server.device_lists.dequeue(user);
    if tie(server, user).await? == Tie::None {
        return Ok(());
    }
    let mut row = server.device_lists.row(user).unwrap_or_default();
    let had_copy = row.copy != DeviceListCopy::None;
    let before = copied(server, user).await?;
    let mut batch = Batch::default();
    let bytes = bytes_of_list(&fetched.list);
    if server.device_lists.fits(user.server_name(), row.bytes, bytes) {
        for id in before.devices.keys().filter(|id| !fetched.list.devices.contains_key(*id)) {
            batch.delete::<ListedDevices>(&(user.to_owned(), id.clone()));
        }
        for (id, device) in &fetched.list.devices {
            batch.put::<ListedDevices>(&(user.to_owned(), id.clone()), device);
        }
        batch.put::<CrossSigningKeys>(&user.to_owned(), &fetched.list.keys);
        // What came while it was asked for may be newer than the answer.
        let missed = row.seen.iter().any(|id| *id > fetched.stream_id && !fetched.seen.contains(id));
        let asked_again = missed && server.device_lists.enqueue(user);
        row.copy = if asked_again { DeviceListCopy::Stale } else { DeviceListCopy::Good };
        (row.stream_id, row.bytes) = (fetched.stream_id, bytes);
        row.seen.retain(|id| *id <= fetched.stream_id);
        note_seen(&mut row.seen, fetched.stream_id);
    } else {
        let rule = format!("the lists of one server's users have at most {COPIES_PER_SERVER_MAX_BYTES} bytes");
        refusals::note(server, user.server_name(), &format!("the list of the devices of {user}"), &rule);
        put_uncopied(server, &mut batch, user, &mut row).await?;
    }
    // Who asks for a first copy knows what it gets; whose copy this one replaces does not.
    let is_news = had_copy && before != fetched.list;
    let position = if is_news { Some(server.positions.next().await?) } else { None };
    if let Some(position) = &position {
        row.changed_at = position.value();
    }
    commit(server, batch, user, row, position).await?;
    wake(server, user);
    Ok(())
}

/// The list is not to be had: no copy of it is kept.
async fn give_up(server: &Rc<Homeserver>, user: &UserId) -> Result<(), StoreError> {
    let _writing = server.device_lists.writing.lock().await;
    server.device_lists.dequeue(user);
    let Some(mut row) = server.device_lists.row(user) else { return Ok(()) };
    let mut batch = Batch::default();
    put_uncopied(server, &mut batch, user, &mut row).await?;
    commit(server, batch, user, row, None).await
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn only_so_many_lists_of_one_server_wait_to_be_asked_for() {
        let lists = DeviceLists::default();
        for n in 0..STALE_PER_SERVER_MAX {
            let user = UserId::parse(format!("@u{n}:a.example")).unwrap();
            assert!(lists.enqueue(&user) && lists.enqueue(&user), "{n}");
        }
        assert!(!lists.enqueue(user_id!("@more:a.example")));
        assert!(lists.enqueue(user_id!("@u7:a.example")), "it waits already");
        assert!(lists.enqueue(user_id!("@more:b.example")), "others have a place of their own");
        lists.dequeue(user_id!("@u7:a.example"));
        assert!(lists.enqueue(user_id!("@more:a.example")));
    }
}
