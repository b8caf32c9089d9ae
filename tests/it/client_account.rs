//! Registering an account and asking whose it is.
use serde_json::{Value, json};
use warren::{
    homeserver::{Options, Registration},
    storage::memory::MemoryDisk,
};

use crate::harness::{Answer, TestServer, request};

const REGISTER: &str = "/_matrix/client/v3/register";

fn register(server: &TestServer, body: Value) -> Answer {
    server.request("POST", REGISTER, None, body)
}

fn dummy() -> Value {
    json!({ "type": "m.login.dummy" })
}

#[test]
fn registering_takes_two_steps() {
    let server = TestServer::new();
    let challenge = register(&server, json!({ "username": "alice", "password": "wonderland" }));
    assert_eq!(challenge.status, 401);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    assert_eq!(challenge.errcode(), "", "a first challenge is not an error");
    let session = challenge.body["session"].as_str().unwrap();

    let auth = json!({ "type": "m.login.dummy", "session": session });
    let body = json!({ "username": "alice", "password": "wonderland", "auth": auth });
    let registered = register(&server, body).ok();
    assert_eq!(registered["user_id"], format!("@alice:{}", server.server_name()));
    let token = registered["access_token"].as_str().unwrap();
    assert!(token.starts_with("warren_") && token.len() == 7 + 43, "{token}");

    let whoami = server.get("/_matrix/client/v3/account/whoami", token).ok();
    assert_eq!(whoami["user_id"], registered["user_id"]);
    assert_eq!(whoami["device_id"], registered["device_id"]);
    assert_ne!(whoami["is_guest"], true);
}

#[test]
fn registering_in_one_step_chooses_what_the_client_leaves_out() {
    let server = TestServer::new();
    let first = register(&server, json!({ "auth": dummy() })).ok();
    let second = register(&server, json!({ "auth": dummy() })).ok();
    assert_ne!(first["user_id"], second["user_id"]);
    assert_eq!(first["device_id"].as_str().unwrap().len(), 10);

    let body = json!({ "auth": dummy(), "device_id": "MINE", "initial_device_display_name": "my tab" });
    let body = register(&server, body).ok();
    assert_eq!(body["device_id"], "MINE");
    let devices = server.get("/_matrix/client/v3/devices", body["access_token"].as_str().unwrap()).ok();
    assert_eq!(devices["devices"][0]["display_name"], "my tab");
}

#[test]
fn closed_registration_says_so() {
    let options = Options { registration: Registration::Closed, ..Options::default() };
    let server = TestServer::with(MemoryDisk::default(), options);
    register(&server, json!({ "username": "alice", "auth": dummy() })).is_error(403, "M_FORBIDDEN");
    register(&server, json!({})).is_error(403, "M_FORBIDDEN");
}

#[test]
fn without_a_login_there_is_no_device() {
    let server = TestServer::new();
    let body = register(&server, json!({ "username": "alice", "inhibit_login": true, "auth": dummy() })).ok();
    assert_eq!(body["user_id"], format!("@alice:{}", server.server_name()));
    assert!(body["access_token"].is_null() && body["device_id"].is_null(), "{body}");
}

#[test]
fn usernames_are_unique_and_well_formed() {
    let server = TestServer::new();
    server.register("alice");
    // Said at once, without asking anybody to authenticate first.
    register(&server, json!({ "username": "alice" })).is_error(400, "M_USER_IN_USE");
    for username in ["", "Alice", "al ice", "älice", "@alice:example.org", "a:b", "_alice", &"a".repeat(200)] {
        register(&server, json!({ "username": username })).is_error(400, "M_INVALID_USERNAME");
    }

    let available =
        |username: &str| server.send(request("GET", &format!("{REGISTER}/available?username={username}"), None, ""));
    assert_eq!(available("bob").ok(), json!({ "available": true }));
    available("alice").is_error(400, "M_USER_IN_USE");
    available("Bob").is_error(400, "M_INVALID_USERNAME");
    server.send(request("GET", &format!("{REGISTER}/available"), None, "")).is_error(400, "M_MISSING_PARAM");
}

#[test]
fn what_is_not_offered_is_refused() {
    let server = TestServer::new();
    let guest = server.request("POST", &format!("{REGISTER}?kind=guest"), None, json!({}));
    guest.is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.request("POST", &format!("{REGISTER}?kind=robot"), None, json!({})).is_error(400, "M_INVALID_PARAM");
    register(&server, json!({ "type": "m.login.application_service" })).is_error(400, "M_UNKNOWN");

    let other = register(&server, json!({ "auth": { "type": "m.login.recaptcha", "response": "x" } }));
    assert_eq!((other.status.as_u16(), other.errcode()), (401, "M_FORBIDDEN"));
    assert_eq!(other.body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    let fallback = register(&server, json!({ "auth": { "session": "mine" } }));
    assert_eq!(fallback.status, 401);
    assert_ne!(fallback.body["session"], "mine", "sessions are named here");
}

#[test]
fn fields_of_the_wrong_kind_are_refused() {
    let server = TestServer::new();
    for body in [json!({ "username": 7 }), json!({ "auth": "dummy" }), json!({ "inhibit_login": "yes" })] {
        register(&server, body).is_error(400, "M_BAD_JSON");
    }
    register(&server, json!({ "password": "" })).is_error(400, "M_WEAK_PASSWORD");
    register(&server, json!({ "password": "x".repeat(513) })).is_error(413, "M_TOO_LARGE");
    register(&server, json!({ "device_id": "" })).is_error(400, "M_INVALID_PARAM");
    register(&server, json!({ "initial_device_display_name": "x".repeat(256) })).is_error(413, "M_TOO_LARGE");
    // `null` is as good as absent.
    let nulls = json!({ "username": null, "password": null, "device_id": null, "auth": null });
    assert_eq!(register(&server, nulls).status, 401);
}

#[test]
fn accounts_and_tokens_survive_a_restart() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let after = TestServer::on(server.disk.clone());
    assert_eq!(after.server_name(), server.server_name());
    let whoami = after.get("/_matrix/client/r0/account/whoami", &alice.token).ok();
    assert_eq!(whoami["user_id"], alice.id);
}

#[test]
fn tokens_must_be_there_and_known() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let whoami = "/_matrix/client/v3/account/whoami";
    let ask = |header: Option<&str>, query: &str| {
        let mut builder = http::Request::get(format!("{whoami}{query}"));
        if let Some(header) = header {
            builder = builder.header("authorization", header);
        }
        server.send(builder.body("".into()).unwrap())
    };
    ask(None, "").is_error(401, "M_MISSING_TOKEN");
    ask(Some("Basic abc"), "").is_error(401, "M_MISSING_TOKEN");
    ask(Some("Bearer wrong"), "").is_error(401, "M_UNKNOWN_TOKEN");
    ask(Some("Bearer "), "").is_error(401, "M_UNKNOWN_TOKEN");
    ask(None, "?access_token=wrong").is_error(401, "M_UNKNOWN_TOKEN");
    ask(None, &format!("?access_token={}", alice.token)).ok();
    ask(Some(&format!("bearer {}", alice.token)), "").ok();
}
