//! What a node still knows after it was killed or stopped: everything it acknowledged.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::node::Node;

#[test]
fn everything_acknowledged_survives_kills() {
    const KILLS: usize = 4;
    const SENDS: usize = 6;
    let mut node = Node::start_open(&[]);
    let ada = node.register("ada");
    let room = node.create_room(&ada);
    let mut sent = Vec::new();
    for kill in 0..KILLS {
        for number in 0..SENDS {
            let text = format!("{kill}.{number}");
            sent.push((node.send_as(&ada, &room, &format!("t{kill}.{number}"), &text), text));
        }
        let token = node.sync(&ada, None, 0)["next_batch"].as_str().unwrap().to_owned();
        // One more is on its way when the process dies; it may be there or not.
        let body = json!({ "msgtype": "m.text", "body": "unacknowledged" });
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/u{kill}");
        let unanswered = node.begin("PUT", &path, Some(&ada.token), &body);
        node = Node::start_in(node.kill(), &["--open-registration"]);
        drop(unanswered);

        let there: Vec<_> =
            node.messages(&ada, &room).into_iter().filter(|(_, text)| text != "unacknowledged").collect();
        assert_eq!(there, sent.iter().rev().cloned().collect::<Vec<_>>());
        let (id, text) = sent.last().unwrap().clone();
        assert_eq!(node.send_as(&ada, &room, &format!("t{kill}.{}", SENDS - 1), &text), id, "a transaction stays one");
        let news = node.sync(&ada, Some(&token), 0);
        let told = news["rooms"]["join"][&room]["timeline"]["events"].as_array().cloned().unwrap_or_default();
        assert!(
            told.iter().all(|event| event["content"]["body"] == "unacknowledged"),
            "what was told is not told again"
        );
        node.until_heard(&ada, &room, &text);
    }
    let ids: BTreeSet<_> = sent.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), sent.len(), "no event id comes twice");
    let again = json!({ "username": "ada", "auth": { "type": "m.login.dummy" } });
    node.request("POST", "/_matrix/client/v3/register", None, &again).is_error(400, "M_USER_IN_USE");
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_cleanly_while_clients_wait() {
    use std::time::{Duration, Instant};

    let node = Node::start_open(&[]);
    let ada = node.register("ada");
    let room = node.create_room(&ada);
    let since = node.sync(&ada, None, 0)["next_batch"].as_str().unwrap().to_owned();
    let path = format!("/_matrix/client/v3/sync?timeout=30000&since={since}");
    let _waiting = node.begin("GET", &path, Some(&ada.token), &Value::Null);
    let id = node.send(&ada, &room, "last words");
    let _waiting_too = node.begin("GET", &path, Some(&ada.token), &Value::Null);
    let started = Instant::now();
    let (status, dir) = node.stop();
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let node = Node::start_in(dir, &[]);
    assert_eq!(node.messages(&ada, &room), [(id, "last words".to_owned())]);
    let closed = json!({ "username": "bob", "auth": { "type": "m.login.dummy" } });
    node.request("POST", "/_matrix/client/v3/register", None, &closed).is_error(403, "M_FORBIDDEN");
}
