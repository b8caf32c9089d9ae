//! The mouth of a homeserver that lies: what becomes of its requests and answers on their way to others.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use serde_json::{Value, json};
use warren::domain::{identity::Identity, signed_request};

use super::random::Random;

/// Answers that are not the truth, of those that tell events, in percent.
const ANSWERS_TWISTED: u64 = 60;
/// Of these, in percent, those that stop in the middle, and those that never end.
const ANSWERS_CUT: u64 = 10;
const ANSWERS_ENDLESS: u64 = 5;
/// Events left out of what is sent, transactions sent in another order and with everything twice, in percent.
const EVENTS_WITHHELD: u64 = 25;
const TRANSACTIONS_STIRRED: u64 = 20;
/// Transactions kept to be sent again.
const SPOKEN_MAX: usize = 20;

pub struct Tongue {
    pub identity: Rc<Identity>,
    random: Random,
    /// What it can tell instead of the truth: events that it made up, and events of another room.
    tales: RefCell<BTreeMap<OwnedEventId, Value>>,
    /// Transactions that were sent, as they were.
    spoken: RefCell<Vec<(OwnedServerName, http::Request<Bytes>)>>,
    transactions: Cell<u64>,
}

impl Tongue {
    pub fn new(identity: Rc<Identity>, random: Random) -> Self {
        Self { identity, random, tales: RefCell::default(), spoken: RefCell::default(), transactions: Cell::new(0) }
    }

    pub fn learn(&self, event_id: OwnedEventId, event: Value) {
        self.tales.borrow_mut().insert(event_id, event);
    }

    /// One of the events that it made up or has from elsewhere.
    pub fn tale(&self) -> Option<(OwnedEventId, Value)> {
        let tales: Vec<_> = self.tales.borrow().iter().map(|(id, event)| (id.clone(), event.clone())).collect();
        (!tales.is_empty()).then(|| self.random.pick(&tales).clone())
    }

    /// A transaction of its own.
    pub fn transaction(&self, to: &ServerName, now_ms: u64, pdus: &[Value]) -> http::Request<Bytes> {
        self.transactions.set(self.transactions.get() + 1);
        let path = format!("/_matrix/federation/v1/send/tale{}", self.transactions.get());
        let origin = self.identity.server_name();
        self.signed(to, &path, &json!({ "origin": origin, "origin_server_ts": now_ms, "pdus": pdus, "edus": [] }))
    }

    /// A transaction that was sent before, and to whom.
    pub fn spoken(&self) -> Option<(OwnedServerName, http::Request<Bytes>)> {
        let spoken = self.spoken.borrow();
        (!spoken.is_empty()).then(|| self.random.pick(&spoken).clone())
    }

    /// What its homeserver sends, as others get it.
    pub fn twist_request(&self, to: &ServerName, request: http::Request<Bytes>) -> http::Request<Bytes> {
        let path = request.uri().path().to_owned();
        let Some(mut body) = transaction_in(&request) else { return request };
        let pdus = body["pdus"].as_array().cloned().unwrap_or_default();
        let mut sent: Vec<_> = pdus.iter().filter(|_| !self.random.chance(EVENTS_WITHHELD)).cloned().collect();
        if self.random.chance(TRANSACTIONS_STIRRED) {
            sent = sent.iter().rev().chain(&sent).cloned().collect();
        }
        let request = if sent == pdus {
            request
        } else {
            body["pdus"] = json!(sent);
            self.signed(to, &path, &body)
        };
        let mut spoken = self.spoken.borrow_mut();
        if spoken.len() == SPOKEN_MAX {
            spoken.remove(0);
        }
        spoken.push((to.to_owned(), request.clone()));
        request
    }

    /// What its homeserver answers, as others get it; `None`: it never ends.
    pub fn twist_answer(&self, path: &str, answer: http::Response<Bytes>) -> Option<http::Response<Bytes>> {
        let fields = lists_in(path);
        if fields.is_empty() || !self.random.chance(ANSWERS_TWISTED) {
            return Some(answer);
        }
        if self.random.chance(ANSWERS_ENDLESS) {
            return None;
        }
        let mut body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if answer.status() != 200 {
            body = json!({ "origin": self.identity.server_name(), "origin_server_ts": 0 });
            fields.iter().for_each(|field| body[field] = json!([]));
        }
        for field in fields {
            let list = body[field].as_array().cloned().unwrap_or_default();
            body[field] = json!(self.twist(path, list));
        }
        let mut text = body.to_string();
        if self.random.chance(ANSWERS_CUT) {
            text.truncate(text.len() / 2);
        }
        Some(http::Response::new(text.into()))
    }

    /// Another list than the one there is, of events or of ids.
    fn twist(&self, path: &str, mut list: Vec<Value>) -> Vec<Value> {
        if path.contains("/event/") {
            return self.tale_asked_for(path).map_or(list, |event| vec![event]);
        }
        let tale = self.tale().map(|(id, event)| if path.contains("/state_ids/") { json!(id) } else { event });
        match self.random.below(7) {
            0 => list.clear(),
            1 => list.retain(|_| !self.random.chance(30)),
            2 => list.extend(tale),
            3 => list.reverse(),
            4 => list = list.iter().chain(&list).cloned().collect(),
            5 if !list.is_empty() => {
                let place = self.random.below(list.len() as u64) as usize;
                list[place] = tale.unwrap_or_default();
            }
            _ => list.iter_mut().filter(|_| self.random.chance(30)).for_each(alter),
        }
        list
    }

    fn tale_asked_for(&self, path: &str) -> Option<Value> {
        let asked = percent_encoding::percent_decode_str(path.rsplit('/').next()?).decode_utf8().ok()?;
        let asked: OwnedEventId = (&*asked).try_into().ok()?;
        self.tales.borrow().get(&asked).cloned()
    }

    fn signed(&self, to: &ServerName, path: &str, body: &Value) -> http::Request<Bytes> {
        let request = http::Request::put(path).header("content-type", "application/json");
        let mut request = request.body(Bytes::from(body.to_string())).expect("a valid request");
        let signature = signed_request::sign(&request, &self.identity, to).expect("it can be signed");
        request.headers_mut().insert(http::header::AUTHORIZATION, http::HeaderValue::from(&signature));
        request
    }
}

/// Says something else than what was signed.
pub fn alter(event: &mut Value) {
    if event.is_object() {
        event["content"]["body"] = json!("altered");
        event["content"]["topic"] = json!("altered");
    }
}

fn transaction_in(request: &http::Request<Bytes>) -> Option<Value> {
    request.uri().path().contains("/send/").then(|| serde_json::from_slice(request.body()).ok()).flatten()
}

/// Where the answer to a request of this path tells events.
fn lists_in(path: &str) -> &'static [&'static str] {
    let lists: [(&str, &[&str]); 6] = [
        ("/state_ids/", &["pdu_ids", "auth_chain_ids"]),
        ("/state/", &["pdus", "auth_chain"]),
        ("/event_auth/", &["auth_chain"]),
        ("/backfill/", &["pdus"]),
        ("/get_missing_events/", &["events"]),
        ("/event/", &["pdus"]),
    ];
    lists.iter().find(|(part, _)| path.contains(part)).map_or(&[], |(_, fields)| fields)
}
