//! libp2p between the profiles of one browser: they find each other and exchange bytes over BroadcastChannel, without a
//! relay, a network or ICE.
//!
//! One channel of the origin carries introductions; each connection has a channel of its own. Noise above it says who
//! the other side is, so nothing here needs to be believed.
mod introduction;
mod link;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::{BoxFuture, Either, Ready, ready, select};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use web_sys::{BroadcastChannel, MessageEvent};

use self::{introduction::Introduction, link::Link};
use crate::connection::{self, Carrier};

const CHANNEL: &str = "warren/neighbours/1";

/// Profiles of this browser remembered; further ones are not found.
const NEIGHBOURS_MAX: usize = 32;

/// Connections that came in and that the swarm has not taken yet.
const ARRIVALS_MAX: usize = 16;

/// The other profile is in the same machine, but may be busy starting.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// The address of every neighbour; the peer id behind it says which. Nobody outside this browser can use it.
pub fn address(peer: PeerId) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Memory(0)).with(Protocol::P2p(peer))
}

/// The peer behind an address of a neighbour.
fn neighbour_of(address: &Multiaddr) -> Option<PeerId> {
    let mut parts = address.iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Protocol::Memory(0)), Some(Protocol::P2p(peer)), None) => Some(peer),
        _ => None,
    }
}

/// Told of each neighbour that appears, and again when it has started anew.
pub type OnFound = Box<dyn Fn(PeerId)>;

/// Bytes to and from another profile.
pub type Connection = connection::Connection<Link>;

type OnMessage = Closure<dyn FnMut(MessageEvent)>;

/// This profile among those of its browser. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Neighbours(Rc<Inner>);

struct Inner {
    local: PeerId,
    /// Another start of the same profile has another.
    instance: u64,
    channel: BroadcastChannel,
    /// Peers heard of, and which start of theirs that was.
    known: RefCell<BTreeMap<PeerId, u64>>,
    links: RefCell<Vec<(PeerId, Weak<Link>)>>,
    arrivals: RefCell<VecDeque<(PeerId, Rc<Link>)>>,
    arrived: RefCell<Option<Waker>>,
    on_found: RefCell<Option<OnFound>>,
    on_message: RefCell<Option<OnMessage>>,
    stopped: Cell<bool>,
}

impl Neighbours {
    /// Nobody hears of us before `greet`. `None` where the browser has no BroadcastChannel.
    pub fn new(local: PeerId) -> Option<Self> {
        let channel = BroadcastChannel::new(CHANNEL).ok()?;
        let inner = Rc::new(Inner {
            local,
            instance: introduction::random(),
            channel,
            known: RefCell::default(),
            links: RefCell::default(),
            arrivals: RefCell::default(),
            arrived: RefCell::default(),
            on_found: RefCell::default(),
            on_message: RefCell::default(),
            stopped: Cell::default(),
        });
        let listening = Rc::downgrade(&inner);
        let on_message = Closure::new(move |event: MessageEvent| {
            if let (Some(inner), Some(text)) = (listening.upgrade(), event.data().as_string()) {
                inner.heard(&text);
            }
        });
        inner.channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        inner.on_message.replace(Some(on_message));
        Some(Self(inner))
    }

    /// Says to the other profiles that we are here, and tells `on_found` of them.
    pub fn greet(&self, on_found: OnFound) {
        self.0.on_found.replace(Some(on_found));
        self.0.say_here(true);
    }

    /// Ends every connection and is not found any more.
    pub fn stop(&self) {
        if self.0.stopped.replace(true) {
            return;
        }
        self.0.on_found.take();
        self.0.say(&Introduction::Gone { peer: self.0.local, instance: self.0.instance });
        self.0.channel.set_onmessage(None);
        self.0.channel.close();
        for (_, link) in self.0.links.take() {
            link.upgrade().inspect(|link| link.close());
        }
    }

    pub fn transport(&self) -> NeighbourTransport {
        NeighbourTransport(SendWrapper::new(self.0.clone()))
    }
}

impl Inner {
    fn heard(self: &Rc<Self>, text: &str) {
        match Introduction::parse(text) {
            Some(Introduction::Here { peer, instance, answer }) if peer != self.local => {
                self.found(peer, instance);
                if answer {
                    self.say_here(false);
                }
            }
            Some(Introduction::Gone { peer, instance }) => {
                let mut known = self.known.borrow_mut();
                if known.get(&peer) == Some(&instance) {
                    known.remove(&peer);
                }
            }
            Some(Introduction::Link { from, to, link }) if to == self.local && from != self.local => {
                self.arrived(from, link);
            }
            // Of somebody else, to somebody else, or from a script that is not ours.
            _ => {}
        }
    }

    fn found(&self, peer: PeerId, instance: u64) {
        let before = {
            let mut known = self.known.borrow_mut();
            if !known.contains_key(&peer) && known.len() == NEIGHBOURS_MAX {
                return;
            }
            known.insert(peer, instance)
        };
        if before == Some(instance) {
            return;
        }
        // The start before that one is over, and so is what was connected to it.
        for (_, link) in self.links.borrow().iter().filter(|(other, _)| *other == peer) {
            link.upgrade().inspect(|link| link.lost());
        }
        if let Some(on_found) = &*self.on_found.borrow() {
            on_found(peer);
        }
    }

    fn arrived(&self, from: PeerId, link: u64) {
        if self.arrivals.borrow().len() == ARRIVALS_MAX {
            tracing::debug!(%from, "too many connections of neighbours at once");
            return;
        }
        match Link::answer(link) {
            Ok(link) => {
                self.remember(from, &link);
                self.arrivals.borrow_mut().push_back((from, link));
                self.arrived.take().into_iter().for_each(Waker::wake);
            }
            Err(error) => tracing::debug!(%from, %error, "no connection of a neighbour"),
        }
    }

    fn remember(&self, peer: PeerId, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        links.retain(|(_, link)| link.strong_count() > 0);
        links.push((peer, Rc::downgrade(link)));
    }

    fn say_here(&self, answer: bool) {
        self.say(&Introduction::Here { peer: self.local, instance: self.instance, answer });
    }

    fn say(&self, introduction: &Introduction) {
        if let Err(exception) = self.channel.post_message(&introduction.to_string().into()) {
            tracing::debug!(?exception, "the other profiles of this browser do not hear us");
        }
    }

    fn dial(self: &Rc<Self>, peer: PeerId) -> io::Result<BoxFuture<'static, io::Result<Connection>>> {
        if self.stopped.get() || !self.known.borrow().contains_key(&peer) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no profile of this browser"));
        }
        let id = introduction::random();
        let link = Link::ask(id)?;
        self.remember(peer, &link);
        self.say(&Introduction::Link { from: self.local, to: peer, link: id });
        Ok(Box::pin(SendWrapper::new(async move {
            match select(Box::pin(link.opened()), Delay::new(DIAL_MAX)).await {
                Either::Left((opened, _)) => opened?,
                Either::Right(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
            Ok(Connection::new(link))
        })))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

/// Dials neighbours and takes their connections. It listens always and on no address, because none may be announced.
pub struct NeighbourTransport(SendWrapper<Rc<Inner>>);

impl Transport for NeighbourTransport {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Connection>>;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        match neighbour_of(&address) {
            Some(peer) if !options.role.is_listener() => self.0.dial(peer).map_err(TransportError::Other),
            _ => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let Some((from, link)) = self.0.arrivals.borrow_mut().pop_front() else {
            self.0.arrived.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        Poll::Ready(TransportEvent::Incoming {
            listener_id: ListenerId::next(),
            upgrade: ready(Ok(Connection::new(link))),
            local_addr: address(self.0.local),
            send_back_addr: address(from),
        })
    }
}
