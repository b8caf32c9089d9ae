//! Versions and capabilities, and what the router does with requests nobody serves.
use serde_json::json;
use warren::homeserver::{
    Options, Support, SupportContact,
    delayed_events::{DELAY_MAX_MS, SCHEDULED_PER_USER_MAX},
};

use crate::harness::{TestServer, request};

#[test]
fn versions_need_no_token() {
    let server = TestServer::new();
    let body = server.send(request("GET", "/_matrix/client/versions", None, "")).ok();
    assert!(body["versions"].as_array().unwrap().contains(&json!("v1.11")));
    server.get("/_matrix/client/versions", "not a token").is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn unknown_paths_and_methods_are_unrecognized() {
    let server = TestServer::new();
    for path in ["/", "/_matrix/client/v3/nothing", "/_matrix/client/versions/", "/_matrix/federation/v1/version"] {
        server.send(request("GET", path, None, "")).is_error(404, "M_UNRECOGNIZED");
    }
    let answer = server.send(request("PUT", "/_matrix/client/versions", None, "{}"));
    answer.is_error(405, "M_UNRECOGNIZED");
    assert_eq!(answer.headers["allow"], "GET");
}

#[test]
fn browsers_may_ask_from_anywhere() {
    let server = TestServer::new();
    for (method, path) in
        [("OPTIONS", "/_matrix/client/v3/sync"), ("GET", "/_matrix/client/versions"), ("GET", "/nowhere")]
    {
        let answer = server.send(request(method, path, None, ""));
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{method} {path}");
        assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("Authorization"));
        assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    }
    assert_eq!(server.send(request("OPTIONS", "/_matrix/client/v3/sync", None, "")).status, 200);
}

#[test]
fn capabilities_say_what_is_so() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let path = "/_matrix/client/v3/capabilities";
    let capabilities = server.get(path, &alice.token).ok()["capabilities"].take();
    let available: serde_json::Map<_, _> = (1..=12).map(|version| (version.to_string(), json!("stable"))).collect();
    let rooms = json!({ "default": "12", "available": available });
    assert_eq!(capabilities["m.room_versions"], rooms);
    assert_eq!(capabilities["m.change_password"], json!({ "enabled": true }));
    assert_eq!(capabilities["m.set_displayname"], json!({ "enabled": true }));
    assert_eq!(capabilities["m.set_avatar_url"], json!({ "enabled": true }));
    assert_eq!(capabilities["m.3pid_changes"], json!({ "enabled": false }));
    assert_eq!(capabilities["m.get_login_token"], json!({ "enabled": true }));
    assert_eq!(capabilities["m.profile_fields"], json!({ "enabled": true }));
    let delayed = json!({ "max_delay_ms": DELAY_MAX_MS, "max_scheduled": SCHEDULED_PER_USER_MAX });
    assert_eq!(capabilities["org.matrix.msc4140.delayed_events"], delayed);
    assert_eq!(capabilities.get("m.forget_forced_upon_leave"), None, "who leaves a room has not forgotten it");
    server.send(request("GET", path, None, "")).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn where_the_homeserver_is_depends_on_the_shell() {
    let here = |options| {
        let server = TestServer::with(Default::default(), options);
        server.send(request("GET", "/.well-known/matrix/client", None, ""))
    };
    here(Options::default()).is_error(404, "M_NOT_FOUND");
    let options = Options { client_base_url: Some("https://example.org".to_owned()), ..Options::default() };
    assert_eq!(here(options).ok(), json!({ "m.homeserver": { "base_url": "https://example.org" } }));
}

#[test]
fn whom_to_ask_for_help_is_told_if_anybody_is_named() {
    let ask = |support| {
        let server = TestServer::with(Default::default(), Options { support, ..Options::default() });
        server.send(request("GET", "/.well-known/matrix/support", None, ""))
    };
    ask(None).is_error(404, "M_NOT_FOUND");
    let contact = Some(SupportContact::Email("help@example.org".to_owned()));
    let page = Some("https://example.org/help".to_owned());
    let contacts = json!([{ "role": "m.role.admin", "email_address": "help@example.org" }]);
    let both = ask(Some(Support { contact, page: page.clone() })).ok();
    assert_eq!(both, json!({ "contacts": contacts, "support_page": "https://example.org/help" }));
    assert_eq!(ask(Some(Support { contact: None, page })).ok(), json!({ "support_page": "https://example.org/help" }));
    let user = ruma::user_id!("@admin:example.org").to_owned();
    let contacts = json!([{ "role": "m.role.admin", "matrix_id": user }]);
    let named = ask(Some(Support { contact: Some(SupportContact::User(user)), page: None })).ok();
    assert_eq!(named, json!({ "contacts": contacts }));
}
