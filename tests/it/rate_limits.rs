//! How often one may ask: a person notices nothing, what asks without end is held back, and others pay nothing for it.
use std::{net::IpAddr, rc::Rc};

use serde_json::json;
use warren::{api::ClientAddress, homeserver::Options, ports::Transport, storage::memory::MemoryDisk};

use crate::{
    fakes::NobodyThere,
    federation_peer::Peer,
    harness::{Answer, Surroundings, TestServer, TestUser, request},
};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const VERSION: &str = "/_matrix/federation/v1/version";

fn limited() -> TestServer {
    TestServer::with(MemoryDisk::default(), Options { limit_rates: true, ..Options::default() })
}

fn whoami(server: &TestServer, user: &TestUser) -> Answer {
    server.get(WHOAMI, &user.token)
}

/// How often `ask` is answered before it is told to wait.
fn until_limited(most: usize, ask: impl Fn() -> Answer) -> usize {
    let answered = (0..most).take_while(|_| ask().status != 429).count();
    assert!(answered < most, "nothing stops it");
    answered
}

#[track_caller]
fn waits(answer: &Answer, seconds: u64) {
    answer.is_error(429, "M_LIMIT_EXCEEDED");
    assert_eq!(answer.headers["retry-after"], seconds.to_string());
    assert_eq!(answer.body["retry_after_ms"], seconds * 1000);
}

fn from(address: &str, mut request: warren::api::Request) -> warren::api::Request {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(ClientAddress(address));
    request
}

fn login(server: &TestServer, address: &str, user: &str) -> Answer {
    let body = json!({
        "type": "m.login.password", "password": "wrong", "identifier": { "type": "m.id.user", "user": user },
    });
    server.send(from(address, request("POST", "/_matrix/client/v3/login", None, body.to_string())))
}

#[test]
fn a_client_that_runs_away_is_stopped_and_nobody_else() {
    let server = limited();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    assert_eq!(until_limited(3_000, || whoami(&server, &alice)), 2_000);
    let refused = whoami(&server, &alice);
    waits(&refused, 1);
    assert_eq!(refused.headers["access-control-allow-origin"], "*", "a page may read that, too");
    whoami(&server, &bob).ok();
    server.advance(1_000);
    assert_eq!(until_limited(3_000, || whoami(&server, &alice)), 100, "it goes on, at a bearable pace");
    let loops = "/_matrix/client/v3/sync?timeout=0";
    waits(&server.get(loops, &alice.token), 1);
    server.advance(60_000);
    server.get(loops, &alice.token).ok();
    // What makes us ask others counts for more.
    server.advance(60_000);
    let searches =
        || server.post("/_matrix/client/v3/user_directory/search", &alice.token, json!({ "search_term": "bob" }));
    assert_eq!(until_limited(3_000, searches), 400);
}

#[test]
fn a_user_with_many_devices_is_one_user() {
    let server = limited();
    let alice = server.register_with_password("alice", "x");
    let devices: Vec<TestUser> = (0..8)
        .map(|_| {
            let body = json!({
                "type": "m.login.password", "password": "x", "identifier": { "type": "m.id.user", "user": "alice" },
            });
            let token = server.request("POST", "/_matrix/client/v3/login", None, body).ok()["access_token"].clone();
            TestUser { token: token.as_str().unwrap().to_owned(), ..alice.clone() }
        })
        .collect();
    let answered: usize =
        devices.iter().map(|device| (0..1_500).take_while(|_| whoami(&server, device).status != 429).count()).sum();
    assert_eq!(answered, 6_000);
    waits(&whoami(&server, &alice), 1);
}

#[test]
fn a_person_at_the_page_notices_nothing() {
    let server = limited();
    let alice = server.register("alice");
    // A thousand rooms to load at once, then ten minutes of one click a second, each of which asks for five things.
    (0..1_000).for_each(|_| drop(whoami(&server, &alice).ok()));
    for _ in 0..600 {
        (0..5).for_each(|_| drop(whoami(&server, &alice).ok()));
        server.advance(1_000);
    }
    // The page itself has no address: nobody else can ask it.
    for n in 0..100 {
        server.register(&format!("user{n}"));
    }
}

#[test]
fn doors_are_knocked_on_only_so_often_from_one_address() {
    let server = limited();
    server.register_with_password("alice", "right");
    assert_eq!(until_limited(99, || login(&server, "192.0.2.7", &format!("user{}", crate::talk::next_txn()))), 30);
    waits(&login(&server, "192.0.2.7", "alice"), 2);
    waits(&login(&server, "::ffff:192.0.2.7", "alice"), 2);
    login(&server, "192.0.2.8", "alice").is_error(403, "M_FORBIDDEN");
    let register = || {
        let body = json!({ "auth": { "type": "m.login.dummy" } }).to_string();
        server.send(from("192.0.2.7", request("POST", "/_matrix/client/v3/register", None, body)))
    };
    waits(&register(), 2);
    server.advance(4_000);
    register().ok();
    register().ok();
    waits(&register(), 2);
    // An IPv6 subscriber has more addresses than there are logins.
    let spread = |n: u64| login(&server, &format!("2001:db8:1:2::{n:x}"), &format!("nobody{n}"));
    assert_eq!((1..99).take_while(|n| spread(*n).status != 429).count(), 30);
    login(&server, "2001:db8:1:3::1", "nobody").is_error(403, "M_FORBIDDEN");
    // Wrong passwords of one user are counted wherever they come from.
    let guesses = (0..99).take_while(|n| login(&server, &format!("203.0.113.{n}"), "alice").status != 429).count();
    assert!(guesses <= 10, "{guesses}");
}

#[test]
fn who_has_no_token_is_counted_by_address() {
    let server = limited();
    let alice = server.register("alice");
    let ask = |address: &str, token: Option<&str>| server.send(from(address, request("GET", WHOAMI, token, "")));
    assert_eq!(until_limited(999, || ask("192.0.2.7", Some("guessed"))), 300, "wrong tokens are none");
    waits(&ask("192.0.2.7", None), 1);
    ask("192.0.2.7", Some(&alice.token)).ok();
    ask("192.0.2.8", None).is_error(401, "M_MISSING_TOKEN");
    let rooms = || server.send(from("192.0.2.9", request("GET", "/_matrix/client/v3/publicRooms", None, "")));
    assert_eq!(until_limited(999, rooms), 60);
}

#[test]
fn a_peer_that_floods_is_held_back_and_no_other() {
    let nobody: Rc<dyn Transport> = Rc::new(NobodyThere::default());
    let options = Options { limit_rates: true, ..Options::default() };
    let server = TestServer::start_in(&Surroundings::new(), MemoryDisk::default(), nobody, 0, options);
    let (eve, mallory) = (Peer::new(1), Peer::new(2));
    let ask = |peer: &Peer, path: &str| server.send_as(peer.key(), request("GET", path, None, ""));
    assert_eq!(until_limited(1_500, || ask(&eve, VERSION)), 1_000);
    waits(&ask(&eve, VERSION), 1);
    waits(&eve.send(&server, "txn", &[], &[]), 1);
    ask(&mallory, VERSION).ok();
    // A state is more than a version: even asked for in vain.
    let state = "/_matrix/federation/v1/state/!room:x.example?event_id=$e";
    assert_eq!(until_limited(999, || ask(&mallory, state)), 49);
    server.advance(1_000);
    assert_eq!(until_limited(999, || ask(&eve, VERSION)), 100);
}

#[test]
fn limits_can_be_left_out() {
    let server = TestServer::new();
    let alice = server.register("alice");
    assert!((0..2_500).all(|_| whoami(&server, &alice).status == 200));
    assert!((0..50).all(|_| login(&server, "192.0.2.7", &format!("user{}", crate::talk::next_txn())).status == 403));
}
