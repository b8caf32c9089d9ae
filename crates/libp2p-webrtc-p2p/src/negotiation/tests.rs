//! Two negotiations over a stream in memory, and one against whatever a peer may send.
use std::time::Instant;

use futures::{AsyncReadExt, AsyncWriteExt, executor::block_on, future::join, future::poll_fn, future::select};
use libp2p_core::muxing::StreamMuxerExt;
use libp2p_identity::PeerId;

use super::*;
use crate::{
    backend::{
        RtcBackend,
        memory::{MemoryNetwork, Paths},
    },
    signaling::session::{CANDIDATES_MAX, Failure, MESSAGES_MAX},
    two_ways::{Half, pair},
};

const SOON: Duration = Duration::from_millis(50);

fn negotiation(role: Role, stream: Half, network: &MemoryNetwork) -> Negotiation<Half> {
    Negotiation::new(role, Some(stream), network.clone().connect(&PeerId::random()).unwrap())
}

/// Both sides' connections, and how they came about.
fn connected(network: &MemoryNetwork) -> (Connection, Connection) {
    let (one, two) = pair();
    let (offerer, answerer) = (negotiation(Role::Offerer, one, network), negotiation(Role::Answerer, two, network));
    let (offered, answered) = block_on(join(offerer, answerer));
    assert_eq!(offered.tried.ours, answered.tried.theirs);
    let ((one, farewell), (two, other)) = (offered.result.unwrap(), answered.result.unwrap());
    block_on(join(farewell, other));
    (one, two)
}

/// Drives both connections while `work` is done with them.
fn drive<T>(one: Connection, two: Connection, work: impl Future<Output = T>) -> T {
    let run = |mut connection: Connection| poll_fn(move |context| connection.poll_unpin(context).map(|_| ()));
    block_on(async {
        let both = std::pin::pin!(join(run(one), run(two)));
        match select(std::pin::pin!(work), both).await {
            futures::future::Either::Left((done, _)) => done,
            futures::future::Either::Right(_) => panic!("the connection ended"),
        }
    })
}

async fn open(one: &mut Connection, two: &mut Connection) -> (crate::stream::Stream, crate::stream::Stream) {
    let out = poll_fn(|context| one.poll_outbound_unpin(context)).await.unwrap();
    let into = poll_fn(|context| {
        assert!(two.poll_unpin(context).is_pending());
        two.poll_inbound_unpin(context)
    });
    (out, into.await.unwrap())
}

#[test]
fn an_offer_is_made_before_there_is_a_stream_for_it() {
    let network = MemoryNetwork::default();
    let (one, two) = pair();
    let mut offerer = Negotiation::new(Role::Offerer, None, network.clone().connect(&PeerId::random()).unwrap());
    let made = poll_fn(|context| match offerer.poll_unpin(context) {
        Poll::Pending if offerer.stage() == Stage::AwaitingAnswer => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
        Poll::Ready(_) => panic!("nobody has answered"),
    });
    block_on(made);
    offerer.signal_over(one);
    let (offered, answered) = block_on(join(offerer, negotiation(Role::Answerer, two, &network)));
    assert_eq!(offered.tried.ours, answered.tried.theirs);
    assert!(offered.result.is_ok() && answered.result.is_ok());
}

#[test]
fn a_megabyte_is_echoed_and_each_way_closed_by_itself() {
    let network = MemoryNetwork::default();
    let (mut one, mut two) = connected(&network);
    let (mut asking, mut answering) = block_on(open(&mut one, &mut two));
    let bytes: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
    let echoed = drive(one, two, async {
        let ask = async {
            asking.write_all(&bytes).await.unwrap();
            asking.close().await.unwrap();
            let mut echoed = Vec::new();
            asking.read_to_end(&mut echoed).await.unwrap();
            echoed
        };
        let answer = async {
            let mut heard = Vec::new();
            answering.read_to_end(&mut heard).await.unwrap();
            answering.write_all(&heard).await.unwrap();
            answering.close().await.unwrap();
        };
        join(ask, answer).await.0
    });
    assert!(echoed == bytes);
    assert_eq!(network.open_connections(), 0, "dropped is closed");
}

#[test]
fn a_lost_path_ends_the_connection_and_its_streams() {
    let network = MemoryNetwork::default();
    let (mut one, mut two) = connected(&network);
    let (mut asking, _answering) = block_on(open(&mut one, &mut two));
    network.cut();
    let ended = block_on(poll_fn(|context| one.poll_unpin(context).map(|event| event.map(|_| ()))));
    assert_eq!(ended, Err(crate::ConnectionError::Failed));
    assert!(block_on(asking.read(&mut [0])).is_err());
    assert!(block_on(asking.write_all(&[0])).is_err());
    assert!(block_on(poll_fn(|context| one.poll_outbound_unpin(context))).is_err());
}

#[test]
fn a_peer_that_opens_channels_without_end_gets_a_limited_number() {
    let network = MemoryNetwork::default();
    let (mut one, mut two) = connected(&network);
    let streams: Vec<_> = (0..crate::INBOUND_MAX * 4)
        .map(|_| block_on(poll_fn(|context| one.poll_outbound_unpin(context))).unwrap())
        .collect();
    let mut context = Context::from_waker(futures::task::noop_waker_ref());
    assert!(two.poll_unpin(&mut context).is_pending());
    let mut accepted = Vec::new();
    while let Poll::Ready(stream) = two.poll_inbound_unpin(&mut context) {
        accepted.push(stream.unwrap());
    }
    assert_eq!(accepted.len(), crate::INBOUND_MAX);
    drop(streams);
}

/// What one side makes of these bytes, after which the peer says nothing and keeps the stream open.
fn against(role: Role, bytes: &[u8]) -> Error {
    let network = MemoryNetwork::default();
    let (ours, theirs) = pair();
    theirs.to.lock().unwrap().bytes.extend(bytes);
    let begun = Instant::now();
    let concluded = block_on(negotiation(role, ours, &network).within(SOON));
    assert!(begun.elapsed() < 40 * SOON);
    assert_eq!(network.open_connections(), 0, "nothing is left over");
    drop(theirs);
    concluded.result.map(|_| ()).unwrap_err()
}

const SDP: &str = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=ice-ufrag:9\r\na=fingerprint:9\r\n";

#[test]
fn a_peer_that_breaks_the_protocol_is_told_by_the_reason() {
    use Role::{Answerer, Offerer};
    assert!(matches!(against(Answerer, &[0xff, 0xff, 0x7f]), Error::Length(_)), "2 MiB are announced");
    assert!(matches!(against(Answerer, b"\x05hello"), Error::Message(_)));
    let answer = Message::Answer(SDP.to_owned()).encode();
    assert!(matches!(against(Answerer, &answer), Error::Failed(Failure::UnexpectedAnswer)));
    let offer = Message::Offer(SDP.to_owned()).encode();
    assert!(matches!(against(Offerer, &offer), Error::Failed(Failure::UnexpectedOffer)));
    assert!(matches!(against(Answerer, &offer.repeat(2)), Error::Failed(Failure::UnexpectedOffer)));
    let nonsense = Message::Offer("m=application 9\r\n".to_owned()).encode();
    assert!(matches!(against(Answerer, &nonsense), Error::Rtc(_)));
    let flood = Message::Candidate(String::new()).encode().repeat(MESSAGES_MAX + 1);
    assert!(matches!(against(Answerer, &flood), Error::Failed(Failure::TooManyMessages)));
}

#[test]
fn a_peer_that_never_answers_costs_no_more_than_the_deadline() {
    assert!(matches!(against(Role::Answerer, b""), Error::TimedOut(Stage::AwaitingOffer)));
    assert!(matches!(against(Role::Answerer, b"\x80"), Error::TimedOut(Stage::AwaitingOffer)));
    assert!(matches!(against(Role::Offerer, b""), Error::TimedOut(Stage::AwaitingAnswer)));
    let offer = Message::Offer(SDP.to_owned()).encode();
    assert!(matches!(against(Role::Answerer, &offer), Error::TimedOut(Stage::Connecting)));
    let candidates =
        Message::Candidate(r#"{"candidate":"candidate:1"}"#.to_owned()).encode().repeat(CANDIDATES_MAX * 3 / 2);
    assert!(matches!(against(Role::Offerer, &candidates), Error::TimedOut(Stage::AwaitingAnswer)));
}

#[test]
fn a_fingerprint_that_is_not_the_connections_leads_nowhere() {
    let network = MemoryNetwork::default();
    let (ours, theirs) = pair();
    // The second connection there is: our answerer, under another name for its fingerprint.
    let mut other = network.clone().connect(&PeerId::random()).unwrap();
    let offerer = negotiation(Role::Offerer, ours, &network).within(20 * SOON);
    let concluded = block_on(join(offerer, async {
        let mut unframer = Unframer::new(MESSAGE_MAX_BYTES);
        let mut stream = theirs;
        let mut buffer = [0; 4096];
        let mut offered = false;
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            if length == 0 {
                return;
            }
            unframer.push(&buffer[..length]);
            while let Some(body) = unframer.pop().unwrap() {
                match Message::decode(&body).unwrap() {
                    Message::Offer(offer) => {
                        let answer = other.make_answer(offer).await.unwrap();
                        let fingerprint = answer.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
                        let forged = answer.replace(fingerprint, "a=fingerprint:777");
                        stream.write_all(&Message::Answer(forged).encode()).await.unwrap();
                        let Poll::Ready(RtcEvent::Found(candidate)) = futures::poll!(poll_fn(|c| other.poll_event(c)))
                        else {
                            panic!("one candidate")
                        };
                        stream.write_all(&Message::Candidate(candidate.to_json()).encode()).await.unwrap();
                        offered = true;
                    }
                    Message::Candidate(json) if offered => {
                        let crate::signaling::candidate::Told::Candidate(candidate) =
                            crate::signaling::candidate::Told::parse(&json)
                        else {
                            panic!("a candidate")
                        };
                        other.add_candidate(candidate).await.unwrap();
                    }
                    message => panic!("{message:?}"),
                }
            }
        }
    }))
    .0;
    assert!(matches!(concluded.result, Err(Error::Failed(Failure::NoPath))));
}

#[test]
fn where_no_path_works_both_sides_are_told() {
    let network = MemoryNetwork::default();
    for (paths, late) in [(Paths::Blocked, false), (Paths::Silent, true)] {
        network.set_paths(paths);
        let (one, two) = pair();
        let offerer = negotiation(Role::Offerer, one, &network).within(SOON);
        let answerer = negotiation(Role::Answerer, two, &network).within(SOON);
        let (offered, answered) = block_on(join(offerer, answerer));
        for error in [offered.result.map(|_| ()).unwrap_err(), answered.result.map(|_| ()).unwrap_err()] {
            let named = matches!(error, Error::TimedOut(Stage::Connecting));
            assert!(named == late && (named || matches!(error, Error::Failed(Failure::NoPath))), "{error}");
        }
        assert_eq!(network.open_connections(), 0);
    }
}
