//! What clients are told when storage fails, when they ask at the same time, and when they ask at the wrong door.
use std::rc::Rc;

use http::HeaderMap;
use serde_json::{Value, json};
use warren::{api::Origin, domain::identity::PublicKey, ports::StoreError};

use crate::{
    fakes::Mishap,
    harness::{TestServer, request},
    talk::escaped,
};

fn registration(username: &str) -> Value {
    json!({ "username": username, "password": "x", "auth": { "type": "m.login.dummy" } })
}

fn register(username: &str) -> warren::api::Request {
    request("POST", "/_matrix/client/v3/register", None, registration(username).to_string())
}

#[test]
fn full_storage_is_said_to_be_full_and_keeps_nothing_by_halves() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let settings = format!("/_matrix/client/v3/user/{}/account_data/settings", alice.id);
    server.put(&settings, &alice.token, json!({ "n": 1 })).ok();
    let before = server.disk.bytes_stored();

    server.set_fault(Some(StoreError::QuotaExceeded));
    let answer = server.put(&settings, &alice.token, json!({ "n": 2 }));
    answer.is_error(507, "M_UNKNOWN");
    assert!(answer.body["error"].as_str().unwrap().contains("full"));
    server.send(register("bob")).is_error(507, "M_UNKNOWN");
    server
        .put(
            &format!("/_matrix/client/v3/profile/{}/displayname", alice.id),
            &alice.token,
            json!({ "displayname": "A" }),
        )
        .is_error(507, "M_UNKNOWN");
    assert_eq!(server.disk.bytes_stored(), before);
    assert_eq!(server.get(&settings, &alice.token).ok(), json!({ "n": 1 }), "what was stored can be read");

    server.set_fault(None);
    server.send(register("bob")).ok();
    server.put(&settings, &alice.token, json!({ "n": 2 })).ok();
    assert_eq!(server.get(&settings, &alice.token).ok(), json!({ "n": 2 }));
}

#[test]
fn a_logout_that_was_not_stored_did_not_happen() {
    let server = TestServer::new();
    let alice = server.register("alice");
    server.set_fault(Some(StoreError::Backend("the disk is on fire".to_owned())));
    let answer = server.post("/_matrix/client/v3/logout", &alice.token, json!({}));
    answer.is_error(500, "M_UNKNOWN");
    assert!(!answer.body.to_string().contains("fire"), "details are for the log");
    server.set_fault(None);
    server.get("/_matrix/client/v3/account/whoami", &alice.token).ok();
}

#[test]
fn an_old_leader_writes_nothing() {
    let disk = warren::storage::memory::MemoryDisk::default();
    let old = TestServer::on(disk.clone());
    let new = TestServer::on(disk);
    old.send(register("alice")).is_error(503, "M_UNKNOWN");
    new.send(register("alice")).ok();
}

#[test]
fn a_panic_is_the_problem_of_one_request() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.post("/_matrix/client/v3/createRoom", &alice.token, json!({})).ok();
    let send = format!("/_matrix/client/v3/rooms/{}/send/m.room.message", room["room_id"].as_str().unwrap());
    let mut panics = 0;
    for n in 1.. {
        server.store.plan(n, Mishap::Panics);
        let sent = server.put(&format!("{send}/{n}"), &alice.token, json!({ "body": "a" }));
        let registered = server.send(register(&format!("bob{n}")));
        if !server.store.end_plan() {
            break;
        }
        panics += 1;
        assert!(sent.status == 500 || registered.status == 500);
        for answer in [sent, registered].iter().filter(|answer| answer.status != 200) {
            answer.is_error(500, "M_UNKNOWN");
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
        }
        server.put(&format!("{send}/{n}"), &alice.token, json!({ "body": "a" })).ok();
        server.send(register(&format!("carol{n}"))).ok();
    }
    assert!(panics >= 2, "{panics}");
}

#[test]
fn a_sync_ends_when_nobody_waits_for_it() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let since = server.get("/_matrix/client/v3/sync?timeout=0", &alice.token).ok()["next_batch"].clone();
    let path = format!("/_matrix/client/v3/sync?timeout=30000&since={}", since.as_str().unwrap());
    let held = || Rc::strong_count(&server.homeserver);
    let before = held();
    let waiting = request("GET", &path, Some(&alice.token), "");
    let mut asking = Box::pin(warren::api::handle(&server.homeserver, waiting, Origin::Client));
    server.run_a_little(1, &mut asking);
    server.settle();
    assert!(held() > before, "it waits");
    drop(asking);
    server.settle();
    assert_eq!(held(), before);
}

#[test]
fn two_who_want_one_name_at_once_get_one_account() {
    let server = TestServer::new();
    let pending = [server.queue(register("alice")), server.queue(register("alice")), server.queue(register("bob"))];
    server.settle();
    let mut answers = pending.map(|pending| pending.take().expect("answered"));
    answers[..2].sort_by_key(|answer| answer.status);
    let [one, other, bob] = answers;
    one.ok();
    other.is_error(400, "M_USER_IN_USE");
    bob.ok();
}

#[test]
fn changes_at_once_all_last() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let tags = format!("/_matrix/client/v3/user/{}/rooms/!r:example.org/tags", alice.id);
    let put = |n: u32| server.queue(request("PUT", &format!("{tags}/u.{n}"), Some(&alice.token), "{}"));
    let pending: Vec<_> = (0..20).map(put).collect();
    server.settle();
    pending.into_iter().for_each(|pending| drop(pending.take().expect("answered").ok()));
    assert_eq!(server.get(&tags, &alice.token).ok()["tags"].as_object().unwrap().len(), 20);
}

#[test]
fn clients_and_peers_have_doors_of_their_own() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let peer = PublicKey([9; 32]);
    for path in ["/_matrix/client/versions", "/_matrix/client/v3/account/whoami", "/.well-known/matrix/client"] {
        let answer = server.send_as(peer, request("GET", path, Some(&alice.token), ""));
        answer.is_error(404, "M_UNRECOGNIZED");
        assert_eq!(answer.headers.get("access-control-allow-origin"), None);
    }
    server.get("/_matrix/federation/v1/version", &alice.token).is_error(404, "M_UNRECOGNIZED");
    assert!(server.send_as(peer, request("OPTIONS", "/_matrix/federation/v1/version", None, "")).status == 405);
}

#[test]
fn federation_requests_are_signed() {
    let server = TestServer::new();
    let peer = PublicKey([9; 32]);
    let path = format!("/_matrix/federation/v1/query/profile?user_id=@a:{}", server.server_name());
    let ask = |authorization: Option<&str>| {
        let mut unsigned = request("GET", &path, None, "");
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert("authorization", value.parse().unwrap());
        }
        *unsigned.headers_mut() = headers;
        server.send_as(peer, unsigned)
    };
    ask(None).is_error(401, "M_UNAUTHORIZED");
    ask(Some("Bearer x")).is_error(401, "M_UNAUTHORIZED");
    ask(Some("X-Matrix origin=\"example.org\",key=\"ed25519:1\",sig=\"AAAA\"")).is_error(401, "M_UNAUTHORIZED");
    let name = peer.server_name("alt").unwrap();
    let forged = format!(
        "X-Matrix origin=\"{name}\",destination=\"{}\",key=\"ed25519:self\",sig=\"AAAA\"",
        server.server_name()
    );
    ask(Some(&forged)).is_error(401, "M_UNAUTHORIZED");
}

#[test]
fn a_body_may_be_absent_but_not_nonsense() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let path = "/_matrix/client/v3/devices/X";
    let put = |body: &'static [u8]| server.send(request("PUT", path, Some(&alice.token), body));
    put(b"").is_error(404, "M_NOT_FOUND");
    put(b" {} ").is_error(404, "M_NOT_FOUND");
    put(b"null").is_error(400, "M_BAD_JSON");
    put(b"[\"name\"]").is_error(400, "M_BAD_JSON");
    put(b"{} {}").is_error(400, "M_NOT_JSON");
    put(b"\x00\xff").is_error(400, "M_NOT_JSON");
    put(b"{\"display_name\": \"\\ud800\"}").is_error(400, "M_BAD_JSON");
    put(b"{\"display_name\": [\"a\"]}").is_error(400, "M_BAD_JSON");
    put(b"{\"unknown\": {\"deep\": []}}").is_error(404, "M_NOT_FOUND");
    // Clients that are used join so.
    let room = server.public_room(&alice);
    let join = format!("/_matrix/client/v3/rooms/{}/join", escaped(&room));
    server.send(request("POST", &join, Some(&alice.token), &b""[..])).ok();
    assert_eq!(server.send(request("DELETE", path, Some(&alice.token), &b""[..])).status, 401, "proof is asked for");
}
