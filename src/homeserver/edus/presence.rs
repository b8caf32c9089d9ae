//! Who is there (client-server API, "Presence"): told to whoever shares a room, and, gathered for a moment, to other
//! servers that are connected. Of those who do nothing nothing is said, but that they are still there once in a while.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    rc::{Rc, Weak},
};

use futures::future::select;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, presence::PresenceState};
use serde::Deserialize;
use serde_json::{json, value::RawValue as RawJsonValue};
use thiserror::Error;

use super::{UNTOLD_USER, may_be_told_of};
use crate::{
    domain::presence::{Attention, Presences, Status},
    homeserver::{Homeserver, notifier::Notifier, refusals, rooms::Room, sessions::Session, user_rows},
    ports::{Batch, StoreError},
    storage::tables::{Presence as PresenceTable, PresenceRow},
};

/// The most bytes a status message may have.
pub const STATUS_MSG_MAX_BYTES: usize = 1_024;
/// Users told of in one EDU, and the most believed of one.
pub const USERS_PER_EDU_MAX: usize = 100;
/// How long changes are gathered before other servers are told of them, in milliseconds.
pub const GATHERED_FOR_MS: u64 = 1_000;

#[derive(Debug, Error)]
pub enum PresenceError {
    #[error("presence is turned off on this homeserver")]
    TurnedOff,
    #[error("you share no room with this user")]
    NothingShared,
    #[error("a status message has at most {STATUS_MSG_MAX_BYTES} bytes")]
    MessageTooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Default)]
pub struct Presence {
    all: RefCell<Presences>,
    /// When clients were last to be told of each user, as a stream position, and the newest of these.
    changed: RefCell<BTreeMap<OwnedUserId, u64>>,
    newest: Cell<u64>,
    /// Whom each server is to be told of.
    untold: RefCell<BTreeMap<OwnedServerName, BTreeSet<OwnedUserId>>>,
    telling: Cell<bool>,
    expiring: Cell<bool>,
    deadlines: Notifier,
}

impl Presence {
    /// The position of the newest change.
    pub fn newest(&self) -> u64 {
        self.newest.get()
    }

    /// Users with the positions at which clients are told of them.
    pub fn changes(&self) -> Vec<(OwnedUserId, u64)> {
        self.changed.borrow().iter().map(|(user, position)| (user.clone(), *position)).collect()
    }

    /// The position at which clients were last to be told of a user.
    pub fn changed_at(&self, user: &UserId) -> u64 {
        self.changed.borrow().get(user).copied().unwrap_or_default()
    }

    /// Everybody who is not offline.
    pub fn here(&self) -> Vec<OwnedUserId> {
        self.all.borrow().here().cloned().collect()
    }

    /// What is known of a user.
    pub fn status(&self, server: &Homeserver, user: &UserId) -> Option<Status> {
        self.all.borrow().status(user, server.environment.clock.now_ms())
    }
}

/// A device syncs, for up to `wait_ms`, and says how its user is to be shown. Offline: not on its account.
pub async fn synced(
    server: &Rc<Homeserver>,
    session: &Session,
    shown: &PresenceState,
    wait_ms: u64,
) -> Result<(), StoreError> {
    let attention = match shown {
        PresenceState::Online => Attention::Attended,
        PresenceState::Unavailable => Attention::Idle,
        _ => return Ok(()),
    };
    if !server.options.presence {
        return Ok(());
    }
    recall(server, &session.user_id).await?;
    let now_ms = server.environment.clock.now_ms();
    let all = &server.presence.all;
    let changed = all.borrow_mut().synced(&session.user_id, &session.device_id, attention, now_ms, wait_ms);
    own_changed(server, &session.user_id, changed).await
}

/// A user says how to be shown.
pub async fn set(
    server: &Rc<Homeserver>,
    session: &Session,
    presence: &PresenceState,
    status_msg: Option<String>,
) -> Result<(), PresenceError> {
    if !server.options.presence {
        return Err(PresenceError::TurnedOff);
    }
    if status_msg.as_ref().is_some_and(|text| text.len() > STATUS_MSG_MAX_BYTES) {
        return Err(PresenceError::MessageTooLong);
    }
    recall(server, &session.user_id).await?;
    let now_ms = server.environment.clock.now_ms();
    let status_msg = status_msg.filter(|text| !text.is_empty());
    let all = &server.presence.all;
    let changed = all.borrow_mut().set(&session.user_id, &session.device_id, presence, status_msg, now_ms);
    own_changed(server, &session.user_id, changed).await?;
    Ok(keep(server, &session.user_id).await?)
}

/// A local user did something that shows somebody is there.
pub async fn active(server: &Rc<Homeserver>, user: &UserId) -> Result<(), StoreError> {
    if !server.options.presence {
        return Ok(());
    }
    let now_ms = server.environment.clock.now_ms();
    let changed = server.presence.all.borrow_mut().active(user, now_ms);
    own_changed(server, user, changed).await
}

/// How `user` is, for `viewer`: oneself, and whoever one shares a room with.
pub async fn get(server: &Homeserver, viewer: &UserId, user: &UserId) -> Result<Status, PresenceError> {
    if !server.options.presence {
        return Err(PresenceError::TurnedOff);
    }
    if viewer != user && shown_to(server, viewer, [user.to_owned()].into()).await?.is_empty() {
        return Err(PresenceError::NothingShared);
    }
    if user.server_name() == server.server_name() {
        recall(server, user).await?;
    }
    Ok(server.presence.status(server, user).unwrap_or_default())
}

/// Those of `users` who share a room with `viewer`.
pub async fn shown_to(
    server: &Homeserver,
    viewer: &UserId,
    mut users: BTreeSet<OwnedUserId>,
) -> Result<BTreeSet<OwnedUserId>, StoreError> {
    let mut shown = BTreeSet::new();
    if users.is_empty() {
        return Ok(shown);
    }
    for room_id in user_rows::joined_rooms(server, viewer).await? {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        users.retain(|user| {
            let found = room.is_joined(user);
            if found {
                shown.insert(user.clone());
            }
            !found
        });
        if users.is_empty() {
            break;
        }
    }
    Ok(shown)
}

/// Takes in what `origin` says of its users; of those who share no room with ours we keep nothing.
pub async fn apply_incoming(
    server: &Rc<Homeserver>,
    origin: &ServerName,
    content: &RawJsonValue,
) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Content {
        push: Vec<Box<RawJsonValue>>,
    }
    #[derive(Deserialize)]
    struct Update {
        user_id: OwnedUserId,
        presence: PresenceState,
        #[serde(default)]
        status_msg: Option<String>,
        #[serde(default)]
        last_active_ago: Option<u64>,
        #[serde(default)]
        currently_active: Option<bool>,
    }
    if !server.options.presence {
        return Ok(());
    }
    let content: Content = match serde_json::from_str(content.get()) {
        Ok(content) => content,
        Err(error) => {
            refusals::note(server, origin, &"an EDU m.presence", &error);
            return Ok(());
        }
    };
    let refuse = |what: &dyn Display, rule: &dyn Display| refusals::note(server, origin, what, rule);
    if content.push.len() > USERS_PER_EDU_MAX {
        refuse(&"the rest of an EDU m.presence", &format!("it is believed of {USERS_PER_EDU_MAX} users at most"));
    }
    let updates = content.push.iter().take(USERS_PER_EDU_MAX).filter_map(|update| {
        let read = serde_json::from_str::<Update>(update.get());
        read.inspect_err(|error| refuse(&"the presence of a user", error)).ok()
    });
    let now_ms = server.environment.clock.now_ms();
    let mut changed = BTreeSet::new();
    for update in updates {
        if update.user_id.server_name() != origin {
            refuse(&format!("the presence of {}", update.user_id), &"the user is another server's");
            continue;
        }
        let known =
            matches!(update.presence, PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline);
        if !known {
            let rule = "it is none of online, unavailable and offline";
            refuse(&format!("the presence of {}", update.user_id), &rule);
        }
        let may_be_told_of = may_be_told_of(&update.user_id);
        if !may_be_told_of {
            refuse(&format!("the presence of {}", update.user_id), &UNTOLD_USER);
        }
        if !known || !may_be_told_of || !is_neighbour(server, &update.user_id).await? {
            continue;
        }
        let status = Status {
            currently_active: update.currently_active.unwrap_or(false) && update.presence == PresenceState::Online,
            presence: update.presence,
            status_msg: update.status_msg.filter(|text| !text.is_empty() && text.len() <= STATUS_MSG_MAX_BYTES),
            last_active_ms: update.last_active_ago.map(|ago_ms| now_ms.saturating_sub(ago_ms)),
        };
        if server.presence.all.borrow_mut().heard(&update.user_id, status, now_ms) {
            changed.insert(update.user_id);
        }
    }
    note(server, changed).await?;
    expire_later(server);
    Ok(())
}

/// Users have joined a room: those in it and they get to know each other's presence, whose change was told to others only.
/// `position` is that of the join.
pub fn joined(server: &Homeserver, room: &Room, users: &[OwnedUserId], position: u64) {
    if users.is_empty() || !server.options.presence {
        return;
    }
    let here: BTreeSet<OwnedUserId> = server.presence.here().into_iter().filter(|user| room.is_joined(user)).collect();
    let mut changed = server.presence.changed.borrow_mut();
    for user in users.iter().filter(|user| here.contains(*user)) {
        changed.insert(user.clone(), position);
        server.presence.newest.set(server.presence.newest.get().max(position));
    }
    drop(changed);
    let own = server.server_name();
    let connected = server.environment.transport.connected();
    let ours_came = users.iter().any(|user| user.server_name() == own);
    let newcomers: BTreeSet<&ServerName> = users.iter().map(|user| user.server_name()).collect();
    let to = room.joined_servers().into_iter().filter(|to| to != own && connected.contains(to));
    let ours: BTreeSet<OwnedUserId> = here.into_iter().filter(|user| user.server_name() == own).collect();
    for to in to.filter(|to| ours_came || newcomers.contains(&**to)) {
        queue(server, to, ours.clone());
    }
}

/// Tells a server we meet how our users in the rooms it shares are.
pub fn repeat(server: &Homeserver, destination: &OwnedServerName, rooms: &[Rc<Room>]) {
    if !server.options.presence {
        return;
    }
    let ours = server.presence.here().into_iter().filter(|user| user.server_name() == server.server_name());
    let shared = ours.filter(|user| rooms.iter().any(|room| room.is_joined(user)));
    queue(server, destination.clone(), shared.collect());
}

/// What an earlier run knew of a local user.
async fn recall(server: &Homeserver, user: &UserId) -> Result<(), StoreError> {
    if server.presence.all.borrow().knows_own(user) {
        return Ok(());
    }
    let row = server.database.get::<PresenceTable>(&user.to_owned()).await?;
    let (status_msg, last_active_ms) = row.map(|row| (row.status_msg, row.last_active_ms)).unwrap_or_default();
    server.presence.all.borrow_mut().recall(user, status_msg, last_active_ms);
    Ok(())
}

/// Whether a user of another server shares a room with one of ours.
async fn is_neighbour(server: &Homeserver, user: &UserId) -> Result<bool, StoreError> {
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if room.live().resident && room.is_joined(user) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn own_changed(server: &Rc<Homeserver>, user: &UserId, changed: bool) -> Result<(), StoreError> {
    if changed {
        note(server, [user.to_owned()].into()).await?;
        tell_servers(server, user).await?;
    }
    expire_later(server);
    Ok(())
}

/// Has clients told of the users, and the task that lets time pass think again.
async fn note(server: &Rc<Homeserver>, users: BTreeSet<OwnedUserId>) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    let position = server.positions.next().await?;
    let presence = &server.presence;
    presence.changed.borrow_mut().extend(users.into_iter().map(|user| (user, position.value())));
    presence.newest.set(position.value());
    drop(position);
    server.notifier.notify();
    presence.deadlines.notify();
    Ok(())
}

/// Writes what outlives a restart: when a user says something of it, and when one goes. Syncing writes nothing.
async fn keep(server: &Homeserver, user: &UserId) -> Result<(), StoreError> {
    let Some(status) = server.presence.status(server, user) else { return Ok(()) };
    let row = PresenceRow { status_msg: status.status_msg, last_active_ms: status.last_active_ms };
    let mut batch = Batch::default();
    batch.put::<PresenceTable>(&user.to_owned(), &row);
    server.database.commit(batch).await
}

/// Has every connected server that shares a room with a local user told of the user. The others are told when they are
/// met.
async fn tell_servers(server: &Rc<Homeserver>, user: &UserId) -> Result<(), StoreError> {
    let mut connected: BTreeSet<OwnedServerName> = server.environment.transport.connected().into_iter().collect();
    connected.remove(server.server_name());
    let mut sharing = BTreeSet::new();
    for room_id in user_rows::joined_rooms(server, user).await? {
        if connected.is_empty() {
            break;
        }
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        for name in room.joined_servers() {
            if connected.remove(&name) {
                sharing.insert(name);
            }
        }
    }
    for name in sharing {
        queue(server, name, [user.to_owned()].into());
    }
    Ok(())
}

/// Has `destination` told of `users` once the moment for gathering is over.
fn queue(server: &Homeserver, destination: OwnedServerName, users: BTreeSet<OwnedUserId>) {
    if users.is_empty() {
        return;
    }
    let presence = &server.presence;
    presence.untold.borrow_mut().entry(destination).or_default().extend(users);
    if presence.telling.replace(true) {
        return;
    }
    let sleep = server.environment.clock.sleep_ms(GATHERED_FOR_MS);
    let weak = server.sender.server();
    server.environment.tasks.spawn(Box::pin(async move {
        sleep.await;
        let Some(server) = weak.upgrade() else { return };
        server.presence.telling.set(false);
        let untold = server.presence.untold.take();
        for (destination, users) in untold {
            let users: Vec<OwnedUserId> = users.into_iter().collect();
            for users in users.chunks(USERS_PER_EDU_MAX) {
                server.sender.send_passing_edu(&destination, edu_of(&server, users));
            }
        }
    }));
}

fn edu_of(server: &Homeserver, users: &[OwnedUserId]) -> serde_json::Value {
    let now_ms = server.environment.clock.now_ms();
    let update = |user: &OwnedUserId| {
        let status = server.presence.status(server, user)?;
        let mut update = json!({
            "user_id": user,
            "presence": status.presence,
            // The field is required; whoever never did anything did nothing since the beginning of time.
            "last_active_ago": now_ms.saturating_sub(status.last_active_ms.unwrap_or_default()),
            "currently_active": status.currently_active,
        });
        if let Some(status_msg) = status.status_msg {
            update["status_msg"] = status_msg.into();
        }
        Some(update)
    };
    let push: Vec<_> = users.iter().filter_map(update).collect();
    json!({ "edu_type": "m.presence", "content": { "push": push } })
}

/// Sees to it that whoever goes without saying so is noticed in time.
fn expire_later(server: &Rc<Homeserver>) {
    if !server.presence.expiring.replace(true) {
        server.environment.tasks.spawn(Box::pin(expire(Rc::downgrade(server))));
    }
}

async fn expire(server: Weak<Homeserver>) {
    loop {
        let (sleep, sooner) = {
            let Some(server) = server.upgrade() else { return };
            let now_ms = server.environment.clock.now_ms();
            let Some(deadline_ms) = server.presence.all.borrow().next_deadline_ms(now_ms) else {
                server.presence.expiring.set(false);
                return;
            };
            let sooner = server.presence.deadlines.listen();
            (server.environment.clock.sleep_ms(deadline_ms.saturating_sub(now_ms)), sooner)
        };
        select(sleep, sooner).await;
        let Some(server) = server.upgrade() else { return };
        if let Err(error) = expire_now(&server).await {
            tracing::warn!(%error, "presence is told late");
        }
    }
}

async fn expire_now(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    let expired = server.presence.all.borrow_mut().expire(server.environment.clock.now_ms());
    let own = |user: &&OwnedUserId| user.server_name() == server.server_name();
    for user in expired.changed.iter().chain(&expired.repeated).filter(own) {
        tell_servers(server, user).await?;
    }
    for user in expired.changed.iter().filter(own) {
        keep(server, user).await?;
    }
    note(server, expired.changed).await
}
