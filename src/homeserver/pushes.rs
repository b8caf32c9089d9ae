//! Sends notifications to push gateways: one task per pusher with something to send, which goes through what its user was
//! notified of in order, so that a restart goes on where the last run was.
mod message;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use self::message::Message;
use super::{
    Homeserver, notifications,
    pushers::{self, PusherKey},
    unread, user_rows,
};
use crate::{
    domain::outbox::Backoff,
    ports::{Batch, PushGateways, StoreError},
    storage::{
        Direction,
        tables::{Notified, NotifiedRow, PusherRow, Pushers as PushersTable},
    },
};

/// The longest wait between attempts to reach a gateway, in milliseconds.
pub const PUSH_BACKOFF_MAX_MS: u64 = 60 * 60 * 1_000;
/// How long after an event nobody is alerted to it any more, in milliseconds.
pub const PUSH_AGE_MAX_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Default)]
struct Worker {
    running: bool,
    /// Grows with each wake, so that a task about to stop sees that there is more.
    wakes: u64,
    backoff: Backoff,
}

#[derive(Default)]
pub struct Pushes {
    server: RefCell<Weak<Homeserver>>,
    /// Every pusher, whether or not it has something to send. Empty where no gateway can be reached.
    workers: RefCell<BTreeMap<PusherKey, Worker>>,
}

impl Pushes {
    /// Takes up what an earlier run left to send.
    pub async fn start(&self, server: &Rc<Homeserver>) -> Result<(), StoreError> {
        self.server.replace(Rc::downgrade(server));
        if server.environment.push_gateways.is_none() {
            return Ok(());
        }
        for (key, _) in server.database.scan_all::<PushersTable, _>(&()).await? {
            self.set(key);
        }
        Ok(())
    }

    /// A pusher is there, or there anew.
    pub fn set(&self, key: PusherKey) {
        let mut workers = self.workers.borrow_mut();
        let worker = workers.entry(key.clone()).or_default();
        worker.backoff = Backoff::default();
        self.start_worker(&key, worker);
    }

    /// A pusher is gone. A request under way is not taken back.
    pub fn forget(&self, key: &PusherKey) {
        self.workers.borrow_mut().remove(key);
    }

    /// Says that a user was notified of something, or has read something.
    pub fn wake(&self, user: &UserId) {
        let mut workers = self.workers.borrow_mut();
        let start: PusherKey = (user.to_owned(), String::new(), String::new());
        for (key, worker) in workers.range_mut(start..).take_while(|((owner, ..), _)| owner == user) {
            self.start_worker(key, worker);
        }
    }

    fn start_worker(&self, key: &PusherKey, worker: &mut Worker) {
        worker.wakes += 1;
        let Some(server) = self.server.borrow().upgrade() else { return };
        if server.environment.push_gateways.is_some() && !std::mem::replace(&mut worker.running, true) {
            server.environment.tasks.spawn(Box::pin(run(Rc::downgrade(&server), key.clone())));
        }
    }

    fn with<T>(&self, key: &PusherKey, change: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        self.workers.borrow_mut().get_mut(key).map(change)
    }
}

/// What one step of a pusher came to.
enum Step {
    Idle,
    Advanced,
    /// Something earlier is still being written.
    Early,
    Gone,
    Failed(String),
}

/// Works one pusher until there is nothing to send.
async fn run(weak: Weak<Homeserver>, key: PusherKey) {
    loop {
        let Some(server) = weak.upgrade() else { return };
        let Some(wakes) = server.pushes.with(&key, |worker| worker.wakes) else { return };
        let news = server.notifier.listen();
        let step = step(&server, &key).await.unwrap_or_else(|error| Step::Failed(error.to_string()));
        let clock = server.environment.clock.clone();
        match step {
            Step::Advanced => drop(server.pushes.with(&key, |worker| worker.backoff.on_success())),
            Step::Idle => {
                let stop = server.pushes.with(&key, |worker| {
                    worker.running = worker.wakes != wakes;
                    !worker.running
                });
                if stop.unwrap_or(true) {
                    return;
                }
            }
            Step::Early => {
                drop(server);
                news.await;
            }
            Step::Gone => return server.pushes.forget(&key),
            Step::Failed(error) => {
                let mut random = [0; 8];
                server.environment.entropy.fill(&mut random);
                let (now_ms, random) = (clock.now_ms(), u64::from_le_bytes(random));
                let retry = |worker: &mut Worker| worker.backoff.on_failure(now_ms, random, PUSH_BACKOFF_MAX_MS);
                let Some(retry_at_ms) = server.pushes.with(&key, retry) else { return };
                tracing::info!(user = %key.0, app = %key.1, %error, "a push waits");
                drop(server);
                clock.sleep_ms(retry_at_ms.saturating_sub(now_ms)).await;
            }
        }
    }
}

async fn step(server: &Rc<Homeserver>, key: &PusherKey) -> Result<Step, StoreError> {
    let Some(gateways) = server.environment.push_gateways.clone() else { return Ok(Step::Gone) };
    let Some(row) = server.database.get::<PushersTable>(key).await? else { return Ok(Step::Gone) };
    let user = &key.0;
    let visible = server.positions.visible();
    let (start, end) = ((user.clone(), row.through + 1), (user.clone(), u64::MAX));
    let next = server.database.scan_range::<Notified>(&start, &end, Direction::Ascending, 1).await?.pop();
    let unread = unread_of(server, user).await?;
    let Some(((_, position), notified)) = next else {
        if row.told_unread == unread {
            return Ok(Step::Idle);
        }
        return push(server, &*gateways, key, Message::counts(key, &row, unread), row.through, unread).await;
    };
    if position > visible {
        return Ok(Step::Early);
    }
    let now_ms = server.environment.clock.now_ms();
    let stale = now_ms.saturating_sub(notified.ts_ms) > PUSH_AGE_MAX_MS;
    if stale || !concerns(server, user, position, &notified).await? {
        advance(server, key, position, row.told_unread).await?;
        return Ok(Step::Advanced);
    }
    match Message::event(server, key, &row, &notified, unread).await? {
        Some(message) => push(server, &*gateways, key, message, position, unread).await,
        None => {
            advance(server, key, position, row.told_unread).await?;
            Ok(Step::Advanced)
        }
    }
}

/// Whether the user still wants to hear of it: it is unread, and from nobody ignored since.
async fn concerns(
    server: &Homeserver,
    user: &UserId,
    position: u64,
    notified: &NotifiedRow,
) -> Result<bool, StoreError> {
    notifications::is_unread(server, user, position, notified).await
}

async fn push(
    server: &Rc<Homeserver>,
    gateways: &dyn PushGateways,
    key: &PusherKey,
    message: Message,
    through: u64,
    unread: u32,
) -> Result<Step, StoreError> {
    #[derive(Default, Deserialize)]
    struct Answer {
        #[serde(default)]
        rejected: Vec<serde_json::Value>,
    }
    let (status, body) = match gateways.post(&message.url, message.body).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Step::Failed(error.to_string())),
    };
    if !(200..300).contains(&status) {
        return Ok(Step::Failed(format!("the gateway answered {status}")));
    }
    // A gateway that took the message and says nothing of use has taken it.
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    if answer.rejected.iter().any(|rejected| *rejected == key.2.as_str()) {
        tracing::info!(user = %key.0, app = %key.1, "the gateway knows no such device: its pusher is gone");
        pushers::delete_key(server, key).await?;
        return Ok(Step::Gone);
    }
    advance(server, key, through, unread).await?;
    Ok(Step::Advanced)
}

/// Notes how far the pusher has come. A crash may repeat a push, which gateways recognise by its event.
async fn advance(server: &Homeserver, key: &PusherKey, through: u64, told_unread: u32) -> Result<(), StoreError> {
    let _accounts = server.accounts_lock.lock().await;
    let Some(row) = server.database.get::<PushersTable>(key).await? else { return Ok(()) };
    let mut batch = Batch::default();
    batch.put::<PushersTable>(key, &PusherRow { through: row.through.max(through), told_unread, ..row });
    server.database.commit(batch).await
}

/// How much a user has unread in all rooms together.
async fn unread_of(server: &Homeserver, user: &OwnedUserId) -> Result<u32, StoreError> {
    let mut sum = 0_u32;
    for room_id in user_rows::joined_rooms(server, user).await? {
        let counts = unread::counts(server, user, &room_id).await?;
        sum = counts.values().fold(sum, |sum, counts| sum.saturating_add(counts.notifications));
    }
    Ok(sum)
}
