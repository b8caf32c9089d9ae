//! Mail addresses and telephone numbers, which nobody has here, and ways to log in that are not offered.
use serde_json::{Value, json};

use crate::harness::{TestServer, request};

const ACCOUNT: &str = "/_matrix/client/v3/account";
const EMAIL: &str = r#"{ "client_secret": "s", "email": "a@example.org", "send_attempt": 1 }"#;
const MSISDN: &str = r#"{ "client_secret": "s", "country": "GB", "phone_number": "07700900001", "send_attempt": 1 }"#;

#[test]
fn nobody_has_an_identifier() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let path = format!("{ACCOUNT}/3pid");
    assert_eq!(server.get(&path, &alice.token).ok(), json!({ "threepids": [] }));
    server.send(request("GET", &path, None, "")).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn nothing_is_validated() {
    let server = TestServer::new();
    for (path, body, status, errcode) in [
        ("account/3pid/email", EMAIL, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
        ("account/3pid/msisdn", MSISDN, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
        ("register/email", EMAIL, 403, "M_THREEPID_DENIED"),
        ("register/msisdn", MSISDN, 403, "M_THREEPID_DENIED"),
        ("account/password/email", EMAIL, 400, "M_THREEPID_NOT_FOUND"),
        ("account/password/msisdn", MSISDN, 400, "M_THREEPID_NOT_FOUND"),
    ] {
        let path = format!("/_matrix/client/v3/{path}/requestToken");
        let ask = |body: &str| server.send(request("POST", &path, None, body.to_owned()));
        ask(body).is_error(status, errcode);
        let mut fields: Value = serde_json::from_str(body).unwrap();
        fields["send_attempt"] = json!("first");
        ask(&fields.to_string()).is_error(400, "M_BAD_JSON");
        fields.as_object_mut().unwrap().remove("send_attempt");
        ask(&fields.to_string()).is_error(400, "M_MISSING_PARAM");
        ask("").is_error(400, "M_MISSING_PARAM");
        ask("{").is_error(400, "M_NOT_JSON");
    }
}

#[test]
fn nothing_is_added_or_bound() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let ask = |path: &str, body: Value| server.post(&format!("{ACCOUNT}/{path}"), &alice.token, body);
    let session = json!({ "sid": "1", "client_secret": "s" });
    ask("3pid/add", session.clone()).is_error(403, "M_THREEPID_AUTH_FAILED");
    ask("3pid/add", json!({ "sid": "1" })).is_error(400, "M_MISSING_PARAM");
    ask("3pid", json!({ "three_pid_creds": session })).is_error(403, "M_THREEPID_AUTH_FAILED");
    ask("3pid", json!({ "three_pid_creds": 7 })).is_error(400, "M_BAD_JSON");
    ask("3pid", json!({})).is_error(400, "M_MISSING_PARAM");
    let bind = json!({ "sid": "1", "client_secret": "s", "id_server": "example.org", "id_access_token": "t" });
    ask("3pid/bind", bind).is_error(403, "M_SERVER_NOT_TRUSTED");
    ask("3pid/bind", json!({})).is_error(400, "M_MISSING_PARAM");
    for path in ["3pid", "3pid/add", "3pid/bind", "3pid/delete", "3pid/unbind"] {
        server.request("POST", &format!("{ACCOUNT}/{path}"), None, json!({})).is_error(401, "M_MISSING_TOKEN");
    }
}

#[test]
fn what_nobody_has_is_gone_and_unbound_nowhere() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for path in ["3pid/delete", "3pid/unbind"] {
        let path = format!("{ACCOUNT}/{path}");
        let answer = server.post(&path, &alice.token, json!({ "medium": "email", "address": "a@example.org" }));
        assert_eq!(answer.ok(), json!({ "id_server_unbind_result": "no-support" }));
        server.post(&path, &alice.token, json!({ "medium": "email" })).is_error(400, "M_MISSING_PARAM");
        server.post(&path, &alice.token, json!({ "medium": 7, "address": "a" })).is_error(400, "M_BAD_JSON");
    }
}

#[test]
fn other_ways_to_log_in_are_not_offered() {
    let server = TestServer::new();
    for path in [
        "/_matrix/client/v3/login/sso/redirect?redirectUrl=https://example.org",
        "/_matrix/client/v3/login/sso/redirect/idp?redirectUrl=https://example.org",
        "/_matrix/client/v1/auth_metadata",
        "/.well-known/matrix/policy_server",
    ] {
        server.send(request("GET", path, None, "")).is_error(404, "M_UNRECOGNIZED");
    }
}
