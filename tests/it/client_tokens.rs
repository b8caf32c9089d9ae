//! Access tokens that expire, the refresh tokens that renew them, and tokens that show somebody else who one is.
use serde_json::{Value, json};
use warren::domain::identity::PublicKey;

use crate::harness::{Answer, TestServer, request};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const LIFETIME_MS: u64 = 60 * 60 * 1000;

/// Registers alice, whose client refreshes tokens.
fn refreshable(server: &TestServer) -> Value {
    let body = json!({ "username": "alice", "password": "p", "refresh_token": true, "device_id": "ONE",
        "auth": { "type": "m.login.dummy" } });
    server.request("POST", "/_matrix/client/v3/register", None, body).ok()
}

fn refresh(server: &TestServer, token: &Value) -> Answer {
    server.request("POST", "/_matrix/client/v3/refresh", None, json!({ "refresh_token": token }))
}

fn whoami(server: &TestServer, tokens: &Value) -> Answer {
    server.get(WHOAMI, tokens["access_token"].as_str().unwrap())
}

/// 401 `M_UNKNOWN_TOKEN`, with or without `soft_logout`.
fn is_unknown(answer: Answer, soft_logout: bool) {
    answer.is_error(401, "M_UNKNOWN_TOKEN");
    assert_eq!(answer.body["soft_logout"] == true, soft_logout, "{}", answer.body);
}

#[test]
fn a_token_that_can_be_refreshed_expires() {
    let server = TestServer::new();
    let first = refreshable(&server);
    assert_eq!(first["expires_in_ms"], LIFETIME_MS);
    server.advance(LIFETIME_MS - 1);
    whoami(&server, &first).ok();
    server.advance(1);
    is_unknown(whoami(&server, &first), true);
    let after = TestServer::on(server.disk.clone());
    after.clock.advance(LIFETIME_MS);
    is_unknown(whoami(&after, &first), true);

    let second = refresh(&after, &first["refresh_token"]).ok();
    assert_eq!(second["expires_in_ms"], LIFETIME_MS);
    assert_eq!(whoami(&after, &second).ok()["device_id"], "ONE");
}

#[test]
fn who_does_not_ask_for_it_gets_a_token_for_good() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", "p");
    let body = json!({ "type": "m.login.password", "user": "alice", "password": "p" });
    let login = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
    assert!(login["refresh_token"].is_null() && login["expires_in_ms"].is_null(), "{login}");
    server.advance(365 * 24 * LIFETIME_MS);
    server.get(WHOAMI, &alice.token).ok();
}

#[test]
fn the_tokens_before_are_good_until_one_of_the_new_ones_is_used() {
    let server = TestServer::new();
    let first = refreshable(&server);
    let lost = refresh(&server, &first["refresh_token"]).ok();
    // The answer got lost: the client knows nothing of it.
    whoami(&server, &first).ok();
    let second = refresh(&server, &first["refresh_token"]).ok();
    is_unknown(whoami(&server, &lost), false);
    is_unknown(refresh(&server, &lost["refresh_token"]), false);
    whoami(&server, &first).ok();

    let server = TestServer::on(server.disk.clone());
    whoami(&server, &second).ok();
    is_unknown(whoami(&server, &first), false);
    is_unknown(refresh(&server, &first["refresh_token"]), false);
    whoami(&server, &second).ok();

    // A refresh token counts as used too.
    let third = refresh(&server, &second["refresh_token"]).ok();
    let fourth = refresh(&server, &third["refresh_token"]).ok();
    is_unknown(whoami(&server, &second), false);
    whoami(&server, &third).ok();
    whoami(&server, &fourth).ok();
    is_unknown(whoami(&server, &third), false);
    assert_eq!(
        server.get("/_matrix/client/v3/devices", fourth["access_token"].as_str().unwrap()).ok()["devices"][0]["device_id"],
        "ONE"
    );
}

#[test]
fn transactions_outlive_a_refresh() {
    let server = TestServer::new();
    let first = refreshable(&server);
    let token = |tokens: &Value| tokens["access_token"].as_str().unwrap().to_owned();
    let room = server.post("/_matrix/client/v3/createRoom", &token(&first), json!({})).ok();
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/T", room["room_id"].as_str().unwrap());
    let said = server.put(&path, &token(&first), json!({ "body": "once", "msgtype": "m.text" })).ok();
    let second = refresh(&server, &first["refresh_token"]).ok();
    let again = server.put(&path, &token(&second), json!({ "body": "once", "msgtype": "m.text" })).ok();
    assert_eq!(said, again);
}

#[test]
fn logging_out_ends_all_tokens_of_the_device() {
    let server = TestServer::new();
    let first = refreshable(&server);
    let second = refresh(&server, &first["refresh_token"]).ok();
    server.post("/_matrix/client/v3/logout", first["access_token"].as_str().unwrap(), json!({})).ok();
    for tokens in [&first, &second] {
        is_unknown(whoami(&server, tokens), false);
        is_unknown(refresh(&server, &tokens["refresh_token"]), false);
    }
    let body = json!({ "type": "m.login.password", "user": "alice", "password": "p", "refresh_token": true, "device_id": "ONE" });
    let third = server.request("POST", "/_matrix/client/v3/login", None, body.clone()).ok();
    // Logging in the same device again ends what it had.
    let fourth = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
    is_unknown(refresh(&server, &third["refresh_token"]), false);
    refresh(&server, &fourth["refresh_token"]).ok();
}

#[test]
fn malformed_refreshes_are_refused() {
    let server = TestServer::new();
    let first = refreshable(&server);
    is_unknown(refresh(&server, &json!("")), false);
    is_unknown(refresh(&server, &first["access_token"]), false);
    refresh(&server, &json!(7)).is_error(400, "M_BAD_JSON");
    refresh(&server, &Value::Null).is_error(400, "M_BAD_JSON");
    server.request("POST", "/_matrix/client/v3/refresh", None, json!({})).is_error(400, "M_MISSING_PARAM");
    server.send(request("POST", "/_matrix/client/v3/refresh", None, "{")).is_error(400, "M_NOT_JSON");
    is_unknown(server.get(WHOAMI, first["refresh_token"].as_str().unwrap()), false);
}

#[test]
fn an_openid_token_tells_services_and_servers_who_its_owner_is() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let path = |user: &str| format!("/_matrix/client/v3/user/{user}/openid/request_token");
    let token = server.post(&path(&alice.id), &alice.token, json!({})).ok();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(token["matrix_server_name"], server.server_name().as_str());
    server.post(&path(&alice.id), &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
    server.post(&path("nobody"), &bob.token, json!({})).is_error(400, "M_INVALID_PARAM");
    server.request("POST", &path(&alice.id), None, json!({})).is_error(401, "M_MISSING_TOKEN");

    let token = token["access_token"].as_str().unwrap();
    server.get(WHOAMI, token).is_error(401, "M_UNKNOWN_TOKEN");
    let userinfo = |token: &str| format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
    let server = TestServer::on(server.disk.clone());
    let peer = PublicKey::of_server_name(server.server_name()).unwrap();
    assert_eq!(server.send_as(peer, request("GET", &userinfo(token), None, "")).ok(), json!({ "sub": alice.id }));
    let ask = |token: &str| server.send(request("GET", &userinfo(token), None, ""));
    assert_eq!(ask(token).ok(), json!({ "sub": alice.id }));
    ask("invented").is_error(401, "M_UNKNOWN_TOKEN");
    ask(&alice.token).is_error(401, "M_UNKNOWN_TOKEN");
    let bare = "/_matrix/federation/v1/openid/userinfo";
    server.send(request("GET", bare, None, "")).is_error(400, "M_MISSING_PARAM");
    server.advance(3_600_000);
    ask(token).is_error(401, "M_UNKNOWN_TOKEN");
}
