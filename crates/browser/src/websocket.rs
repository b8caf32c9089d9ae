//! libp2p over the browser's WebSocket, in a worker or a page.
//!
//! libp2p-websocket-websys waits a tenth of a second for every flush and does not notice when the socket closes.
pub mod address;
mod socket;

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use send_wrapper::SendWrapper;

use self::socket::Socket;
use crate::connection;

/// An open WebSocket as a stream of bytes.
pub type Connection = connection::Connection<Socket>;

pub struct WebSocketTransport;

impl Transport for WebSocketTransport {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = futures::future::Pending<Result<Connection, io::Error>>;
    type Dial = BoxFuture<'static, Result<Connection, io::Error>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let url = match address::url(&address) {
            Some(url) if !options.role.is_listener() => url,
            _ => return Err(TransportError::MultiaddrNotSupported(address)),
        };
        let socket = Socket::connect(&url).map_err(TransportError::Other)?;
        // The worker has one thread; libp2p asks for Send because others have more.
        Ok(Box::pin(SendWrapper::new(async move {
            socket.opened().await?;
            Ok(Connection::new(Rc::new(socket)))
        })))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}
