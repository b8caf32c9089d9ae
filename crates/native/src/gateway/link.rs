//! Between the relay, whose swarm has the connections of tabs, and the gateway, which runs on a thread of its own.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::channel::oneshot;
use libp2p::{PeerId, swarm::ConnectionId};
use tokio::sync::mpsc;
use warren::p2p::streams::{self, HttpStream, Incoming, OpenError, Spoken};

/// Streams asked for and not yet looked at by the relay, and the other way round. More wait, or are dropped.
const WAITING_MAX: usize = 256;

type Answer = oneshot::Sender<Result<HttpStream, OpenError>>;

/// The gateway wants a stream to a tab. Dropped unanswered if the tab is not connected.
pub struct Open {
    peer: PeerId,
    answer: Answer,
}

/// A tab opened a stream to the gateway.
pub struct Accepted {
    pub peer: PeerId,
    pub stream: HttpStream,
}

/// The relay's end. A relay that starts again takes it up where the one before left it.
#[derive(Clone)]
pub struct RelayEnd {
    opens: Arc<Mutex<mpsc::Receiver<Open>>>,
    accepted: mpsc::Sender<Accepted>,
}

/// The gateway's end.
pub struct GatewayEnd {
    pub opens: Opens,
    pub accepted: mpsc::Receiver<Accepted>,
}

/// Asks for streams to tabs.
#[derive(Clone)]
pub struct Opens(mpsc::Sender<Open>);

pub fn pair() -> (RelayEnd, GatewayEnd) {
    let (open, opens) = mpsc::channel(WAITING_MAX);
    let (accept, accepted) = mpsc::channel(WAITING_MAX);
    (RelayEnd { opens: Arc::new(Mutex::new(opens)), accepted: accept }, GatewayEnd { opens: Opens(open), accepted })
}

impl Opens {
    /// A fresh stream to `peer`; `None` if it is not connected, or does not know gateways.
    pub async fn open(&self, peer: PeerId) -> Option<HttpStream> {
        let (answer, opened) = oneshot::channel();
        self.0.send(Open { peer, answer }).await.ok()?;
        match opened.await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no stream to a tab");
                None
            }
            Err(_) => None,
        }
    }
}

impl RelayEnd {
    /// What the gateway asks for next.
    pub async fn next(&self) -> Open {
        let next = futures::future::poll_fn(|context| {
            self.opens.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(context)
        });
        match next.await {
            Some(open) => open,
            // The gateway has ended, and the program with it, soon.
            None => futures::future::pending().await,
        }
    }

    /// A tab opened a stream; dropped, and so reset, where the gateway has too many to look at.
    pub fn accept(&self, Incoming { peer, stream, .. }: Incoming) {
        if self.accepted.try_send(Accepted { peer, stream }).is_err() {
            tracing::debug!(%peer, "the gateway is busy");
        }
    }
}

/// The connections that streams can be opened on.
#[derive(Default)]
pub struct Connected(HashMap<PeerId, Vec<ConnectionId>>);

impl Connected {
    pub fn made(&mut self, peer: PeerId, connection: ConnectionId) {
        self.0.entry(peer).or_default().push(connection);
    }

    pub fn ended(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(connections) = self.0.get_mut(&peer) {
            connections.retain(|other| *other != connection);
            if connections.is_empty() {
                self.0.remove(&peer);
            }
        }
    }

    /// Opens a stream on the newest connection: a page that was reloaded has left the older ones behind.
    pub fn open(&self, Open { peer, answer }: Open, streams: &mut streams::Behaviour) {
        if let Some(newest) = self.0.get(&peer).and_then(|connections| connections.last()) {
            streams.open(peer, *newest, Spoken::Gateway, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_counts_and_nothing_is_kept_of_who_left() {
        let (peer, first, second) = (PeerId::random(), ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        let mut connected = Connected::default();
        connected.made(peer, first);
        connected.made(peer, second);
        assert_eq!(connected.0[&peer].last(), Some(&second));
        connected.ended(peer, second);
        assert_eq!(connected.0[&peer].last(), Some(&first));
        connected.ended(peer, first);
        connected.ended(peer, first);
        assert!(connected.0.is_empty());
    }

    #[tokio::test]
    async fn who_is_not_connected_gets_no_stream() {
        let (relay, gateway) = pair();
        let peer = PeerId::random();
        let asking = tokio::spawn(async move { gateway.opens.open(peer).await.is_none() });
        let open = relay.next().await;
        Connected::default().open(open, &mut streams::Behaviour::new([Spoken::Gateway]));
        assert!(asking.await.unwrap());
    }
}
