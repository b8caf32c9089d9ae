//! Where we can be dialed: at every relay that has confirmed a reservation, for as long as somebody listens there.
use std::collections::VecDeque;

use futures::channel::mpsc;
use libp2p_core::{Multiaddr, multiaddr::Protocol, transport::ListenerId};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    FromSwarm, ListenOpts, ToSwarm,
    behaviour::{ExternalAddrConfirmed, ExternalAddrExpired, ListenerClosed},
};

use super::Event;
use crate::{
    address::{self, Listening},
    error::Error,
    handler::Open,
    transport::Notice,
};

type Actions = VecDeque<ToSwarm<Event, Open>>;
type Notices = mpsc::UnboundedSender<Notice>;

#[derive(Default)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// The relays that have confirmed a reservation, and our `/webrtc` address at each.
    confirmed: Vec<(PeerId, Multiaddr)>,
}

struct Listener {
    id: ListenerId,
    listening: Listening,
    /// The listener at the relay client that holds the reservation, if it was made for this one.
    reservation: Option<ListenerId>,
}

impl Listener {
    fn covers(&self, relay: PeerId) -> bool {
        match &self.listening {
            Listening::AnyRelay => true,
            Listening::Relay { relay: wanted, .. } => *wanted == relay,
        }
    }
}

impl Listeners {
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    pub fn add(&mut self, id: ListenerId, listening: Listening, actions: &mut Actions, notices: &Notices) {
        let mut listener = Listener { id, listening, reservation: None };
        let confirmed = self.confirmed.iter().filter(|(relay, _)| listener.covers(*relay));
        for (relay, address) in confirmed {
            if !self.listeners.iter().any(|other| other.covers(*relay)) {
                actions.push_back(ToSwarm::ExternalAddrConfirmed(address.clone()));
            }
            let _ = notices.unbounded_send(Notice::Address(id, address.clone()));
        }
        let reserved = self.confirmed.iter().any(|(relay, _)| listener.covers(*relay));
        if let (Listening::Relay { circuit, .. }, false) = (&listener.listening, reserved) {
            let options = ListenOpts::new(circuit.clone());
            listener.reservation = Some(options.listener_id());
            actions.push_back(ToSwarm::ListenOn { opts: options });
        }
        self.listeners.push(listener);
    }

    pub fn remove(&mut self, id: ListenerId, actions: &mut Actions) {
        let Some(at) = self.listeners.iter().position(|listener| listener.id == id) else { return };
        let removed = self.listeners.remove(at);
        if let Some(id) = removed.reservation {
            actions.push_back(ToSwarm::RemoveListener { id });
        }
        for (relay, address) in &self.confirmed {
            if removed.covers(*relay) && !self.listeners.iter().any(|other| other.covers(*relay)) {
                actions.push_back(ToSwarm::ExternalAddrExpired(address.clone()));
            }
        }
    }

    /// Takes note of reservations, which are external addresses with a circuit in them.
    pub fn on_swarm_event(&mut self, event: FromSwarm, local: PeerId, actions: &mut Actions, notices: &Notices) {
        match event {
            FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr }) => {
                let ours = addr.iter().last() == Some(Protocol::P2p(local));
                if let Some((relay, address)) = address::of_circuit(addr).filter(|_| ours) {
                    self.confirm(relay, address, actions, notices);
                }
            }
            FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr }) => {
                if let Some((relay, address)) = address::of_circuit(addr) {
                    self.expire(relay, &address, actions, notices);
                }
            }
            FromSwarm::ListenerClosed(ListenerClosed { listener_id, reason }) => {
                let why = reason.err().map_or_else(|| "the relay is gone".to_owned(), ToString::to_string);
                let is_it = |listener: &Listener| listener.reservation == Some(listener_id);
                if let Some(at) = self.listeners.iter().position(is_it) {
                    let id = self.listeners[at].id;
                    self.listeners[at].reservation = None;
                    self.remove(id, actions);
                    let _ = notices.unbounded_send(Notice::ListenerClosed(id, Error::Reservation(why)));
                }
            }
            _ => {}
        }
    }

    fn confirm(&mut self, relay: PeerId, address: Multiaddr, actions: &mut Actions, notices: &Notices) {
        if self.confirmed.iter().any(|(_, known)| *known == address) {
            return;
        }
        let covering: Vec<ListenerId> =
            self.listeners.iter().filter(|listener| listener.covers(relay)).map(|listener| listener.id).collect();
        if !covering.is_empty() {
            actions.push_back(ToSwarm::ExternalAddrConfirmed(address.clone()));
        }
        for id in covering {
            let _ = notices.unbounded_send(Notice::Address(id, address.clone()));
        }
        self.confirmed.push((relay, address));
    }

    fn expire(&mut self, relay: PeerId, address: &Multiaddr, actions: &mut Actions, notices: &Notices) {
        let Some(at) = self.confirmed.iter().position(|(_, known)| known == address) else { return };
        self.confirmed.remove(at);
        let mut advertised = false;
        for listener in self.listeners.iter().filter(|listener| listener.covers(relay)) {
            advertised = true;
            let _ = notices.unbounded_send(Notice::AddressGone(listener.id, address.clone()));
        }
        if advertised {
            actions.push_back(ToSwarm::ExternalAddrExpired(address.clone()));
        }
    }
}
