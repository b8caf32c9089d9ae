//! What an administrator tells the users of a homeserver, and the room it is told in.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, next_batch, texts},
};

const NOTICE: &str = "/_synapse/admin/v1/send_server_notice";

fn notify(server: &TestServer, by: &TestUser, user: &str, text: &str) -> Answer {
    let content = json!({ "msgtype": "m.server_notice", "server_notice_type": "m.server_notice.usage_limit_reached", "body": text });
    server.post(NOTICE, &by.token, json!({ "user_id": user, "content": content }))
}

/// The one room the user is invited to.
fn invited(server: &TestServer, user: &TestUser) -> String {
    let invites = server.sync(user, None, "")["rooms"]["invite"].take();
    let rooms: Vec<&String> = invites.as_object().unwrap().keys().collect();
    assert_eq!(rooms.len(), 1, "{invites}");
    rooms[0].clone()
}

#[test]
fn a_notice_comes_into_a_room_that_cannot_be_declined() {
    let server = TestServer::new();
    let (admin, bob) = (server.register("admin"), server.register("bob"));
    notify(&server, &admin, &bob.id, "read this").ok()["event_id"].as_str().unwrap();
    let room = invited(&server, &bob);
    let leave = |server: &TestServer| {
        server.post(&format!("/_matrix/client/v3/rooms/{}/leave", escaped(&room)), &bob.token, json!({}))
    };
    leave(&server).is_error(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM");

    let server = TestServer::on(server.disk.clone());
    leave(&server).is_error(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM");
    server.join(&bob, &room);
    notify(&server, &admin, &bob.id, "and this").ok();
    let tags =
        server.get(&format!("/_matrix/client/v3/user/{}/rooms/{}/tags", bob.id, escaped(&room)), &bob.token).ok();
    assert_eq!(tags, json!({ "tags": { "m.server_notice": {} } }));
    let synced = server.sync(&bob, None, "");
    assert_eq!(texts(&synced["rooms"]["join"][&room]["timeline"]["events"]), ["read this", "and this"]);
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/1", escaped(&room));
    server.put(&path, &bob.token, json!({ "msgtype": "m.text", "body": "no" })).is_error(403, "M_FORBIDDEN");

    // Once it is read it may be left; what comes next comes into the same room.
    leave(&server).ok();
    let since = next_batch(&server.sync(&bob, None, ""));
    notify(&server, &admin, &bob.id, "at last").ok();
    assert!(server.sync(&bob, Some(&since), "")["rooms"]["invite"][&room].is_object());
}

#[test]
fn a_notice_with_a_transaction_id_is_said_once() {
    let server = TestServer::new();
    let (admin, bob) = (server.register("admin"), server.register("bob"));
    let body = json!({ "user_id": bob.id, "content": { "msgtype": "m.text", "body": "once" } });
    let put = |server: &TestServer| server.put(&format!("{NOTICE}/t1"), &admin.token, body.clone()).ok();
    let first = put(&server);
    let server = TestServer::on(server.disk.clone());
    assert_eq!(first, put(&server));
    let room = invited(&server, &bob);
    server.join(&bob, &room);
    assert_eq!(texts(&server.messages(&bob, &room, "dir=b")["chunk"]), ["once"]);
}

#[test]
fn only_administrators_send_notices_and_only_to_users_here() {
    let server = TestServer::new();
    let (admin, bob) = (server.register("admin"), server.register("bob"));
    notify(&server, &bob, &admin.id, "x").is_error(403, "M_FORBIDDEN");
    notify(&server, &bob, "@nobody:example.org", "x").is_error(403, "M_FORBIDDEN");
    notify(&server, &admin, "@bob:example.org", "x").is_error(400, "M_INVALID_PARAM");
    notify(&server, &admin, &format!("@nobody:{}", server.server_name()), "x").is_error(404, "M_NOT_FOUND");
    notify(&server, &admin, "bob", "x").is_error(400, "M_BAD_JSON");
    server.request("POST", NOTICE, None, json!({})).is_error(401, "M_MISSING_TOKEN");
    server.post(NOTICE, &admin.token, json!({ "user_id": bob.id })).is_error(400, "M_MISSING_PARAM");
    for content in [Value::Null, json!("text"), json!({ "body": 1.5 })] {
        server.post(NOTICE, &admin.token, json!({ "user_id": bob.id, "content": content })).is_error(400, "M_BAD_JSON");
    }
    let large = json!({ "body": "x".repeat(70_000), "msgtype": "m.text" });
    server.post(NOTICE, &admin.token, json!({ "user_id": bob.id, "content": large })).is_error(413, "M_TOO_LARGE");
    // Nobody can be who the notices are from.
    let body = json!({ "username": "_server_notices", "auth": { "type": "m.login.dummy" } });
    server.request("POST", "/_matrix/client/v3/register", None, body).is_error(400, "M_INVALID_USERNAME");
}
