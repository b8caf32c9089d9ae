//! Events sent later (MSC4140, "Cancellable delayed events"): scheduled durably, sent by one task that sleeps until the next
//! is due, and managed by whoever knows the id of one.
mod carry_out;
mod listing;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use futures::{future::select, lock::Mutex};
use ruma::{CanonicalJsonObject, OwnedRoomId, OwnedUserId, UserId};
use thiserror::Error;

pub use self::{
    carry_out::CarryOutError,
    listing::{Listing, Order, Outcome, get, list},
};
use super::{Homeserver, client_txns, notifier::Notifier, rooms::send::ClientTxn, sessions::random_token};
use crate::{
    domain::event::PDU_MAX_BYTES,
    ports::{Batch, StoreError},
    storage::tables::{DelayedEventRow, DelayedEvents as Table, DelayedOutcome, FinalisedRow},
};

/// The longest an event may be delayed, in milliseconds: a day.
pub const DELAY_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// The most events a user may have scheduled at once.
pub const SCHEDULED_PER_USER_MAX: usize = 100;
/// How many events of a user are remembered after they were sent or cancelled, and for how long, in milliseconds.
pub const FINALISED_PER_USER_MAX: usize = 100;
pub const FINALISED_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long, in milliseconds, until an event is tried again whose sending failed with the store.
const RETRY_MS: u64 = 30_000;
/// The most bytes of a type or state key (client-server API, "Size limits").
const NAME_MAX_BYTES: usize = 255;

#[derive(Debug, Error)]
pub enum DelayedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`delay` is not a positive number of milliseconds")]
    BadDelay,
    #[error("the delay exceeds the {DELAY_MAX_MS} ms that are allowed")]
    DelayTooLong,
    #[error("there are {SCHEDULED_PER_USER_MAX} delayed events already")]
    TooMany { retry_after_ms: u64 },
    #[error("the event is too large")]
    TooLarge,
    #[error("`redacts` is missing or not an event id")]
    BadRedaction,
    #[error("there is no such delayed event, or none any more")]
    NotFound,
    #[error("the delayed event has been sent")]
    AlreadySent,
    #[error("the delayed event has been cancelled")]
    AlreadyCancelled,
    #[error(transparent)]
    Failed(CarryOutError),
}

/// What a user wants to be sent, and when.
pub struct Request {
    pub room_id: OwnedRoomId,
    pub kind: String,
    pub state_key: Option<String>,
    pub content: CanonicalJsonObject,
    pub delay_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Restart,
    Send,
    Cancel,
}

/// What memory knows of a delayed event.
#[derive(Clone)]
struct Entry {
    user: OwnedUserId,
    /// When it is due; `None` once it was sent or cancelled.
    due_ms: Option<u64>,
    /// When that happened.
    finalised_ms: u64,
    /// Held by whoever decides what becomes of it.
    lock: Rc<Mutex<()>>,
}

impl Entry {
    fn of(row: &DelayedEventRow) -> Self {
        Self {
            user: row.user.clone(),
            due_ms: row.finalised.is_none().then(|| row.due_ms()),
            finalised_ms: row.finalised.as_ref().map_or(0, |finalised| finalised.at_ms),
            lock: Rc::default(),
        }
    }
}

#[derive(Default)]
pub struct DelayedEvents {
    entries: RefCell<BTreeMap<String, Entry>>,
    /// What is scheduled, by when it is due.
    due: RefCell<BTreeSet<(u64, String)>>,
    /// Told when something is due at another time than before.
    changed: Notifier,
    running: Cell<bool>,
    /// Held from asking for a transaction to recording it.
    scheduling: Mutex<()>,
}

impl DelayedEvents {
    fn of_user(&self, user: &UserId) -> Vec<(String, Entry)> {
        let entries = self.entries.borrow();
        let own = entries.iter().filter(|(_, entry)| entry.user == user);
        own.map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    fn entry(&self, delay_id: &str) -> Option<Entry> {
        self.entries.borrow().get(delay_id).cloned()
    }

    fn put(&self, delay_id: &str, entry: Entry) {
        let mut due = self.due.borrow_mut();
        let before = self.entries.borrow_mut().insert(delay_id.to_owned(), entry.clone());
        if let Some(at) = before.and_then(|before| before.due_ms) {
            due.remove(&(at, delay_id.to_owned()));
        }
        if let Some(at) = entry.due_ms {
            due.insert((at, delay_id.to_owned()));
        }
        self.changed.notify();
    }

    fn forget(&self, delay_id: &str) {
        if let Some(at) = self.entries.borrow_mut().remove(delay_id).and_then(|entry| entry.due_ms) {
            self.due.borrow_mut().remove(&(at, delay_id.to_owned()));
        }
    }
}

/// Learns what was scheduled before the start, and goes on with it.
pub async fn start(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    for (delay_id, row) in server.database.scan_all::<Table, _>(&()).await? {
        server.delayed_events.put(&delay_id, Entry::of(&row));
    }
    run_if_needed(server);
    Ok(())
}

/// Schedules an event and returns its delay id. A repeat of `txn` answers with the id of the first time.
pub async fn schedule(
    server: &Rc<Homeserver>,
    user: &OwnedUserId,
    request: Request,
    txn: Option<ClientTxn>,
) -> Result<String, DelayedError> {
    check(&request)?;
    let _scheduling = server.delayed_events.scheduling.lock().await;
    let key = txn.map(|txn| client_txns::key(user, &txn.device_id, &txn.scope, &txn.txn_id));
    if let Some(key) = &key
        && let Some(delay_id) = client_txns::answer(server, key).await?
    {
        return Ok(delay_id);
    }
    let now_ms = server.environment.clock.now_ms();
    let due: Vec<u64> = server.delayed_events.of_user(user).into_iter().filter_map(|(_, entry)| entry.due_ms).collect();
    if due.len() >= SCHEDULED_PER_USER_MAX {
        let next = due.into_iter().min().unwrap_or(now_ms);
        return Err(DelayedError::TooMany { retry_after_ms: next.saturating_sub(now_ms) });
    }
    let delay_id = random_token(&*server.environment.entropy);
    let row = DelayedEventRow {
        user: user.clone(),
        room: request.room_id,
        kind: request.kind,
        state_key: request.state_key,
        content: request.content,
        delay_ms: request.delay_ms,
        running_since_ms: now_ms,
        finalised: None,
    };
    // Nobody could give it back.
    let mut batch = Batch::strict();
    batch.put::<Table>(&delay_id, &row);
    if let Some(key) = &key {
        client_txns::record(server, &mut batch, key, &delay_id);
    }
    server.database.commit(batch).await?;
    server.delayed_events.put(&delay_id, Entry::of(&row));
    run_if_needed(server);
    Ok(delay_id)
}

fn check(request: &Request) -> Result<(), DelayedError> {
    if request.delay_ms == 0 {
        return Err(DelayedError::BadDelay);
    }
    if request.delay_ms > DELAY_MAX_MS {
        return Err(DelayedError::DelayTooLong);
    }
    let json = serde_json::to_string(&request.content).expect("canonical JSON always serializes");
    let state_key = request.state_key.as_ref().map_or(0, String::len);
    if json.len() > PDU_MAX_BYTES || state_key > NAME_MAX_BYTES || request.kind.len() > NAME_MAX_BYTES {
        return Err(DelayedError::TooLarge);
    }
    if request.state_key.is_none() && request.kind == "m.room.redaction" {
        carry_out::take_redacts(&mut request.content.clone()).ok_or(DelayedError::BadRedaction)?;
    }
    Ok(())
}

/// Does to a delayed event what somebody asks who knows its id.
pub async fn act(server: &Rc<Homeserver>, delay_id: &str, action: Action) -> Result<(), DelayedError> {
    let entry = server.delayed_events.entry(delay_id).ok_or(DelayedError::NotFound)?;
    let _deciding = entry.lock.lock().await;
    let row = stored(server, delay_id).await?.ok_or(DelayedError::NotFound)?;
    match (action, &row.finalised) {
        (Action::Restart, None) => restart(server, delay_id, row).await,
        (Action::Cancel, None) => Ok(finalise(server, delay_id, row, true, DelayedOutcome::Cancelled).await?),
        (Action::Send, None) => carry_out::carry_out(server, delay_id, row, true).await.map_err(|error| match error {
            CarryOutError::Store(error) => DelayedError::Store(error),
            other => DelayedError::Failed(other),
        }),
        (action, Some(finalised)) => match (action, &finalised.outcome) {
            (Action::Send, DelayedOutcome::Sent(_)) => Ok(()),
            (Action::Cancel, DelayedOutcome::Cancelled | DelayedOutcome::Failed { .. }) => Ok(()),
            (_, DelayedOutcome::Sent(_)) => Err(DelayedError::AlreadySent),
            (_, DelayedOutcome::Cancelled | DelayedOutcome::Failed { .. }) => Err(DelayedError::AlreadyCancelled),
        },
    }
}

async fn stored(server: &Homeserver, delay_id: &str) -> Result<Option<DelayedEventRow>, StoreError> {
    server.database.get::<Table>(&delay_id.to_owned()).await
}

async fn restart(server: &Rc<Homeserver>, delay_id: &str, row: DelayedEventRow) -> Result<(), DelayedError> {
    let row = DelayedEventRow { running_since_ms: server.environment.clock.now_ms(), ..row };
    // Losing it to a loss of power means an event that is sent early, and whoever is there restarts often.
    let mut batch = Batch::default();
    batch.put::<Table>(&delay_id.to_owned(), &row);
    server.database.commit(batch).await?;
    remember(server, delay_id, &row);
    Ok(())
}

/// Writes what became of an event, and forgets the oldest of such.
async fn finalise(
    server: &Homeserver,
    delay_id: &str,
    row: DelayedEventRow,
    by_action: bool,
    outcome: DelayedOutcome,
) -> Result<(), StoreError> {
    let row = finalised(server, row, by_action, outcome);
    let mut batch = Batch::strict();
    batch.put::<Table>(&delay_id.to_owned(), &row);
    let old = too_old(server, &row.user);
    old.iter().for_each(|id| batch.delete::<Table>(id));
    server.database.commit(batch).await?;
    old.iter().for_each(|id| server.delayed_events.forget(id));
    remember(server, delay_id, &row);
    Ok(())
}

fn finalised(server: &Homeserver, row: DelayedEventRow, by_action: bool, outcome: DelayedOutcome) -> DelayedEventRow {
    let at_ms = server.environment.clock.now_ms();
    DelayedEventRow { finalised: Some(FinalisedRow { at_ms, by_action, outcome }), ..row }
}

/// Takes over what a commit has written.
fn remember(server: &Homeserver, delay_id: &str, row: &DelayedEventRow) {
    let lock = server.delayed_events.entry(delay_id).map(|entry| entry.lock).unwrap_or_default();
    server.delayed_events.put(delay_id, Entry { lock, ..Entry::of(row) });
}

/// What is to be forgotten of a user once one more of its events is finalised.
fn too_old(server: &Homeserver, user: &UserId) -> Vec<String> {
    let oldest_ms = server.environment.clock.now_ms().saturating_sub(FINALISED_KEPT_MS);
    let mut done: Vec<_> =
        server.delayed_events.of_user(user).into_iter().filter(|(_, entry)| entry.due_ms.is_none()).collect();
    done.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.finalised_ms));
    let old = done.into_iter().enumerate();
    let old = old.filter(|(index, (_, entry))| *index + 1 >= FINALISED_PER_USER_MAX || entry.finalised_ms < oldest_ms);
    old.map(|(_, (id, _))| id).collect()
}

fn run_if_needed(server: &Rc<Homeserver>) {
    let delayed = &server.delayed_events;
    if !delayed.due.borrow().is_empty() && !delayed.running.replace(true) {
        server.environment.tasks.spawn(Box::pin(run(Rc::downgrade(server))));
    }
}

/// Sends what is due, one after the other, and ends when nothing is scheduled.
async fn run(server: Weak<Homeserver>) {
    while let Some(server) = server.upgrade() {
        let changed = server.delayed_events.changed.listen();
        let next = server.delayed_events.due.borrow().first().cloned();
        let Some((due_ms, delay_id)) = next else { return server.delayed_events.running.set(false) };
        let now_ms = server.environment.clock.now_ms();
        if due_ms > now_ms {
            let sleep = server.environment.clock.sleep_ms(due_ms - now_ms);
            drop(server);
            select(sleep, changed).await;
            continue;
        }
        if let Err(error) = send_due(&server, &delay_id).await {
            tracing::warn!(%error, "a delayed event could not be sent yet");
            if let Some(entry) = server.delayed_events.entry(&delay_id) {
                server.delayed_events.put(&delay_id, Entry { due_ms: Some(now_ms + RETRY_MS), ..entry });
            }
        }
    }
}

async fn send_due(server: &Rc<Homeserver>, delay_id: &str) -> Result<(), StoreError> {
    let Some(entry) = server.delayed_events.entry(delay_id) else { return Ok(()) };
    let _deciding = entry.lock.lock().await;
    let Some(row) = stored(server, delay_id).await? else {
        server.delayed_events.forget(delay_id);
        return Ok(());
    };
    // Somebody may have been faster.
    if row.finalised.is_some() || row.due_ms() > server.environment.clock.now_ms() {
        remember(server, delay_id, &row);
        return Ok(());
    }
    match carry_out::carry_out(server, delay_id, row.clone(), false).await {
        Ok(()) => Ok(()),
        Err(CarryOutError::Store(error)) => Err(error),
        Err(error) => {
            let outcome = DelayedOutcome::Failed { errcode: error.errcode().to_owned(), error: error.to_string() };
            finalise(server, delay_id, row, false, outcome).await
        }
    }
}
