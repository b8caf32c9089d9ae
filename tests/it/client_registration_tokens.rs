//! Registering with a token, where that is what registration takes, and with terms to agree to.
use serde_json::{Value, json};
use warren::{
    homeserver::{Options, Registration, Terms},
    storage::memory::MemoryDisk,
};

use crate::harness::{Answer, TestServer, TestUser, request};

const VALIDITY: &str = "/_matrix/client/v1/register/m.login.registration_token/validity";

fn options() -> Options {
    let registration_tokens = vec!["of-the-settings".to_owned()];
    Options { registration: Registration::ByToken, registration_tokens, ..Options::default() }
}

fn register(server: &TestServer, username: &str, auth: Value) -> Answer {
    server.request("POST", "/_matrix/client/v3/register", None, json!({ "username": username, "auth": auth }))
}

fn shown(token: &str) -> Value {
    json!({ "type": "m.login.registration_token", "token": token })
}

fn validity(server: &TestServer, query: &str) -> Answer {
    server.send(request("GET", &format!("{VALIDITY}{query}"), None, ""))
}

#[test]
fn who_has_a_token_of_the_settings_registers() {
    let server = TestServer::with(MemoryDisk::default(), options());
    let challenge = register(&server, "alice", Value::Null);
    let flows = json!([{ "stages": ["m.login.registration_token"] }]);
    assert_eq!((challenge.status.as_u16(), &challenge.body["flows"]), (401, &flows));
    assert_eq!(register(&server, "alice", json!({ "type": "m.login.dummy" })).errcode(), "M_FORBIDDEN");
    for token in ["invented", "", "of the settings", &"x".repeat(65)] {
        let refused = register(&server, "alice", shown(token));
        assert_eq!((refused.status.as_u16(), refused.errcode()), (401, "M_UNAUTHORIZED"), "{token}");
    }
    let malformed = json!({ "type": "m.login.registration_token", "token": 7 });
    register(&server, "alice", malformed).is_error(400, "M_BAD_JSON");
    register(&server, "alice", shown("of-the-settings")).ok();
    register(&server, "bob", shown("of-the-settings")).ok();

    assert_eq!(validity(&server, "?token=of-the-settings").ok(), json!({ "valid": true }));
    assert_eq!(validity(&server, "?token=invented").ok(), json!({ "valid": false }));
    validity(&server, "").is_error(400, "M_MISSING_PARAM");
    let closed = Options { registration: Registration::Closed, ..options() };
    let server = TestServer::with(MemoryDisk::default(), closed);
    validity(&server, "?token=of-the-settings").is_error(403, "M_FORBIDDEN");
}

#[test]
fn guessing_tokens_is_slowed_down() {
    let server = TestServer::with(MemoryDisk::default(), options());
    (0..60).for_each(|n| assert_eq!(validity(&server, &format!("?token={n}")).ok(), json!({ "valid": false })));
    let refused = validity(&server, "?token=of-the-settings");
    refused.is_error(429, "M_LIMIT_EXCEEDED");
    assert_eq!(refused.headers["retry-after"], "60");
    register(&server, "alice", shown("of-the-settings")).is_error(429, "M_LIMIT_EXCEEDED");
    server.advance(60_000);
    register(&server, "alice", shown("of-the-settings")).ok();
}

#[test]
fn terms_are_agreed_to_beside_the_token() {
    let terms = Terms { url: "https://example.org/terms".to_owned(), version: "2".to_owned() };
    let server = TestServer::with(MemoryDisk::default(), Options { terms: Some(terms.clone()), ..options() });
    let challenge = register(&server, "alice", Value::Null);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.registration_token", "m.login.terms"] }]));
    let text = json!({ "name": "Terms of Service", "url": "https://example.org/terms" });
    let policies = json!({ "terms_of_service": { "version": "2", "en": text } });
    assert_eq!(challenge.body["params"]["m.login.terms"]["policies"], policies);
    let session = &challenge.body["session"];
    let with_session = |mut auth: Value| {
        auth["session"] = session.clone();
        auth
    };
    let half = register(&server, "alice", with_session(json!({ "type": "m.login.terms" })));
    assert_eq!((half.status.as_u16(), &half.body["completed"]), (401, &json!(["m.login.terms"])));
    assert_eq!(half.errcode(), "", "progress is not an error");
    register(&server, "alice", with_session(shown("of-the-settings"))).ok();

    let open = Options { registration: Registration::Open, terms: Some(terms), ..options() };
    let server = TestServer::with(MemoryDisk::default(), open);
    let challenge = register(&server, "alice", Value::Null);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.terms"] }]));
    register(&server, "alice", json!({ "type": "m.login.terms" })).ok();
}

const TOKENS: &str = "/_synapse/admin/v1/registration_tokens";

/// A homeserver whose administrator was there before registration took tokens.
fn with_admin() -> (TestServer, TestUser) {
    let open = TestServer::new();
    let admin = open.register("admin");
    (TestServer::with(open.disk.clone(), options()), admin)
}

#[test]
fn a_token_is_good_for_so_many_accounts() {
    let (server, admin) = with_admin();
    let new = json!({ "token": "twice", "uses_allowed": 2 });
    let made = server.post(&format!("{TOKENS}/new"), &admin.token, new.clone()).ok();
    let expected = json!({ "token": "twice", "uses_allowed": 2, "pending": 0, "completed": 0, "expiry_time": null });
    assert_eq!(made, expected);
    server.post(&format!("{TOKENS}/new"), &admin.token, new).is_error(400, "M_INVALID_PARAM");
    register(&server, "alice", shown("twice")).ok();
    let server = TestServer::with(server.disk.clone(), options());
    register(&server, "alice", shown("twice")).is_error(400, "M_USER_IN_USE");
    register(&server, "bob", shown("twice")).ok();
    assert_eq!(register(&server, "carol", shown("twice")).errcode(), "M_UNAUTHORIZED");
    assert_eq!(validity(&server, "?token=twice").ok(), json!({ "valid": false }));

    let path = format!("{TOKENS}/twice");
    assert_eq!(server.get(&path, &admin.token).ok()["completed"], 2);
    assert_eq!(server.put(&path, &admin.token, json!({ "uses_allowed": null })).ok()["uses_allowed"], Value::Null);
    register(&server, "carol", shown("twice")).ok();
    assert_eq!(server.delete(&path, &admin.token).ok(), json!({}));
    assert_eq!(register(&server, "dave", shown("twice")).errcode(), "M_UNAUTHORIZED");
    server.get(&path, &admin.token).is_error(404, "M_NOT_FOUND");
}

#[test]
fn the_last_use_of_a_token_makes_one_account() {
    let (server, admin) = with_admin();
    server.post(&format!("{TOKENS}/new"), &admin.token, json!({ "token": "once", "uses_allowed": 1 })).ok();
    let ask = |username: &str| {
        let body = json!({ "username": username, "auth": shown("once") }).to_string();
        server.queue(request("POST", "/_matrix/client/v3/register", None, body))
    };
    let asked = [ask("alice"), ask("bob")];
    server.settle();
    let statuses = asked.map(|pending| pending.take().unwrap().status.as_u16());
    assert!(statuses.contains(&200) && statuses.contains(&401), "{statuses:?}");
}

#[test]
fn a_token_may_expire() {
    let (server, admin) = with_admin();
    let now_ms = 1_700_000_000_000_u64;
    let made = server.post(&format!("{TOKENS}/new"), &admin.token, json!({ "expiry_time": now_ms + 1000 })).ok();
    let token = made["token"].as_str().unwrap();
    assert_eq!((token.len(), &made["uses_allowed"]), (16, &Value::Null));
    let listed = |query: &str| {
        server.get(&format!("{TOKENS}{query}"), &admin.token).ok()["registration_tokens"].as_array().unwrap().len()
    };
    assert_eq!((listed(""), listed("?valid=true"), listed("?valid=false")), (1, 1, 0));
    server.advance(1000);
    assert_eq!(register(&server, "alice", shown(token)).errcode(), "M_UNAUTHORIZED");
    assert_eq!((listed(""), listed("?valid=true"), listed("?valid=false")), (1, 0, 1));
    let path = format!("{TOKENS}/{token}");
    server.put(&path, &admin.token, json!({ "expiry_time": null })).ok();
    register(&server, "alice", shown(token)).ok();
}

#[test]
fn tokens_are_made_by_administrators_and_well_formed() {
    let (server, admin) = with_admin();
    let alice = register(&server, "alice", shown("of-the-settings")).ok();
    let alice = alice["access_token"].as_str().unwrap();
    let new = format!("{TOKENS}/new");
    server.post(&new, alice, json!({})).is_error(403, "M_FORBIDDEN");
    server.get(TOKENS, alice).is_error(403, "M_FORBIDDEN");
    for (method, path) in
        [("GET", format!("{TOKENS}/x")), ("PUT", format!("{TOKENS}/x")), ("DELETE", format!("{TOKENS}/x"))]
    {
        server.request(method, &path, Some(alice), json!({})).is_error(403, "M_FORBIDDEN");
        server.request(method, &path, Some(&admin.token), json!({})).is_error(404, "M_NOT_FOUND");
    }
    let long = "x".repeat(65);
    for body in [
        json!({ "token": "" }),
        json!({ "token": "two words" }),
        json!({ "token": long }),
        json!({ "length": 0 }),
        json!({ "length": 65 }),
        json!({ "expiry_time": 1 }),
    ] {
        server.post(&new, &admin.token, body).is_error(400, "M_INVALID_PARAM");
    }
    for body in [
        json!({ "token": 7 }),
        json!({ "uses_allowed": -1 }),
        json!({ "uses_allowed": "two" }),
        json!({ "length": 1.5 }),
    ] {
        server.post(&new, &admin.token, body).is_error(400, "M_BAD_JSON");
    }
    server.get(&format!("{TOKENS}?valid=maybe"), &admin.token).is_error(400, "M_INVALID_PARAM");
    server.request("GET", TOKENS, None, json!({})).is_error(401, "M_MISSING_TOKEN");
}
