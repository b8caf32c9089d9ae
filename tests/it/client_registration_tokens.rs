//! Registering with a token, where that is what registration takes, and with terms to agree to.
use serde_json::{Value, json};
use warren::{
    homeserver::{Options, Registration, Terms},
    storage::memory::MemoryDisk,
};

use crate::harness::{Answer, TestServer, request};

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
