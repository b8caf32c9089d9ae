//! Sends what the outbox holds: one task per destination with something waiting, back-off that a returning peer cuts
//! short, rows deleted once the peer has answered for them.
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::{Rc, Weak},
    task::{Poll, Waker},
};

use futures::future::{Either, poll_fn, select};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedServerName, ServerName,
    api::federation::transactions::send_transaction_message, serde::Raw,
};
use serde::Serialize;

use super::{
    Homeserver,
    heads::{
        HEADS_EDU_TYPE,
        absent::{self, ASKED_ABOUT_FAILURES_MAX},
    },
    peers::PeerError,
};
use crate::{
    domain::outbox::{
        Backoff, OUTBOX_BACKOFF_MAX_MS, OUTBOX_INVITE_BACKOFF_MAX_MS, TRANSACTION_EDUS_MAX, TRANSACTION_PDUS_MAX,
    },
    ports::{Batch, Lane, StoreError},
    storage::{
        Direction,
        tables::{Outbox, OutboxRow},
    },
};

/// The most bytes the EDUs of one transaction have that waited in the outbox, but for a single one that has more: with
/// PDUs of the largest size they fit what servers take of a request.
const TRANSACTION_EDUS_MAX_BYTES: usize = 4 << 20;

/// Passing EDUs (typing, heads) waiting for one destination; the oldest go first.
const PASSING_EDUS_MAX: usize = 100;
/// How often heads are told again to a server that is connected and does not take them.
const HEADS_REPEATS_MAX: u32 = 5;

/// What waits for one destination, for the page to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxStatus {
    pub destination: OwnedServerName,
    pub waiting: usize,
    pub retry_at_ms: Option<u64>,
    pub error: Option<String>,
}

type Row = ((OwnedServerName, u64), OutboxRow);

#[derive(Default)]
struct Destination {
    backoff: Backoff,
    running: bool,
    passing: VecDeque<serde_json::Value>,
    waiting: usize,
    error: Option<String>,
    waker: Option<Waker>,
    /// Grows with each wake, so that a task about to stop sees that there is more.
    wakes: u64,
}

#[derive(Default)]
pub struct Sender {
    server: RefCell<Weak<Homeserver>>,
    destinations: RefCell<BTreeMap<OwnedServerName, Destination>>,
    listeners: RefCell<Vec<Box<dyn Fn()>>>,
}

/// What one round of sending came to.
enum Round {
    Idle,
    Sent,
    Failed {
        error: String,
        retry_max_ms: u64,
        /// As the destination says.
        retry_after_ms: u64,
    },
}

impl Round {
    fn failed(error: impl ToString) -> Self {
        Self::Failed { error: error.to_string(), retry_max_ms: OUTBOX_BACKOFF_MAX_MS, retry_after_ms: 0 }
    }
}

impl Sender {
    /// Takes up what an earlier run left in the outbox.
    pub async fn start(&self, server: &Rc<Homeserver>) -> Result<(), StoreError> {
        self.server.replace(Rc::downgrade(server));
        for ((destination, _), _) in server.database.scan_all::<Outbox, _>(&()).await? {
            self.destinations.borrow_mut().entry(destination).or_default().waiting += 1;
        }
        let destinations: Vec<_> = self.destinations.borrow().keys().cloned().collect();
        destinations.iter().for_each(|destination| self.wake(destination));
        Ok(())
    }

    /// Says that `rows` more wait in the outbox for `destination`.
    pub fn queued(&self, destination: &ServerName, rows: usize) {
        let failing = self.with(destination, |entry| {
            entry.waiting += rows;
            entry.backoff.failures() > 0
        });
        self.changed();
        self.wake(destination);
        let server = self.server.borrow().upgrade();
        if let Some(server) = server.filter(|_| failing) {
            absent::missed(&server, destination);
        }
    }

    /// The homeserver it sends for, for what outlives a borrow of it.
    pub fn server(&self) -> Weak<Homeserver> {
        self.server.borrow().clone()
    }

    /// How many rows of the outbox wait for `destination`.
    pub fn waiting(&self, destination: &ServerName) -> usize {
        self.destinations.borrow().get(destination).map_or(0, |entry| entry.waiting)
    }

    /// Says that something new waits for `destination`.
    pub fn wake(&self, destination: &ServerName) {
        let Some(server) = self.server.borrow().upgrade() else { return };
        let mut destinations = self.destinations.borrow_mut();
        let entry = destinations.entry(destination.to_owned()).or_default();
        entry.wakes += 1;
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
        if !std::mem::replace(&mut entry.running, true) {
            let task = run(server.clone(), destination.to_owned());
            server.environment.tasks.spawn(Box::pin(task));
        }
    }

    /// Says that `destination` is back: whatever waits is tried now.
    pub fn peer_seen(&self, destination: &ServerName) {
        if let Some(entry) = self.destinations.borrow_mut().get_mut(destination) {
            entry.backoff.on_peer_seen();
        }
        self.wake(destination);
    }

    /// Queues an EDU that is worth sending only soon; it does not survive a restart.
    pub fn send_passing_edu(&self, destination: &ServerName, edu: serde_json::Value) {
        {
            let mut destinations = self.destinations.borrow_mut();
            let passing = &mut destinations.entry(destination.to_owned()).or_default().passing;
            if passing.len() == PASSING_EDUS_MAX {
                passing.pop_front();
            }
            passing.push_back(edu);
        }
        self.wake(destination);
    }

    pub fn status(&self) -> Vec<OutboxStatus> {
        let destinations = self.destinations.borrow();
        let waiting = destinations.iter().filter(|(_, entry)| entry.waiting > 0);
        waiting
            .map(|(destination, entry)| OutboxStatus {
                destination: destination.clone(),
                waiting: entry.waiting,
                retry_at_ms: entry.backoff.retry_at_ms(),
                error: entry.error.clone(),
            })
            .collect()
    }

    /// Calls `listener` whenever `status` may have changed.
    pub fn on_change(&self, listener: Box<dyn Fn()>) {
        self.listeners.borrow_mut().push(listener);
    }

    fn with<T>(&self, destination: &ServerName, change: impl FnOnce(&mut Destination) -> T) -> T {
        change(self.destinations.borrow_mut().entry(destination.to_owned()).or_default())
    }

    fn changed(&self) {
        self.listeners.borrow().iter().for_each(|listener| listener());
    }
}

/// Works one destination until nothing waits for it.
async fn run(server: Rc<Homeserver>, destination: OwnedServerName) {
    let server = Rc::downgrade(&server);
    loop {
        let Some(server) = server.upgrade() else { return };
        let sender = &server.sender;
        let now_ms = server.environment.clock.now_ms();
        let (may_send, retry_at_ms, wakes) = sender
            .with(&destination, |entry| (entry.backoff.may_send(now_ms), entry.backoff.retry_at_ms(), entry.wakes));
        if !may_send {
            let wait_ms = retry_at_ms.unwrap_or(now_ms).saturating_sub(now_ms);
            wait(&server, &destination, wait_ms).await;
            continue;
        }
        sender.with(&destination, |entry| entry.backoff.on_start());
        let round = round(&server, &destination).await;
        let mut random = [0; 8];
        server.environment.entropy.fill(&mut random);
        let now_ms = server.environment.clock.now_ms();
        let stop = sender.with(&destination, |entry| match &round {
            Round::Sent | Round::Idle => {
                entry.backoff.on_success();
                entry.error = None;
                let stop = matches!(round, Round::Idle) && entry.wakes == wakes;
                entry.running = !stop;
                stop
            }
            Round::Failed { error, retry_max_ms, retry_after_ms } => {
                entry.backoff.on_failure(now_ms, u64::from_le_bytes(random), *retry_max_ms);
                entry.backoff.not_before(now_ms.saturating_add(*retry_after_ms), now_ms);
                entry.error = Some(error.clone());
                false
            }
        });
        sender.changed();
        let failures = sender.with(&destination, |entry| entry.backoff.failures());
        if (1..=ASKED_ABOUT_FAILURES_MAX).contains(&failures) && sender.waiting(&destination) > 0 {
            absent::missed(&server, &destination);
        }
        if stop {
            return;
        }
    }
}

/// Sleeps for `wait_ms` or until the destination is woken with its back-off cut short.
async fn wait(server: &Rc<Homeserver>, destination: &ServerName, wait_ms: u64) {
    let sleep = server.environment.clock.sleep_ms(wait_ms);
    let woken = poll_fn(|context| {
        let now_ms = server.environment.clock.now_ms();
        server.sender.with(destination, |entry| {
            if entry.backoff.may_send(now_ms) {
                return Poll::Ready(());
            }
            entry.waker = Some(context.waker().clone());
            Poll::Pending
        })
    });
    match select(sleep, woken).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

async fn round(server: &Rc<Homeserver>, destination: &OwnedServerName) -> Round {
    match send_next(server, destination).await {
        Ok(round) => round,
        Err(error) => Round::failed(error),
    }
}

async fn send_next(server: &Rc<Homeserver>, destination: &OwnedServerName) -> Result<Round, StoreError> {
    let limit = TRANSACTION_PDUS_MAX;
    let rows = server.database.scan_prefix::<Outbox, _>(destination, Direction::Ascending, limit).await?;
    server.sender.with(destination, |entry| entry.waiting = entry.waiting.max(rows.len()));
    if let Some((key, OutboxRow::Invite(event_id))) = rows.first() {
        return deliver_invite(server, destination, key, event_id).await;
    }
    // Order is kept: what follows an undelivered invite waits for it.
    let rows: Vec<_> = rows.into_iter().take_while(|(_, row)| !matches!(row, OutboxRow::Invite(_))).collect();
    let rows = as_many_as_fit(rows);
    let passing: Vec<_> = server.sender.with(destination, |entry| {
        let count = entry.passing.len().min(TRANSACTION_EDUS_MAX - rows.len());
        entry.passing.drain(..count).collect()
    });
    if rows.is_empty() && passing.is_empty() {
        server.sender.with(destination, |entry| entry.waiting = 0);
        return Ok(Round::Idle);
    }
    let request = transaction(server, destination, &rows, &passing).await?;
    match server.ask(destination, Lane::Transactions, request).await {
        Ok(response) => {
            for (event_id, error) in response.pdus.iter().filter_map(|(id, result)| Some((id, result.as_ref().err()?)))
            {
                tracing::info!(%destination, %event_id, %error, "peer did not take an event");
            }
        }
        // What cannot be read says nothing about what became of the events, and whoever does not believe our signature (our
        // key is new, say, and was asked for a moment ago) has not looked at them.
        Err(error @ (PeerError::Malformed { .. } | PeerError::Refused { status: 401, .. })) => {
            return Ok(Round::failed(error));
        }
        Err(error) if error.is_temporary() => {
            keep_heads(server, destination, passing);
            let retry_after_ms = error.busy().map_or(0, |busy| busy.retry_after_ms);
            let (error, retry_max_ms) = (error.to_string(), OUTBOX_BACKOFF_MAX_MS);
            return Ok(Round::Failed { error, retry_max_ms, retry_after_ms });
        }
        // It will never take this transaction; keeping it would dam up all that follows.
        Err(error) => tracing::warn!(%destination, %error, "transaction given up"),
    }
    forget(server, destination, rows.into_iter().map(|(key, _)| key).collect()).await?;
    Ok(Round::Sent)
}

/// A lost comparison of heads is made up for when the servers meet. As long as they are connected they do not meet, so it
/// is sent again, a few times.
fn keep_heads(server: &Homeserver, destination: &OwnedServerName, passing: Vec<serde_json::Value>) {
    if !server.environment.transport.connected().contains(destination) {
        return;
    }
    server.sender.with(destination, |entry| {
        if entry.backoff.failures() < HEADS_REPEATS_MAX {
            let heads = passing.into_iter().filter(|edu| edu["edu_type"] == HEADS_EDU_TYPE);
            let room_left = PASSING_EDUS_MAX.saturating_sub(entry.passing.len());
            entry.passing.extend(heads.take(room_left));
        }
    });
}

/// Leading rows whose EDUs fit one transaction.
fn as_many_as_fit(rows: Vec<Row>) -> Vec<Row> {
    let mut bytes = 0;
    let fits = |(index, (_, row)): &(usize, Row)| {
        if let OutboxRow::Edu(edu) = row {
            bytes += serde_json::to_vec(edu).map_or(0, |json| json.len());
        }
        *index == 0 || bytes <= TRANSACTION_EDUS_MAX_BYTES
    };
    rows.into_iter().enumerate().take_while(fits).map(|(_, row)| row).collect()
}

async fn forget(
    server: &Rc<Homeserver>,
    destination: &OwnedServerName,
    keys: Vec<(OwnedServerName, u64)>,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    keys.iter().for_each(|key| batch.delete::<Outbox>(key));
    server.database.commit(batch).await?;
    server.sender.with(destination, |entry| entry.waiting = entry.waiting.saturating_sub(keys.len()));
    Ok(())
}

async fn transaction(
    server: &Rc<Homeserver>,
    destination: &OwnedServerName,
    rows: &[((OwnedServerName, u64), OutboxRow)],
    passing: &[serde_json::Value],
) -> Result<send_transaction_message::v1::Request, StoreError> {
    let event_ids: Vec<OwnedEventId> = rows
        .iter()
        .filter_map(|(_, row)| match row {
            OutboxRow::Pdu(event_id) => Some(event_id.clone()),
            OutboxRow::Invite(_) | OutboxRow::Edu(_) => None,
        })
        .collect();
    let pdus = server.rooms.events.get_many(&event_ids).await?;
    let durable_edus = rows.iter().filter_map(|(_, row)| match row {
        OutboxRow::Edu(edu) => Some(edu),
        OutboxRow::Invite(_) | OutboxRow::Pdu(_) => None,
    });
    // A repeat of the same rows is the same transaction; with other rows, or with EDUs of the moment, it is another.
    let first = rows.first().map_or(0, |((_, position), _)| *position);
    let last = rows.last().map_or(0, |((_, position), _)| *position);
    let txn_id = match passing {
        [] => format!("{first}-{last}"),
        _ => format!("{first}-{last}-{}", server.positions.next().await?.value()),
    };
    let now_ms = server.environment.clock.now_ms();
    let mut request = send_transaction_message::v1::Request::new(
        txn_id.into(),
        server.server_name().to_owned(),
        MilliSecondsSinceUnixEpoch(now_ms.try_into().unwrap_or_default()),
    );
    request.pdus = pdus.into_iter().flatten().map(|event| event.pdu.raw()).collect();
    request.edus = durable_edus
        .chain(passing)
        .filter_map(|edu| Some(Raw::from_json(serde_json::value::to_raw_value(edu).ok()?)))
        .collect();
    tracing::debug!(%destination, pdus = request.pdus.len(), edus = request.edus.len(), "sending transaction");
    Ok(request)
}

async fn deliver_invite(
    server: &Rc<Homeserver>,
    destination: &OwnedServerName,
    key: &(OwnedServerName, u64),
    event_id: &OwnedEventId,
) -> Result<Round, StoreError> {
    let outcome = super::rooms::invite::deliver(server, destination, event_id).await?;
    match outcome {
        Err(PeerError::Refused { status, .. }) if status < 500 && status != 429 => {
            tracing::info!(%destination, %event_id, "invite refused");
        }
        Err(error) if error.is_temporary() => {
            let retry_after_ms = error.busy().map_or(0, |busy| busy.retry_after_ms);
            let (error, retry_max_ms) = (error.to_string(), OUTBOX_INVITE_BACKOFF_MAX_MS);
            return Ok(Round::Failed { error, retry_max_ms, retry_after_ms });
        }
        Err(error) => tracing::warn!(%destination, %event_id, %error, "invite given up"),
        Ok(()) => {}
    }
    forget(server, destination, vec![key.clone()]).await?;
    Ok(Round::Sent)
}
