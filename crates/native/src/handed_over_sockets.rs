//! A libp2p transport that opens no port: its connections are the sockets the HTTP listener accepted and handed over.
use std::{
    future::{Pending, Ready, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use tokio::sync::mpsc;

/// How many accepted sockets may wait for the swarm to take them.
const ARRIVALS_WAITING_MAX: usize = 64;

/// A socket whose WebSocket handshake is done, and where it came from.
pub struct Arrival<S> {
    pub bytes: S,
    pub remote: SocketAddr,
}

/// Accepts what is sent to its queue, on the one address it is told to listen on; cannot dial.
pub struct HandedOverSockets<S> {
    arrivals: mpsc::Receiver<Arrival<S>>,
    listener: Option<Listener>,
}

struct Listener {
    id: ListenerId,
    address: Multiaddr,
    announced: bool,
}

impl<S> HandedOverSockets<S> {
    pub fn new() -> (mpsc::Sender<Arrival<S>>, Self) {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_WAITING_MAX);
        (sender, Self { arrivals, listener: None })
    }
}

/// The address of one end of a WebSocket without TLS.
pub fn websocket_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port())).with(Protocol::Ws("/".into()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for HandedOverSockets<S> {
    type Output = S;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<S>>;
    type Dial = Pending<io::Result<S>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        if self.listener.is_some() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.listener = Some(Listener { id, address, announced: false });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listener.take_if(|listener| listener.id == id).is_some()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = &mut *self;
        let Some(listener) = &mut this.listener else { return Poll::Pending };
        if !listener.announced {
            listener.announced = true;
            let (listener_id, listen_addr) = (listener.id, listener.address.clone());
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr });
        }
        match this.arrivals.poll_recv(cx) {
            Poll::Ready(Some(arrival)) => Poll::Ready(TransportEvent::Incoming {
                listener_id: listener.id,
                upgrade: ready(Ok(arrival.bytes)),
                local_addr: listener.address.clone(),
                send_back_addr: websocket_multiaddr(arrival.remote),
            }),
            // The listener is gone: the program stops.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn sockets_arrive_on_the_announced_address_and_nothing_is_dialled() {
        let (sender, mut transport) = HandedOverSockets::<Cursor<Vec<u8>>>::new();
        let local: Multiaddr = "/ip4/127.0.0.1/tcp/8080/ws".parse().unwrap();
        let id = ListenerId::next();
        transport.listen_on(id, local.clone()).unwrap();
        assert!(transport.listen_on(ListenerId::next(), local.clone()).is_err());

        let remote = "192.0.2.7:4711".parse().unwrap();
        sender.send(Arrival { bytes: Cursor::new(vec![1]), remote }).await.ok().unwrap();
        let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
        assert!(matches!(event, TransportEvent::NewAddress { listen_addr, .. } if listen_addr == local));
        let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
        let TransportEvent::Incoming { local_addr, send_back_addr, upgrade, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!(local_addr, local);
        assert_eq!(send_back_addr.to_string(), "/ip4/192.0.2.7/tcp/4711/ws");
        assert_eq!(upgrade.await.unwrap().into_inner(), [1]);

        assert!(transport.remove_listener(id));
        assert!(!transport.remove_listener(id));
    }
}
