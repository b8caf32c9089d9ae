//! Pushes of a node to a gateway on this machine, over real sockets.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
};

use serde_json::{Value, json};

use crate::{
    node::{Node, User},
    warren::PATIENCE,
};

const SET: &str = "/_matrix/client/v3/pushers/set";

/// A push gateway: each notification it gets can be received, and is answered with `answer`.
struct Gateway {
    address: SocketAddr,
    heard: Receiver<(String, Value)>,
    answer: Arc<Mutex<(u16, Value)>>,
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hear, heard) = channel();
        let answer = Arc::new(Mutex::new((200, json!({ "rejected": [] }))));
        let given = answer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    reader.read_line(&mut head).unwrap();
                }
                let length = head.to_lowercase().split_once("content-length: ").unwrap().1.to_owned();
                let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let (status, answer) = given.lock().unwrap().clone();
                let answer = answer.to_string();
                let length = answer.len();
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{answer}");
                reader.into_inner().write_all(answer.as_bytes()).unwrap();
                let mut body: Value = serde_json::from_slice(&body).unwrap();
                if hear.send((head, body["notification"].take())).is_err() {
                    return;
                }
            }
        });
        Self { address, heard, answer }
    }

    fn answer(&self, status: u16, body: Value) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn pusher(&self) -> Value {
        json!({
            "kind": "http", "app_id": "org.example.app", "pushkey": "KEY", "app_display_name": "App",
            "device_display_name": "Phone", "lang": "en",
            "data": { "url": format!("http://{}/_matrix/push/v1/notify", self.address), "format": "event_id_only" },
        })
    }

    #[track_caller]
    fn next(&self) -> (String, Value) {
        self.heard.recv_timeout(3 * PATIENCE).expect("nothing is pushed")
    }
}

/// Ada and Bob in a room of Ada's.
fn two(node: &Node) -> (User, User, String) {
    let (ada, bob) = (node.register("ada"), node.register("bob"));
    let room = node.create_room(&ada);
    node.ok(&bob, "POST", &format!("/_matrix/client/v3/join/{room}"), &json!({}));
    (ada, bob, room)
}

#[test]
fn a_gateway_hears_of_what_notifies_through_failures_and_restarts() {
    const FLAGS: [&str; 2] = ["--open-registration", "--local-push-gateways"];
    let node = Node::start(&FLAGS);
    let gateway = Gateway::start();
    let (ada, bob, room) = two(&node);
    node.ok(&bob, "POST", SET, &gateway.pusher());
    let first = node.send(&ada, &room, "first");
    let (head, told) = gateway.next();
    assert!(head.starts_with("POST /_matrix/push/v1/notify HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!((&told["event_id"], &told["counts"]), (&json!(first), &json!({ "unread": 1 })));
    assert_eq!(told["devices"][0]["tweaks"], json!({ "sound": "default" }), "the two are one to one");
    assert_eq!((told.get("content"), told.get("sender")), (None, None), "the id only was asked for");

    gateway.answer(503, json!({}));
    let second = node.send(&ada, &room, "second");
    assert_eq!(gateway.next().1["event_id"], json!(second));
    // It waits to be tried again while the node dies and returns.
    let dir = node.kill();
    gateway.answer(200, json!({ "rejected": [] }));
    while gateway.heard.try_recv().is_ok() {}
    let node = Node::start_in(dir, &FLAGS);
    assert_eq!(gateway.next().1["event_id"], json!(second));

    gateway.answer(200, json!({ "rejected": ["KEY"] }));
    let third = node.send(&ada, &room, "third");
    assert_eq!(gateway.next().1["event_id"], json!(third));
    let started = std::time::Instant::now();
    while node.ok(&bob, "GET", "/_matrix/client/v3/pushers", &Value::Null) != json!({ "pushers": [] }) {
        assert!(started.elapsed() < PATIENCE, "a rejected key keeps its pusher");
        thread::yield_now();
    }
}

#[test]
fn without_leave_a_gateway_on_this_machine_hears_nothing() {
    let node = Node::start_open(&[]);
    let gateway = Gateway::start();
    let (ada, bob, room) = two(&node);
    node.request("POST", SET, Some(&bob.token), &gateway.pusher()).is_error(400, "M_INVALID_PARAM");
    let mut secure = gateway.pusher();
    secure["data"]["url"] = format!("https://{}/_matrix/push/v1/notify", gateway.address).into();
    node.ok(&bob, "POST", SET, &secure);
    node.send(&ada, &room, "hello");
    node.until_heard(&bob, &room, "hello");
    let page = node.ok(&bob, "GET", "/_matrix/client/v3/notifications", &Value::Null);
    assert_eq!(page["notifications"][0]["read"], false);
    assert!(gateway.heard.try_recv().is_err());
}

#[test]
fn presence_can_be_turned_off() {
    let node = Node::start_open(&["--presence=false"]);
    let ada = node.register("ada");
    let path = format!("/_matrix/client/v3/presence/{}/status", ada.id);
    node.request("GET", &path, Some(&ada.token), &Value::Null).is_error(403, "M_FORBIDDEN");
    let node = Node::start_open(&[]);
    let ada = node.register("ada");
    node.sync(&ada, None, 0);
    let path = format!("/_matrix/client/v3/presence/{}/status", ada.id);
    assert_eq!(node.ok(&ada, "GET", &path, &Value::Null)["presence"], "online");
}
