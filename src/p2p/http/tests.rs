//! Both halves against each other and against peers that misbehave, in virtual time.
use std::rc::Rc;

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::join};
use http::StatusCode;
use proptest::prelude::*;

use super::{
    pipe::{Pipe, pipe},
    server::{BODY_MS, HEAD_MS, IDLE_MS, STALL_MS},
    *,
};
use crate::{p2p::virtual_time::VirtualTime, ports::Clock};

const PIPE_BYTES: usize = 64 * 1024;
const LIMITS: ExchangeLimits = ExchangeLimits { stall_ms: 5_000, total_ms: 30_000, answer_body_bytes: 64 * 1024 };

/// Answers with the request: its target in a header, its body as the body.
fn echo() -> Handler {
    Rc::new(|request| {
        let answer = http::Response::builder()
            .header("x-target", format!("{} {}", request.method(), request.uri()))
            .header("connection", "keep-alive")
            .body(request.into_body());
        async { answer.unwrap() }.boxed_local()
    })
}

fn request(method: &str, target: &str, body: &[u8]) -> http::Request<Bytes> {
    let builder = http::Request::builder().method(method).uri(target).header("host", "k51.alt");
    builder.body(Bytes::copy_from_slice(body)).unwrap()
}

fn budget() -> Budget {
    Budget::new(2 * MAX_REQUEST_BODY_BYTES)
}

/// What a peer that sends `bytes` and then waits reads until the stream ends, how serving ended, and how long it took.
fn raw_exchange(bytes: &[u8]) -> (String, Ended, u64) {
    raw_exchange_with(bytes, budget())
}

fn raw_exchange_with(bytes: &[u8], budget: Budget) -> (String, Ended, u64) {
    let time = VirtualTime::new();
    let clock = time.clone();
    let (mut near, far) = pipe(16 * 1024 * 1024);
    let bytes = bytes.to_vec();
    time.run(async move {
        let peer = async {
            near.write_all(&bytes).await.unwrap();
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let (answer, ended) = join(peer, serve(far, echo(), async || (), clock.clone(), budget)).await;
        (answer, ended, clock.now_ms())
    })
}

fn assert_refused(bytes: &[u8], status: u16) {
    let (answer, ended, _) = raw_exchange(bytes);
    assert_eq!(ended, Ended::Refused(StatusCode::from_u16(status).unwrap()), "{}", String::from_utf8_lossy(bytes));
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains(r#"{"errcode":"M_"#), "{answer}");
}

#[test]
fn a_kept_stream_carries_one_exchange_after_another() {
    let time = VirtualTime::new();
    let clock = time.clone();
    time.run(async move {
        // Smaller than the bodies, so that both halves wait for each other to read.
        let (near, far) = pipe(1000);
        let client = async {
            let mut client = ClientStream::new(near).await.unwrap();
            for (method, target, length) in
                [("GET", "/a?b=%20c", 0), ("PUT", "/_matrix/federation/v1/send/1", 50_000), ("POST", "/x?", 1)]
            {
                let body = vec![b'z'; length];
                let answer = client.exchange(request(method, target, &body), LIMITS, &*clock).await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.headers()["x-target"], format!("{method} {target}"));
                assert_eq!(answer.body(), &body);
            }
            drop(client);
        };
        let ((), ended) = join(client, serve(far, echo(), async || (), clock.clone(), budget())).await;
        assert_eq!(ended, Ended::Closed);
    });
}

#[test]
fn a_stream_whose_peer_did_not_read_on_is_not_used_again() {
    let time = VirtualTime::new();
    let clock = time.clone();
    time.run(async move {
        let (near, far) = pipe(1000);
        let client = async {
            let mut client = ClientStream::new(near).await.unwrap();
            assert_eq!(client.exchange(request("GET", "/", b""), LIMITS, &*clock).await.unwrap().status(), 200);
            assert!(!client.is_closed());
            let body = vec![b'z'; MAX_REQUEST_BODY_BYTES + 1];
            let refused = client.exchange(request("PUT", "/", &body), LIMITS, &*clock).await.unwrap();
            assert_eq!(refused.status(), 413);
            assert!(client.is_closed(), "the rest of the body is on its way for ever");
        };
        join(client, serve(far, echo(), async || (), clock.clone(), budget())).await;
    });
}

#[test]
fn requests_in_every_legal_form_are_answered() {
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
                   4;ext=1\r\nwiki\r\n5\r\npedia\r\n0\r\nTrailer: x\r\n\r\n";
    // Pipelined, after stray empty lines, with an absolute target, and a HEAD whose body must not be sent.
    let all = format!(
        "\r\n\r\n{chunked}GET http://elsewhere/p?q HTTP/1.1\r\nHost: a\r\n\r\n\
         HEAD /h HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nxx\
         PUT /e HTTP/1.1\nhost: a\nexpect: 100-continue\ncontent-length: 3\nconnection: foo, Close\n\nend"
    );
    let (answer, ended, _) = raw_exchange(all.as_bytes());
    assert_eq!(ended, Ended::Closed);
    let parts: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(parts.len(), 5, "{answer}");
    assert!(parts[0].contains("x-target: POST /c\r\n") && parts[0].ends_with("content-length: 9\r\n\r\nwikipedia"));
    assert!(parts[1].contains("x-target: GET /p?q\r\n") && parts[1].ends_with("\r\n\r\n"));
    assert!(parts[2].contains("x-target: HEAD /h\r\n") && parts[2].ends_with("content-length: 2\r\n\r\n"));
    assert_eq!(parts[3], "100 Continue\r\n\r\n");
    assert!(parts[4].contains("x-target: PUT /e\r\n") && parts[4].ends_with("connection: close\r\n\r\nend"));
    assert!(!parts[0].contains("keep-alive"), "the handler does not decide about the stream");

    let (answer, ended, _) = raw_exchange(b"GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(ended, Ended::Closed);
    assert!(answer.contains("x-target: GET /old"));
}

#[test]
fn malformed_requests_are_refused() {
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "nonsense\n\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ] {
        assert_refused(bad.as_bytes(), 400);
    }
    assert_refused(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501);
}

#[test]
fn oversized_requests_are_refused_before_they_are_held() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
    assert_refused(head.as_bytes(), 431);
    assert_refused("y".repeat(2 * MAX_HEAD_BYTES).as_bytes(), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    assert_refused(many.as_bytes(), 431);
    let length = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", MAX_REQUEST_BODY_BYTES + 1);
    assert_refused(length.as_bytes(), 413);
    let start = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n", MAX_REQUEST_BODY_BYTES + 1);
    assert_refused(format!("{start}{chunk}").as_bytes(), 413);
    let creeping = format!("{start}100000\r\n{}\r\n", "c".repeat(0x10_0000)).replacen(start, "", 1).repeat(9);
    assert_refused(format!("{start}{creeping}").as_bytes(), 413);
    assert_refused(format!("{start}{}", "1".repeat(300)).as_bytes(), 400);
    assert_refused(format!("{start}0\r\n{}", "t: u\r\n".repeat(MAX_HEAD_BYTES)).as_bytes(), 400);
}

#[test]
fn bodies_of_many_streams_share_a_budget() {
    let budget = Budget::new(10);
    let fits = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(raw_exchange_with(fits, budget.clone()).1, Ended::Closed);
    let too_much = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a";
    let (answer, ended, _) = raw_exchange_with(too_much, budget.clone());
    assert_eq!(ended, Ended::Refused(StatusCode::SERVICE_UNAVAILABLE));
    assert!(answer.contains("M_LIMIT_EXCEEDED"));
    assert_eq!(budget.used(), 0, "all is given back");
}

#[test]
fn peers_that_stall_are_let_go() {
    let (_, ended, took) = raw_exchange(b"");
    assert_eq!((ended, took), (Ended::Idle, IDLE_MS));

    let (answer, ended, took) = raw_exchange(b"GET / HTT");
    assert_eq!(ended, Ended::Refused(StatusCode::REQUEST_TIMEOUT));
    assert!(answer.starts_with("HTTP/1.1 408 ") && took < HEAD_MS + STALL_MS, "{took} ms");

    let (answer, ended, took) = raw_exchange(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!(ended, Ended::Refused(StatusCode::REQUEST_TIMEOUT));
    assert!(answer.contains("stalled") && took < STALL_MS + HEAD_MS, "{took} ms");
}

/// Writes `bytes` one at a time, each `pause_ms` after the one before, until nobody reads any more.
async fn drip(near: &mut Pipe, clock: &dyn Clock, bytes: impl Iterator<Item = u8>, pause_ms: u64) {
    for byte in bytes {
        if near.write_all(&[byte]).await.is_err() {
            return;
        }
        clock.sleep_ms(pause_ms).await;
    }
}

#[test]
fn peers_that_drip_bytes_or_never_stop_are_let_go() {
    for (start, pause_ms, limit_ms) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", 500, HEAD_MS),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", STALL_MS / 2, BODY_MS),
    ] {
        let time = VirtualTime::new();
        let clock = time.clone();
        time.run(async move {
            let (mut near, far) = pipe(PIPE_BYTES);
            near.write_all(start.as_bytes()).await.unwrap();
            let dripping = drip(&mut near, &*clock, std::iter::repeat(b'x'), pause_ms);
            let serving = serve(far, echo(), async || (), clock.clone(), budget()).boxed_local();
            let ended = match futures::future::select(serving, dripping.boxed_local()).await {
                futures::future::Either::Left((ended, _)) => ended,
                futures::future::Either::Right(_) => panic!("serving outlived the peer"),
            };
            assert_eq!(ended, Ended::Refused(StatusCode::REQUEST_TIMEOUT));
            assert!((limit_ms..limit_ms + STALL_MS).contains(&clock.now_ms()), "{} ms", clock.now_ms());
        });
    }
}

#[test]
fn a_peer_that_does_not_read_its_answer_is_let_go() {
    let time = VirtualTime::new();
    let clock = time.clone();
    time.run(async move {
        let (mut near, far) = pipe(100);
        let handler: Handler =
            Rc::new(|_| async { http::Response::new(Bytes::from(vec![b'x'; 10_000])) }.boxed_local());
        near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let ended = serve(far, handler, async || (), clock.clone(), budget()).await;
        assert_eq!(ended, Ended::Broken("the peer stopped reading".to_owned()));
        assert_eq!(clock.now_ms(), STALL_MS);
        drop(near);
    });
}

/// One request to a peer that reads nothing and answers `answer`, then closes if so wished.
fn exchange_against(answer: &'static [u8], close: bool) -> (Result<http::Response<Bytes>, ExchangeError>, u64) {
    let time = VirtualTime::new();
    let clock = time.clone();
    time.run(async move {
        let (near, mut far) = pipe(PIPE_BYTES);
        let mut client = ClientStream::new(near).await.unwrap();
        let peer = async {
            let mut request = [0; 1024];
            let _ = far.read(&mut request).await;
            far.write_all(answer).await.unwrap();
            if close { None } else { Some(far) }
        };
        let (_kept, result) = join(peer, client.exchange(request("GET", "/", b""), LIMITS, &*clock)).await;
        (result, clock.now_ms())
    })
}

#[test]
fn the_client_tells_lost_from_late_from_malformed() {
    let lost = |began| move |error: &ExchangeError| matches!(error, ExchangeError::Lost { answer_began, .. } if *answer_began == began);
    let malformed = |error: &ExchangeError| matches!(error, ExchangeError::Malformed(_));
    type Expected = Box<dyn Fn(&ExchangeError) -> bool>;
    let cases: [(&'static [u8], Expected); 8] = [
        (b"", Box::new(lost(false))),
        (b"HTTP/1.1 200 O", Box::new(lost(true))),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", Box::new(lost(true))),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", Box::new(lost(true))),
        (b"220 mail.example.org ESMTP\r\n\r\n", Box::new(malformed)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n", Box::new(malformed)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", Box::new(malformed)),
        (b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", Box::new(malformed)),
    ];
    for (answer, expected) in cases {
        let (result, took) = exchange_against(answer, true);
        let error = result.expect_err("no whole answer");
        assert!(expected(&error), "{}: {error:?}", String::from_utf8_lossy(answer));
        assert_eq!(took, 0);
    }
    let (result, took) = exchange_against(b"", false);
    assert_eq!(result.unwrap_err(), ExchangeError::TimedOut);
    assert!(took <= 2 * LIMITS.stall_ms);
    let (result, took) = exchange_against(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", false);
    assert_eq!(result.unwrap_err(), ExchangeError::TimedOut);
    assert!(took <= 2 * LIMITS.stall_ms);
    let (result, _) = exchange_against(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", true);
    assert_eq!(result.unwrap().body(), "until the end");
}

#[test]
fn an_answer_that_never_ends_is_cut_in_size_and_in_time() {
    for (pause_ms, expected) in [
        (0, ExchangeError::Malformed(format!("the answer exceeds {} bytes", LIMITS.answer_body_bytes))),
        (LIMITS.stall_ms / 2, ExchangeError::TimedOut),
    ] {
        let time = VirtualTime::new();
        let clock = time.clone();
        time.run(async move {
            let (near, mut far) = pipe(PIPE_BYTES);
            let mut client = ClientStream::new(near).await.unwrap();
            let endless = b"1\r\nx\r\n".repeat(LIMITS.answer_body_bytes + 1);
            let peer = async {
                far.read_exact(&mut [0; 10]).await.unwrap();
                far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
                for chunk in endless.chunks(6000) {
                    if far.write_all(chunk).await.is_err() {
                        return;
                    }
                    clock.sleep_ms(pause_ms).await;
                }
            };
            let exchange = async {
                let result = client.exchange(request("GET", "/", b""), LIMITS, &*clock).await;
                drop(client);
                (result.unwrap_err(), clock.now_ms())
            };
            let ((error, took), ()) = join(exchange, peer).await;
            assert_eq!(error, expected);
            assert!(took <= LIMITS.total_ms);
        });
    }
}

#[test]
fn a_stream_the_peer_closed_while_idle_is_lost_before_anything_is_sent() {
    let time = VirtualTime::new();
    let clock = time.clone();
    time.run(async move {
        let (near, far) = pipe(PIPE_BYTES);
        let mut client = ClientStream::new(near).await.unwrap();
        let first = client.exchange(request("GET", "/", b""), LIMITS, &*clock);
        let (first, ended) = join(first, serve(far, echo(), async || (), clock.clone(), budget())).await;
        assert_eq!((first.unwrap().status(), ended), (StatusCode::OK, Ended::Idle));
        let second = client.exchange(request("GET", "/", b""), LIMITS, &*clock).await;
        assert!(matches!(second, Err(ExchangeError::Lost { answer_began: false, .. })), "{second:?}");
    });
}

/// Splits `bytes` at `cuts` (taken modulo what is left) and hands the pieces over one by one.
fn pieces<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(cut % (bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

fn decode(framing: head::Framing, input: &[u8], cuts: &[usize]) -> Result<Option<(Bytes, Vec<u8>)>, StatusCode> {
    let mut decoder = body::Decoder::new(framing, 1000).map_err(|refusal| refusal.status)?;
    let mut buffered = bytes::BytesMut::new();
    let mut whole = false;
    for piece in pieces(input, cuts) {
        buffered.extend_from_slice(piece);
        whole = decoder.decode(&mut buffered).map_err(|refusal| refusal.status)?;
    }
    Ok(whole.then(|| (decoder.into_body(), buffered.to_vec())))
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = head::parse(&noise);
        let likely: Vec<u8> = [b"PUT /x HTTP/1.1\r\nhost: a\r\n", &noise[..], b"\r\n\r\n"].concat();
        if let Ok(parsed) = head::parse(&likely) {
            prop_assert!(parsed.request.uri().path().starts_with('/'));
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_reads_stop(
        text in "[a\r\n]{0,30}",
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let bytes = text.as_bytes();
        let at_once = head::end_of_head(bytes, 0);
        let (mut seen, mut found) = (0, None);
        for piece in pieces(bytes, &cuts) {
            let scanned = seen;
            seen += piece.len();
            found = found.or(head::end_of_head(&bytes[..seen], scanned));
        }
        prop_assert_eq!(found, at_once);
        if let Some(end) = found {
            prop_assert!(bytes[..end].ends_with(b"\n\n") || bytes[..end].ends_with(b"\n\r\n"));
        }
    }

    #[test]
    fn a_chunked_body_is_the_same_wherever_reads_stop(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..6),
        trailer in "([a-z]{1,9}: [a-z]{0,9}\r\n){0,2}",
        after in proptest::collection::vec(any::<u8>(), 0..20),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:X};e\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        let missing_last = decode(head::Framing::Chunked, &wire[..wire.len() - 1], &cuts);
        prop_assert_eq!(missing_last, Ok(None));
        wire.extend_from_slice(&after);
        let expected = (Bytes::from(chunks.concat()), after);
        prop_assert_eq!(decode(head::Framing::Chunked, &wire, &cuts), Ok(Some(expected)));
    }

    #[test]
    fn a_chunked_body_of_any_bytes_keeps_its_bound(noise in "[0-9a-f\r\n;x]{0,400}", cuts in proptest::collection::vec(any::<usize>(), 0..4)) {
        if let Ok(Some((body, _))) = decode(head::Framing::Chunked, noise.as_bytes(), &cuts) {
            prop_assert!(body.len() <= 1000);
        }
    }
}
