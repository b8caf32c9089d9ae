//! How often clients and peers may ask: generous to a person, an end to a client that runs away and to a peer that floods.
use core::net::{IpAddr, Ipv6Addr};
use std::{cell::RefCell, num::NonZeroUsize};

use ruma::{OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName};

use super::sessions::Session;
use crate::domain::{
    identity::PublicKey,
    rate_limit::{Buckets, Exhausted, Rate},
};

/// A device: a page that loads a thousand rooms at once is not held up, one that asks without end is held at 100 requests
/// a second.
const DEVICE_RATE: Rate = Rate { burst: 2_000, refill_ms: 10 };
/// A user with all devices.
const USER_RATE: Rate = Rate { burst: 6_000, refill_ms: 4 };
/// An address from which somebody asks without having logged in.
const ADDRESS_RATE: Rate = Rate { burst: 300, refill_ms: 50 };
/// Logging in and registering from one address, wrong passwords included.
const ENTRANCE_RATE: Rate = Rate { burst: 30, refill_ms: 2_000 };
/// Another homeserver.
const PEER_RATE: Rate = Rate { burst: 1_000, refill_ms: 10 };

/// An address that other homeservers ask from by HTTPS: many may be behind one.
const SERVER_ADDRESS_RATE: Rate = Rate { burst: 4_000, refill_ms: 2 };
/// All that a gateway carries to us, whoever asks.
const GATEWAY_RATE: Rate = Rate { burst: 3_000, refill_ms: 4 };
/// A homeserver that asks by HTTPS, or through a gateway, once its signature holds.
const SERVER_RATE: Rate = PEER_RATE;

/// How many of each are remembered.
const CLIENTS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
const PEERS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// The bits of an IPv6 address that one subscriber has to himself are not looked at.
const IPV6_SUBSCRIBER_BITS: u32 = 64;

pub struct RateLimits(Option<RefCell<Kept>>);

struct Kept {
    devices: Buckets<(OwnedUserId, OwnedDeviceId)>,
    users: Buckets<OwnedUserId>,
    addresses: Buckets<IpAddr>,
    entrances: Buckets<IpAddr>,
    peers: Buckets<PublicKey>,
    server_addresses: Buckets<IpAddr>,
    servers: Buckets<OwnedServerName>,
    gateways: Buckets<PublicKey>,
}

impl RateLimits {
    pub fn new(enabled: bool) -> Self {
        let kept = || Kept {
            devices: Buckets::new(DEVICE_RATE, CLIENTS_REMEMBERED),
            users: Buckets::new(USER_RATE, CLIENTS_REMEMBERED),
            addresses: Buckets::new(ADDRESS_RATE, CLIENTS_REMEMBERED),
            entrances: Buckets::new(ENTRANCE_RATE, CLIENTS_REMEMBERED),
            peers: Buckets::new(PEER_RATE, PEERS_REMEMBERED),
            server_addresses: Buckets::new(SERVER_ADDRESS_RATE, PEERS_REMEMBERED),
            servers: Buckets::new(SERVER_RATE, PEERS_REMEMBERED),
            gateways: Buckets::new(GATEWAY_RATE, PEERS_REMEMBERED),
        };
        Self(enabled.then(|| RefCell::new(kept())))
    }

    /// A request of somebody who has logged in.
    pub fn session(&self, session: &Session, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let Some(kept) = &self.0 else { return Ok(()) };
        let mut kept = kept.borrow_mut();
        kept.devices.take((session.user_id.clone(), session.device_id.clone()), cost, now_ms)?;
        kept.users.take(session.user_id.clone(), cost, now_ms)
    }

    /// A request of somebody who has not. Without an address it comes from the page itself.
    pub fn address(&self, address: Option<IpAddr>, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let (Some(kept), Some(address)) = (&self.0, address) else { return Ok(()) };
        kept.borrow_mut().addresses.take(subscriber(address), cost, now_ms)
    }

    /// A request to be let in: to log in or to register.
    pub fn entrance(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Exhausted> {
        let (Some(kept), Some(address)) = (&self.0, address) else { return Ok(()) };
        kept.borrow_mut().entrances.take(subscriber(address), 1, now_ms)
    }

    pub fn peer(&self, peer: &PublicKey, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let Some(kept) = &self.0 else { return Ok(()) };
        kept.borrow_mut().peers.take(*peer, cost, now_ms)
    }

    /// A request by HTTPS, of whichever homeserver.
    pub fn server_address(&self, address: Option<IpAddr>, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let (Some(kept), Some(address)) = (&self.0, address) else { return Ok(()) };
        kept.borrow_mut().server_addresses.take(subscriber(address), cost, now_ms)
    }

    /// A request that a gateway carried, whoever's it is.
    pub fn gateway(&self, gateway: &PublicKey, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let Some(kept) = &self.0 else { return Ok(()) };
        kept.borrow_mut().gateways.take(*gateway, cost, now_ms)
    }

    /// A request by HTTPS or through a gateway that `server` has signed.
    pub fn server(&self, server: &ServerName, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let Some(kept) = &self.0 else { return Ok(()) };
        kept.borrow_mut().servers.take(server.to_owned(), cost, now_ms)
    }
}

/// What tells one subscriber from another: an IPv4 address, or the half of an IPv6 address that a provider gives out.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> IPV6_SUBSCRIBER_BITS << IPV6_SUBSCRIBER_BITS).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_whatever_addresses_it_takes() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:ffff::1"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
