//! Profiles of one browser: they find each other, and bytes arrive whole and bounded.
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncReadExt, AsyncWrite, AsyncWriteExt, future::join};
use libp2p::{
    PeerId, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse, TransportEvent},
    },
};
use warren::ports::Clock;
use warren_browser::{
    clock::BrowserClock,
    neighbours::{Connection, NeighbourTransport, Neighbours, address},
};
use wasm_bindgen::prelude::*;
use web_sys::BroadcastChannel;

struct Profile {
    peer: PeerId,
    neighbours: Neighbours,
    transport: NeighbourTransport,
    found: Rc<RefCell<Vec<PeerId>>>,
}

impl Profile {
    fn new() -> Self {
        Self::of(PeerId::random())
    }

    fn of(peer: PeerId) -> Self {
        let neighbours = Neighbours::new(peer).expect("this browser has BroadcastChannel");
        let found = Rc::<RefCell<Vec<PeerId>>>::default();
        let finding = found.clone();
        neighbours.greet(Box::new(move |peer| finding.borrow_mut().push(peer)));
        let transport = neighbours.transport();
        Self { peer, neighbours, transport, found }
    }

    async fn until_found(&self, peer: PeerId, times: usize) {
        while self.found.borrow().iter().filter(|found| **found == peer).count() < times {
            BrowserClock.sleep_ms(1).await;
        }
    }

    fn dial(&mut self, peer: PeerId) -> Option<impl Future<Output = io::Result<Connection>> + use<>> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        self.transport.dial(address(peer), options).ok()
    }

    async fn accept(&mut self) -> Connection {
        let event = poll_fn(|context| Pin::new(&mut self.transport).poll(context)).await;
        let TransportEvent::Incoming { upgrade, .. } = event else { panic!("{event:?}") };
        upgrade.await.unwrap()
    }
}

/// Two profiles and a connection from the first to the second.
async fn connected() -> (Profile, Profile, Connection, Connection) {
    let (mut one, mut other) = (Profile::new(), Profile::new());
    one.until_found(other.peer, 1).await;
    other.until_found(one.peer, 1).await;
    let dialing = one.dial(other.peer).expect("a neighbour can be dialed");
    let (dialed, accepted) = join(dialing, other.accept()).await;
    (one, other, dialed.unwrap(), accepted)
}

pub async fn profiles_find_each_other_and_talk() {
    let (_one, _other, mut here, mut there) = connected().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let writing = async {
        here.write_all(&sent).await.unwrap();
        here.close().await.unwrap();
    };
    let reading = async {
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = join(writing, reading).await;
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert!(there.write_all(b"late").await.is_err(), "it is closed for both");
}

pub async fn a_reader_that_pauses_holds_no_more_than_a_window() {
    let (_one, _other, mut here, mut there) = connected().await;
    let mut context = Context::from_waker(Waker::noop());
    let part = [7; 100_000];
    let mut posted = 0;
    while let Poll::Ready(written) = Pin::new(&mut here).poll_write(&mut context, &part) {
        posted += written.unwrap();
    }
    assert_eq!(posted, 1024 * 1024);
    BrowserClock.sleep_ms(20).await;
    assert!(Pin::new(&mut here).poll_write(&mut context, &part).is_pending(), "nothing was read yet");
    there.read_exact(&mut vec![0; posted / 2]).await.unwrap();
    here.write_all(&part).await.unwrap();
}

pub async fn only_profiles_of_this_browser_are_dialed() {
    let mut profile = Profile::new();
    assert!(profile.dial(PeerId::random()).is_none());
}

pub async fn a_profile_that_starts_anew_is_found_anew_and_its_old_connections_end() {
    let (mut one, other, mut here, _there) = connected().await;
    // As if its tab had crashed: no word of goodbye.
    std::mem::forget(other.neighbours.clone());
    let mut again = Profile::of(other.peer);
    one.until_found(other.peer, 2).await;
    let error = here.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let dialing = one.dial(other.peer).unwrap();
    // The crashed one hears of it, too; whoever answers first is not who counts in this test.
    drop(other);
    let (dialed, _accepted) = join(dialing, again.accept()).await;
    dialed.unwrap();
}

pub async fn what_other_scripts_say_disturbs_nobody() {
    let stranger = BroadcastChannel::new("warren/neighbours/1").unwrap();
    let (one, other, mut here, mut there) = connected().await;
    let long = "x".repeat(100_000);
    let link = format!("link {} {} 1", one.peer, one.peer);
    for said in ["", "hello", "here a b", "link a b c", &link, &long, "hello x 1 2", "here 12D3Koo zz"] {
        stranger.post_message(&JsValue::from_str(said)).unwrap();
    }
    for said in [JsValue::NULL, JsValue::from_f64(1.0), js_sys::Object::new().into()] {
        stranger.post_message(&said).unwrap();
    }
    // Claimed starts of strangers are forgotten beyond a number, and those of friends are not.
    for _ in 0..100 {
        stranger.post_message(&JsValue::from_str(&format!("here {} 1", PeerId::random()))).unwrap();
    }
    here.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    there.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert!(one.found.borrow().len() <= 32 && other.found.borrow().len() <= 32);
}

pub async fn a_stopped_profile_is_gone_for_the_others() {
    let (mut one, other, mut here, _there) = connected().await;
    other.neighbours.stop();
    assert_eq!(here.read(&mut [0]).await.unwrap(), 0, "closed in order");
    assert!(one.dial(other.peer).is_none());
}
