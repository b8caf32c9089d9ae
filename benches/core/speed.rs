//! How fast the core is, each figure beside what limits it, measured in turns so that a busy machine slows both alike.
use std::time::Instant;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use ruma::{
    CanonicalJsonObject, RoomVersionId, canonical_json::redact_in_place, room_version_rules::RoomVersionRules,
    serde::Base64,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use warren::{
    api::{self, Origin},
    domain::{
        outbox::{OUTBOX_BACKOFF_MIN_MS, TRANSACTION_PDUS_MAX},
        room_version,
    },
};

use super::{
    figures::Figures,
    servers::{Server, Servers, json_of},
    wire::Transactions,
};

const SENDS_PER_ROUND: usize = 100;
const TRANSACTIONS_PER_ROUND: usize = 4;
const SYNCS_PER_ROUND: usize = 25;
/// Rounds that are not counted: caches fill, the clock speed settles.
const WARM_UP_ROUNDS: usize = 1;

/// A transaction as it arrives, and the bare signatures in it.
struct Delivery {
    request: api::Request,
    signed: Vec<Signed>,
    pdu_bytes: usize,
}

/// What one signature signs.
struct Signed {
    bytes: Vec<u8>,
    signature: Signature,
}

pub fn run(rounds: usize, figures: &mut Figures) {
    let mut servers = Servers::default();
    let (ours, theirs) = (servers.start(), servers.start());
    let own_room = servers.create_room(&ours);
    let shared_room = servers.create_room(&theirs);
    let via = theirs.homeserver.server_name();
    let path = format!("/_matrix/client/v3/join/{shared_room}?via={via}");
    servers.client(&ours, "POST", &path, json!({}));
    let all_rounds = WARM_UP_ROUNDS + rounds;
    let deliveries = record(&mut servers, &theirs, &shared_room, all_rounds * TRANSACTIONS_PER_ROUND);
    let mut deliveries = deliveries.into_iter();
    let mut warm_up = Figures::default();
    let mut sent = 0..;
    for round in 0..all_rounds {
        let figures = if round < WARM_UP_ROUNDS { &mut warm_up } else { &mut *figures };
        let delivered: Vec<_> = deliveries.by_ref().take(TRANSACTIONS_PER_ROUND).collect();
        sign(&delivered, figures);
        send(&mut servers, &ours, &own_room, sent.by_ref().take(SENDS_PER_ROUND), figures);
        verify(&delivered, &theirs, figures);
        ingest(&mut servers, &ours, &theirs, delivered, figures);
        send_and_sync(&mut servers, &ours, &own_room, sent.by_ref().take(SYNCS_PER_ROUND), figures);
    }
}

/// Lets `theirs` send messages into the room it shares with a server that does not answer, and keeps the transactions
/// it makes of them: what a server that comes back gets.
fn record(servers: &mut Servers, theirs: &Server, room: &str, transactions: usize) -> Vec<Delivery> {
    servers.wire.set_transactions(Transactions::Held(Vec::new()));
    for number in 0..transactions * TRANSACTION_PDUS_MAX {
        json_of(servers.run(theirs, theirs.message(room, number), Origin::Client));
    }
    servers.wire.set_transactions(Transactions::Kept(Vec::new()));
    // The first transaction is lost now, and its events come again in a full one after the shortest back-off.
    servers.sleep_ms(OUTBOX_BACKOFF_MIN_MS);
    let Transactions::Kept(requests) = servers.wire.set_transactions(Transactions::Delivered) else { unreachable!() };
    let rules = room_version::rules(&RoomVersionId::V12).expect("the default version is supported");
    let deliveries: Vec<_> = requests.into_iter().map(|request| delivery(request, theirs, &rules)).collect();
    assert_eq!(deliveries.len(), transactions);
    deliveries
}

fn delivery(request: api::Request, sender: &Server, rules: &RoomVersionRules) -> Delivery {
    #[derive(Deserialize)]
    struct Body {
        pdus: Vec<Box<RawValue>>,
    }
    let body: Body = serde_json::from_slice(request.body()).expect("a transaction");
    assert_eq!(body.pdus.len(), TRANSACTION_PDUS_MAX);
    let pdu_bytes = body.pdus.iter().map(|pdu| pdu.get().len()).sum();
    let signed = body.pdus.iter().map(|pdu| signed(pdu, sender, rules)).collect();
    Delivery { request, signed, pdu_bytes }
}

/// The bytes that were signed are those of the redacted event without its signatures (server-server API, "Signing
/// events").
fn signed(pdu: &RawValue, sender: &Server, rules: &RoomVersionRules) -> Signed {
    let value: Value = serde_json::from_str(pdu.get()).expect("a PDU");
    let (_, signature) = value["signatures"][sender.homeserver.server_name().as_str()]
        .as_object()
        .and_then(|signatures| signatures.iter().next())
        .expect("a signature");
    let signature: Base64 = Base64::parse(signature.as_str().expect("text")).expect("base64");
    let mut object: CanonicalJsonObject = serde_json::from_str(pdu.get()).expect("a PDU");
    redact_in_place(&mut object, &rules.redaction, None).expect("an event");
    object.remove("signatures");
    object.remove("unsigned");
    Signed {
        bytes: serde_json::to_vec(&object).expect("canonical JSON"),
        signature: Signature::from_slice(signature.as_bytes()).expect("64 bytes"),
    }
}

/// The limit of sending: one signature an event.
fn sign(deliveries: &[Delivery], figures: &mut Figures) {
    let key = SigningKey::from_bytes(&[7; 32]);
    for delivery in deliveries {
        figures.time("raw_sign_us", delivery.signed.len(), || {
            for signed in &delivery.signed {
                std::hint::black_box(key.sign(&signed.bytes));
            }
        });
    }
}

/// The limit of ingesting: one verification an event.
fn verify(deliveries: &[Delivery], sender: &Server, figures: &mut Figures) {
    let key = VerifyingKey::from_bytes(&sender.key.0).expect("a key");
    for delivery in deliveries {
        figures.time("raw_verify_us", delivery.signed.len(), || {
            for signed in &delivery.signed {
                key.verify(&signed.bytes, &signed.signature).expect("the event is signed");
            }
        });
    }
}

fn send(
    servers: &mut Servers,
    server: &Server,
    room: &str,
    numbers: impl Iterator<Item = usize>,
    figures: &mut Figures,
) {
    let requests: Vec<_> = numbers.map(|number| server.message(room, number)).collect();
    let (count, stored_before) = (requests.len(), server.disk.bytes_stored());
    let asked_before = server.store_counts();
    for request in requests {
        let response = figures.time("send_us", 1, || servers.run(server, request, Origin::Client));
        json_of(response);
    }
    let asked = server.store_counts();
    figures.add("send_store_reads", (asked.reads - asked_before.reads) as f64 / count as f64);
    figures.add("send_store_commits", (asked.commits - asked_before.commits) as f64 / count as f64);
    figures.add("stored_per_sent_event_bytes", (server.disk.bytes_stored() - stored_before) as f64 / count as f64);
}

fn ingest(servers: &mut Servers, ours: &Server, theirs: &Server, deliveries: Vec<Delivery>, figures: &mut Figures) {
    for Delivery { request, signed, pdu_bytes } in deliveries {
        let (count, stored_before, reads_before) = (signed.len(), ours.disk.bytes_stored(), ours.store_counts().reads);
        let response = figures.time("ingest_us", count, || servers.run(ours, request, Origin::Peer(theirs.key)));
        let answer = json_of(response);
        let taken = answer["pdus"].as_object().expect("an answer per event");
        assert!(taken.len() == count && taken.values().all(|outcome| outcome["error"].is_null()), "{answer}");
        let stored = ours.disk.bytes_stored() - stored_before;
        figures.add("ingest_store_reads", (ours.store_counts().reads - reads_before) as f64 / count as f64);
        figures.add("stored_per_received_event_bytes", stored as f64 / count as f64);
        figures.add("pdu_bytes", pdu_bytes as f64 / count as f64);
    }
}

/// From sending to the answer of a `/sync` that waits for it.
fn send_and_sync(
    servers: &mut Servers,
    server: &Server,
    room: &str,
    numbers: impl Iterator<Item = usize>,
    figures: &mut Figures,
) {
    let first = servers.client(server, "GET", "/_matrix/client/v3/sync?timeout=0", Value::Null);
    let mut since = first["next_batch"].as_str().expect("a token").to_owned();
    for number in numbers {
        let waiting = servers.begin(server, "GET", &format!("/_matrix/client/v3/sync?timeout=30000&since={since}"));
        assert!(!waiting.is_answered(), "there was nothing to tell");
        let request = server.message(room, number);
        let (reads_before, started) = (server.store_counts().reads, Instant::now());
        let response = servers.run(server, request, Origin::Client);
        assert!(waiting.is_answered(), "the message wakes the sync");
        figures.add_duration("send_to_sync_us", 1, started.elapsed());
        figures.add("send_to_sync_store_reads", (server.store_counts().reads - reads_before) as f64);
        let (sent, answer) = (json_of(response), waiting.take());
        let told = &answer["rooms"]["join"][room]["timeline"]["events"][0]["event_id"];
        assert_eq!(*told, sent["event_id"]);
        since = answer["next_batch"].as_str().expect("a token").to_owned();
    }
}
