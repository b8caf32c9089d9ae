//! Messages to devices across servers: in order, once, and only from those whose users send them.
use serde_json::{Value, json};
use warren::homeserver::to_device::{CONTENT_MAX_BYTES, INBOX_MESSAGES_MAX};

use crate::{
    client_to_device::{send, texts},
    federation_network::Network,
    federation_peer::Peer,
    harness::{TestServer, TestUser},
    talk::{next_batch, next_txn},
};

fn edu(sender: &str, id: &str, messages: Value) -> Value {
    let content = json!({ "sender": sender, "type": "org.example.note", "message_id": id, "messages": messages });
    json!({ "edu_type": "m.direct_to_device", "content": content })
}

fn deliver(peer: &Peer, server: &TestServer, edus: &[Value]) {
    peer.send(server, &next_txn().to_string(), &[], edus).ok();
}

#[test]
fn messages_cross_servers_in_order_and_wait_for_one_that_is_away() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    send(&a, &alice, &bob.id, "*", "one");
    send(&a, &alice, &bob.id, &bob.device, "two");
    network.settle();
    let answer = b.sync(&bob, None, "");
    assert_eq!(texts(&answer), ["one", "two"]);
    assert_eq!(answer["to_device"]["events"][0]["sender"], alice.id);
    network.cut(&a, &b);
    (0..70).for_each(|n| send(&a, &alice, &bob.id, &bob.device, &n.to_string()));
    network.settle();
    let since = next_batch(&answer);
    assert_eq!(texts(&b.sync(&bob, Some(&since), "")), Vec::<String>::new());
    let a = network.restart(a);
    network.reconnect(&a, &b);
    let answer = b.sync(&bob, Some(&since), "");
    assert_eq!(texts(&answer), (0..70).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_message_that_is_sent_again_is_told_once() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let eve = peer.user("eve");
    let messages = json!({ &bob.id: { "*": { "text": "once" } } });
    let message = edu(eve.as_str(), "id", messages.clone());
    deliver(&peer, &server, &[message.clone(), message.clone()]);
    deliver(&peer, &server, std::slice::from_ref(&message));
    let answer = server.sync(&bob, None, "");
    assert_eq!(texts(&answer), ["once"]);
    // Also when the device has it, and after a restart.
    server.sync(&bob, Some(&next_batch(&answer)), "");
    let server = network.restart(server);
    deliver(&peer, &server, &[message]);
    assert_eq!(texts(&server.sync(&bob, None, "")), Vec::<String>::new());
    // Another server's ids are its own.
    let other = network.peer();
    deliver(&other, &server, &[edu(other.user("fay").as_str(), "id", messages)]);
    assert_eq!(texts(&server.sync(&bob, None, "")), ["once"]);
}

#[test]
fn what_a_server_may_not_send_to_devices_is_ignored() {
    let network = Network::new();
    let (server, peer, other) = (network.server(), network.peer(), network.peer());
    let bob = server.register("bob");
    let eve = peer.user("eve");
    let to_bob = |content: Value| json!({ &bob.id: { "*": content } });
    let good = || to_bob(json!({ "text": "bad" }));
    let id = || next_txn().to_string();
    let mut without_id = edu(eve.as_str(), "x", good());
    without_id["content"].as_object_mut().unwrap().remove("message_id");
    let mut of_long_type = edu(eve.as_str(), &id(), good());
    of_long_type["content"]["type"] = json!("k".repeat(256));
    let many: serde_json::Map<_, _> = (0..2_000).map(|n| (format!("D{n}"), json!({}))).collect();
    let bad = [
        // Somebody else's users.
        edu(other.user("fay").as_str(), &id(), good()),
        edu(&bob.id, &id(), good()),
        edu("eve", &id(), good()),
        // Of an id that clients are told of by no event.
        edu(&format!("@ev\u{e9}:{}", peer.name()), &id(), good()),
        // Not as it should be.
        edu(eve.as_str(), &"i".repeat(33), good()),
        edu(eve.as_str(), "", good()),
        without_id,
        of_long_type,
        edu(eve.as_str(), &id(), json!([])),
        edu(eve.as_str(), &id(), json!({ &bob.id: "*" })),
        edu(eve.as_str(), &id(), to_bob(json!("text"))),
        edu(eve.as_str(), &id(), to_bob(json!({ "text": "x".repeat(CONTENT_MAX_BYTES) }))),
        edu(eve.as_str(), &id(), json!({ &bob.id: many })),
        // Of nobody here.
        edu(eve.as_str(), &id(), json!({ other.user("fay").as_str(): { "*": { "text": "bad" } } })),
        edu(eve.as_str(), &id(), json!({ &bob.id: { "ANOTHER": { "text": "bad" } } })),
        json!({ "edu_type": "m.direct_to_device", "content": {} }),
        json!({ "edu_type": "m.direct_to_device", "content": [] }),
    ];
    deliver(&peer, &server, &bad);
    assert_eq!(texts(&server.sync(&bob, None, "")), Vec::<String>::new());
    deliver(&peer, &server, &[edu(eve.as_str(), &"i".repeat(32), to_bob(json!({ "text": "good" })))]);
    assert_eq!(texts(&server.sync(&bob, None, "")), ["good"]);
}

#[test]
fn a_flood_of_messages_fills_one_inbox_and_no_more() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let (bob, carol): (TestUser, TestUser) = (server.register("bob"), server.register("carol"));
    let eve = peer.user("eve");
    for _ in 0..INBOX_MESSAGES_MAX / 100 + 2 {
        let flood = |_| edu(eve.as_str(), &next_txn().to_string(), json!({ &bob.id: { "*": { "text": "flood" } } }));
        deliver(&peer, &server, &(0..100).map(flood).collect::<Vec<_>>());
    }
    let (mut told, mut since) = (0, None);
    loop {
        let answer = server.sync(&bob, since.as_deref(), "");
        let some = texts(&answer).len();
        if some == 0 {
            break;
        }
        told += some;
        since = Some(next_batch(&answer));
    }
    assert_eq!(told, INBOX_MESSAGES_MAX);
    send(&server, &bob, &carol.id, "*", "others get theirs");
    assert_eq!(texts(&server.sync(&carol, None, "")), ["others get theirs"]);
}
