//! TCP connections to peers and relays, whose names the system resolves. Nothing listens here: peers come through relays.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use libp2p_tcp::tokio::TcpStream;

/// Dials `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>`.
pub struct TcpDialer;

/// What an address names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    At(SocketAddr),
    Named { name: String, port: u16, family: Family },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

impl Target {
    /// `None` for anything but one host and one TCP port, and maybe who is expected there.
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let (host, Protocol::Tcp(port)) = (parts.next()?, parts.next()?) else { return None };
        if !matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None)) {
            return None;
        }
        let named = |name: &str, family| Some(Self::Named { name: name.to_owned(), port, family });
        match host {
            Protocol::Ip4(ip) => Some(Self::At((IpAddr::V4(ip), port).into())),
            Protocol::Ip6(ip) => Some(Self::At((IpAddr::V6(ip), port).into())),
            Protocol::Dns(name) => named(&name, Family::Any),
            Protocol::Dns4(name) => named(&name, Family::V4),
            Protocol::Dns6(name) => named(&name, Family::V6),
            _ => None,
        }
    }

    async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::At(address) => Ok(vec![address]),
            Self::Named { name, port, family } => {
                let mut found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), port)).await?.collect();
                found.retain(|address| match family {
                    Family::Any => true,
                    Family::V4 => address.is_ipv4(),
                    Family::V6 => address.is_ipv6(),
                });
                if found.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} has no such address")));
                }
                Ok(found)
            }
        }
    }
}

impl Transport for TcpDialer {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = futures::future::Pending<io::Result<TcpStream>>;
    type Dial = BoxFuture<'static, io::Result<TcpStream>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(target) = Target::of(&address) else { return Err(TransportError::MultiaddrNotSupported(address)) };
        let dialing = async move {
            let addresses = target.resolve().await?;
            let stream = tokio::net::TcpStream::connect(&addresses[..]).await?;
            // Requests are small and somebody waits for each.
            stream.set_nodelay(true)?;
            Ok(TcpStream(stream))
        };
        Ok(dialing.boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_and_one_port_are_dialed_and_nothing_else() {
        let target = |text: &str| Target::of(&text.parse().unwrap());
        let named = |name: &str, family| Some(Target::Named { name: name.to_owned(), port: 80, family });
        assert_eq!(target("/ip4/192.0.2.7/tcp/80"), Some(Target::At("192.0.2.7:80".parse().unwrap())));
        assert_eq!(target("/ip6/::1/tcp/80"), Some(Target::At("[::1]:80".parse().unwrap())));
        assert_eq!(target("/dns/a.example/tcp/80"), named("a.example", Family::Any));
        assert_eq!(target("/dns4/a.example/tcp/80"), named("a.example", Family::V4));
        let peer = libp2p::PeerId::random();
        assert_eq!(target(&format!("/dns6/a.example/tcp/80/p2p/{peer}")), named("a.example", Family::V6));
        for other in ["/ip4/192.0.2.7/udp/80", "/ip4/192.0.2.7", "/ip4/192.0.2.7/tcp/80/ws", "/tcp/80", "/memory/1"] {
            assert_eq!(target(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn names_are_resolved_by_the_system() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = DialOpts { role: libp2p::core::Endpoint::Dialer, port_use: Default::default() };
        let address = format!("/dns4/localhost/tcp/{port}").parse().unwrap();
        let (dialed, accepted) = futures::join!(TcpDialer.dial(address, options).unwrap(), listener.accept());
        assert_eq!(dialed.unwrap().0.local_addr().unwrap(), accepted.unwrap().1);
    }
}
