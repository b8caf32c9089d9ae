//! The order of introductions, with a handler that asks for as many as it is told. That libp2p's own tells of their ends by the
//! names it is listened to for, `relay::many_who_want_the_same_peer_are_all_introduced` shows.
use futures::task::noop_waker;
use libp2p::{StreamProtocol, core::upgrade::ReadyUpgrade};

use super::*;

/// Asks for introductions, and tells what it told at their ends.
#[derive(Default)]
struct Asks {
    asked: VecDeque<u32>,
    told: VecDeque<Told>,
    refused: usize,
}

/// An event of this name, as libp2p writes them.
struct Told(&'static str);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Left(Event::{} {{ circuit_id: 0 }})", self.0)
    }
}

const MET: &str = "OutboundConnectNegotiated";
const NOT_MET: &str = "OutboundConnectNegotiationFailed";

impl ConnectionHandler for Asks {
    type FromBehaviour = &'static str;
    type ToBehaviour = Told;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = u32;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new("/test")), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, u32, Told>> {
        if let Some(told) = self.told.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
        }
        let Some(number) = self.asked.pop_front() else { return Poll::Pending };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new("/test")), number);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, name: &'static str) {
        self.told.push_back(Told(name));
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), u32>,
    ) {
        assert!(matches!(event, ConnectionEvent::DialUpgradeError(_)));
        self.refused += 1;
        self.on_behaviour_event(NOT_MET);
    }
}

/// Asks for `numbers`; what begins.
fn ask(handler: &mut Handler<Asks>, numbers: std::ops::Range<u32>) -> Vec<u32> {
    handler.inner.asked.extend(numbers);
    begun(handler)
}

/// Tells of an event; what begins.
fn end(handler: &mut Handler<Asks>, name: &'static str) -> Vec<u32> {
    handler.on_behaviour_event(name);
    begun(handler)
}

fn begun(handler: &mut Handler<Asks>) -> Vec<u32> {
    let mut begun = Vec::new();
    let waker = noop_waker();
    while let Poll::Ready(event) = handler.poll(&mut Context::from_waker(&waker)) {
        if let ConnectionHandlerEvent::OutboundSubstreamRequest { protocol } = event {
            begun.push(protocol.into_upgrade().1);
        }
    }
    begun
}

fn handler() -> Handler<Asks> {
    Handler::new(Asks::default())
}

const AT_ONCE: u32 = AT_ONCE_MAX as u32;

#[tokio::test(start_paused = true)]
async fn a_few_begin_and_each_that_ends_lets_the_next_begin() {
    let mut handler = handler();
    assert_eq!(ask(&mut handler, 0..50), (0..AT_ONCE).collect::<Vec<_>>());
    assert!(end(&mut handler, "CircuitReqAccepted").is_empty(), "that is the end of nothing");
    assert_eq!(end(&mut handler, MET), [AT_ONCE]);
    assert_eq!(end(&mut handler, NOT_MET), [AT_ONCE + 1]);
    let rest: Vec<u32> = (0..50).flat_map(|_| end(&mut handler, MET)).collect();
    assert_eq!(rest, (AT_ONCE + 2..50).collect::<Vec<_>>());
    assert_eq!(ask(&mut handler, 50..100).len(), AT_ONCE_MAX, "all places are free again, and no more than there are");
    assert_eq!(handler.inner.refused, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_refused_and_takes_nobodys_place() {
    let mut handler = handler();
    ask(&mut handler, 0..20);
    tokio::time::sleep(WAIT_MAX / 2).await;
    ask(&mut handler, 20..30);
    tokio::time::sleep(WAIT_MAX / 2).await;
    assert!(begun(&mut handler).is_empty(), "nobody has ended");
    assert_eq!(handler.inner.refused, 20 - AT_ONCE_MAX, "those who came first");
    assert_eq!(end(&mut handler, MET), [20]);
    tokio::time::sleep(WAIT_MAX).await;
    assert!(begun(&mut handler).is_empty());
    assert_eq!(handler.inner.refused, 29 - AT_ONCE_MAX);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let mut handler = handler();
    let many = AT_ONCE + WAITING_MAX as u32 + 5;
    ask(&mut handler, 0..many);
    assert_eq!((handler.waiting.len(), handler.inner.refused), (WAITING_MAX, 5));
    assert_eq!(end(&mut handler, MET), [AT_ONCE + 5], "of those who are left the first");
}
