//! Too much, too slowly or to nobody, through the gateway of the real program: who does so is held back, tabs and other servers
//! go on.
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use ruma::ServerName;
use serde_json::Value;
use tokio::task::{LocalSet, spawn_blocking};
use warren::domain::identity::Identity;

use crate::{
    tabs::{Gate, Tab, VERSION, ZONE, connect, json_of},
    warren::Answer,
};

const SEND: &str = "/_matrix/federation/v1/send/1";
const BODY_MAX: usize = 8 << 20;
/// What the program may hold more than before under a flood of one address: its 32 bodies of 8 MiB, read into buffers that double.
const HELD_MAX_KIB: usize = 600 << 10;
/// Others are answered as soon as this, in the middle of it all, by a program that is not optimised on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Two addresses of which the proxy says that it speaks for them.
const FLOODER: &str = "203.0.113.9";
const OTHER: &str = "198.51.100.7";

fn head(method: &str, path: &str, host: &str, address: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: {address}\r\n{more}\r\n")
}

/// The answer to one request with a connection of its own.
fn ask(port: u16, path: &str, host: &str, address: &str) -> Answer {
    let mut stream = connect(port);
    stream.write_all(head("GET", path, host, address, "connection: close\r\n").as_bytes()).unwrap();
    Answer::read(stream)
}

/// A request of a `length` of body, of which so much is sent as is taken before the other end stops reading, and no more.
fn begin(port: u16, host: &str, address: &str, length: usize, sent: usize) -> TcpStream {
    let mut stream = connect(port);
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let length = format!("content-length: {length}\r\n");
    stream.write_all(head("PUT", SEND, host, address, &length).as_bytes()).unwrap();
    match stream.write_all(&vec![b' '; sent]) {
        Ok(()) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
    }
    stream
}

/// All that is answered to `requests` on one connection, of which the last one ends it.
fn answers(port: u16, requests: &[String]) -> String {
    let mut reading = connect(port);
    let mut writing = reading.try_clone().unwrap();
    let all = requests.concat();
    let writer = thread::spawn(move || writing.write_all(all.as_bytes()).unwrap());
    let mut said = String::new();
    reading.read_to_string(&mut said).unwrap();
    writer.join().unwrap();
    said
}

/// How often each status came.
fn statuses(said: &str) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for status in said.split("HTTP/1.1 ").skip(1) {
        *counts.entry(status[..3].parse().unwrap()).or_default() += 1;
    }
    counts
}

/// `count` requests of which the last one ends the connection.
fn many(count: usize, path: &str, host: &str, address: &str) -> Vec<String> {
    let end = |n: usize| if n + 1 == count { "connection: close\r\n" } else { "" };
    (0..count).map(|n| head("GET", path, host, address, end(n))).collect()
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

/// Somebody else asks a tab, a tab asks another one by way of the relay, and the page is there.
async fn all_go_on(gate: &Gate, tab: &Tab, other: &Tab) {
    let going_on = async {
        let (port, name) = (gate.port, tab.name().to_string());
        let heard = beside(move || ask(port, VERSION, &name, OTHER)).await;
        assert_eq!((heard.status, json_of(&heard)["by_gateway"].as_bool()), (200, Some(true)));
        let request = http::Request::get(VERSION).body(Bytes::new()).unwrap();
        let (status, heard) = tab.send(other.name().to_owned(), request).await.unwrap();
        assert_eq!((status, heard["by_gateway"].as_bool()), (200, Some(false)), "by the relay, and no gateway");
        assert_eq!(gate.warren.get("/").status, 200);
    };
    tokio::time::timeout(SOON, going_on).await.expect("nobody else is held up");
}

#[tokio::test]
async fn bodies_that_never_end_are_few_and_keep_nobody_else_waiting() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        all_go_on(&gate, &tab, &other).await;
        #[cfg(target_os = "linux")]
        let before = gate.warren.memory_kib();
        let (port, name) = (gate.port, tab.name().to_string());
        let flood = move || {
            let beginning = |_| {
                thread::spawn({
                    let name = name.clone();
                    move || begin(port, &name, FLOODER, BODY_MAX, BODY_MAX - 1)
                })
            };
            let begun: Vec<_> = (0..100).map(beginning).collect();
            begun.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        };
        let held = beside(flood).await;
        all_go_on(&gate, &tab, &other).await;
        #[cfg(target_os = "linux")]
        {
            let more = gate.warren.memory_kib().saturating_sub(before);
            assert!(more < HELD_MAX_KIB, "{more} KiB for a flood");
        }
        // Whoever has as many requests under way as it may waits, and is served when they end.
        let name = tab.name().to_string();
        let waiting = tokio::spawn(beside(move || ask(port, VERSION, &name, FLOODER)));
        drop(held);
        assert_eq!(waiting.await.unwrap().status, 200);
        all_go_on(&gate, &tab, &other).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn eight_addresses_that_hold_everything_make_room_for_a_ninth() {
    let test = async {
        let gate = Gate::start();
        let tab = Tab::start(&gate, 1).await;
        let (port, name) = (gate.port, tab.name().to_string());
        let holders = {
            let name = name.clone();
            move || {
                (0..8 * 32).map(|n| begin(port, &name, &format!("203.0.{}.9", n / 32), BODY_MAX, 1)).collect::<Vec<_>>()
            }
        };
        let held = beside(holders).await;
        let heard = beside(move || ask(port, VERSION, &name, OTHER)).await;
        assert_eq!((heard.status, json_of(&heard)["by_gateway"].as_bool()), (200, Some(true)));
        // Whoever made room is told so; the others go on holding theirs.
        let told = |mut stream: &TcpStream| {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut said = [0; 12];
            stream.read_exact(&mut said).is_ok_and(|()| &said == b"HTTP/1.1 503")
        };
        let put_out = held.iter().filter(|stream| told(stream)).count();
        assert!((1..8).contains(&put_out), "{put_out}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_is_too_large_or_for_nobody_is_said_to_be() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let (port, name) = (gate.port, tab.name().to_string());
        let too_large = beside(move || {
            let mut stream = begin(port, &name, FLOODER, BODY_MAX + 1, BODY_MAX + 1);
            let mut said = vec![0; 12];
            stream.read_exact(&mut said).unwrap();
            String::from_utf8(said).unwrap()
        });
        assert_eq!(too_large.await, "HTTP/1.1 413");
        let away = Identity::from_seed([9; 32], ZONE).unwrap().server_name().to_string();
        let nobody = "somebody.tabs.example.org".to_owned();
        for (host, status) in [(away, 502), (nobody, 404)] {
            let said = beside(move || answers(port, &many(300, VERSION, &host, FLOODER))).await;
            assert_eq!(statuses(&said), BTreeMap::from([(status, 300)]));
        }
        all_go_on(&gate, &tab, &other).await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_asks_without_end_is_told_when_to_ask_again() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let port = gate.port;
        let said = beside(move || answers(port, &many(20_000, VERSION, "nobody.example", FLOODER))).await;
        let counts = statuses(&said);
        assert!(counts[&404] >= 4_000 && counts[&429] > 1_000, "{counts:?}");
        let (_, refused) = said.split_once("HTTP/1.1 429").unwrap();
        let (refused, _) = refused.split_once("HTTP/1.1 ").unwrap();
        let (head, body) = refused.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("retry-after: 1"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
        assert!(body["retry_after_ms"].as_u64().is_some_and(|wait_ms| wait_ms < 1_000), "{body}");
        all_go_on(&gate, &tab, &other).await;
    };
    LocalSet::new().run_until(test).await;
}

/// Asks the gateway for what it carries nowhere.
async fn nothing(tab: &Tab) -> (u16, Value) {
    let request = http::Request::get("/nothing").header("authorization", "Bearer x").body(Bytes::new()).unwrap();
    tab.send(ServerName::parse("example.org").unwrap(), request).await.unwrap()
}

#[tokio::test]
async fn a_tab_that_asks_the_web_without_end_is_held_back_and_no_other() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let mut counts = BTreeMap::<u16, usize>::new();
        for _ in 0..50 {
            for (status, body) in join_all((0..100).map(|_| nothing(&tab))).await {
                assert_eq!(status == 429, body["errcode"] == "M_LIMIT_EXCEEDED");
                *counts.entry(status).or_default() += 1;
            }
        }
        assert!(counts[&404] >= 1_000 && counts.get(&429).is_some_and(|refused| *refused > 500), "{counts:?}");
        assert_eq!(nothing(&other).await.0, 404);
        all_go_on(&gate, &other, &tab).await;
    };
    LocalSet::new().run_until(test).await;
}
