//! Peers that send garbage, too much, too slowly or nothing: they are dropped, and others notice nothing.
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use crate::warren::{Answer, Warren};

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn websocket(warren: &Warren) -> TcpStream {
    let mut stream = warren.connect();
    stream.write_all(HANDSHAKE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

/// A client frame with the mask zero.
fn frame(opcode: u8, announced_bytes: u64, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0xff][..], &announced_bytes.to_be_bytes(), &[0; 4], payload].concat()
}

fn read_to_the_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A reset ends a connection as well as a close does; a timeout would not.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

fn still_serves(warren: &Warren) {
    assert_eq!(warren.get("/").status, 200);
    assert_eq!(warren.health()["status"], "ok");
}

#[test]
fn garbage_instead_of_http() {
    let warren = Warren::start();
    for garbage in [&[0xff; 4096][..], b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = warren.connect();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        read_to_the_end(stream);
    }
    still_serves(&warren);
}

#[test]
fn oversized_heads_are_refused() {
    let warren = Warren::start();
    let mut stream = warren.connect();
    let _ = write!(stream, "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    read_to_the_end(stream);

    let mut stream = warren.connect();
    write!(stream, "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200)).unwrap();
    assert_eq!(Answer::read(stream).status, 431);
    still_serves(&warren);
}

#[test]
fn bodies_are_not_waited_for() {
    let warren = Warren::start();
    let mut stream = warren.connect();
    write!(stream, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
    assert_eq!(Answer::read(stream).status, 405);
    still_serves(&warren);
}

#[test]
fn slow_heads_hold_nobody_up_and_are_dropped() {
    let warren = Warren::start();
    let slow: Vec<_> = (0..200).map(|_| warren.connect()).collect();
    for mut stream in &slow {
        stream.write_all(b"GET / HTTP/1.1\r\nhost:").unwrap();
    }
    still_serves(&warren);
    for mut stream in slow {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    still_serves(&warren);
}

#[test]
fn garbage_after_the_upgrade_ends_only_that_socket() {
    let warren = Warren::start();
    let quiet = websocket(&warren);
    for garbage in [
        vec![0xff; 100_000],
        frame(2, 5, b"hello"),
        frame(1, 5, b"hello"),
        frame(2, u64::MAX >> 1, b""),
        frame(2, 1024 * 1024, b""),
        frame(2, 64, b"\x13/multistream/1.0.0\n\x07/noise\n garbage instead of a handshake!!"),
        frame(9, 4, b"ping"),
    ] {
        let mut stream = websocket(&warren);
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(Shutdown::Write);
        read_to_the_end(stream);
    }
    still_serves(&warren);
    // One that says nothing at all is given up when the handshake of libp2p takes too long.
    read_to_the_end(quiet);
    assert_eq!(warren.health()["connections"], 0);
}

#[test]
fn handshakes_that_are_none_are_refused() {
    let warren = Warren::start();
    let upgrade = [("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let ask = |method: &str, path: &str, version: &str| {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\n");
        for (name, value) in upgrade.iter().chain([&("sec-websocket-version", version)]) {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = warren.connect();
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        Answer::read(stream)
    };
    assert_eq!(ask("GET", "/", "8").status, 426);
    assert_eq!(ask("POST", "/p2p", "13").status, 400);
    assert_eq!(ask("GET", "/elsewhere", "13").status, 404);
    still_serves(&warren);
}
