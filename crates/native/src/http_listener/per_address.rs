//! How many connections one address may have, so that nobody alone takes all there are.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use warren::homeserver::rate_limits::subscriber;

use crate::public_addresses::is_public;

/// Of all that there may be. Addresses of private networks, and this machine's own, are not held to it: a proxy at one speaks
/// for everybody.
const PER_ADDRESS_MAX: usize = 256;

#[derive(Clone, Default)]
pub struct PerAddress(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection of an address; given back when dropped.
pub struct Counted {
    of: PerAddress,
    address: IpAddr,
}

impl PerAddress {
    /// `None` where the address has too many.
    pub fn count(&self, address: IpAddr) -> Option<Counted> {
        let address = subscriber(address);
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= PER_ADDRESS_MAX && is_public(address) {
            return None;
        }
        *count += 1;
        Some(Counted { of: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_alone_has_all_connections() {
        let addresses = PerAddress::default();
        let count = |address: &str| addresses.count(address.parse().unwrap());
        let mut held: Vec<_> = (0..PER_ADDRESS_MAX).map(|_| count("203.0.112.1").unwrap()).collect();
        assert!(count("203.0.112.1").is_none() && count("::ffff:203.0.112.1").is_none());
        assert!(count("203.0.112.2").is_some());
        held.pop();
        assert!(count("203.0.112.1").is_some());
        held.clear();
        assert!(addresses.lock().is_empty());
        // One subscriber has many addresses of IPv6; a proxy nearby speaks for everybody.
        let _held: Vec<_> = (0..PER_ADDRESS_MAX).map(|n| count(&format!("2a00:1450:1:2::{n:x}")).unwrap()).collect();
        assert!(count("2a00:1450:1:2::ffff").is_none() && count("2a00:1450:1:3::1").is_some());
        for proxy in ["127.0.0.1", "172.17.0.2", "fd00::1"] {
            let its: Vec<_> = (0..2 * PER_ADDRESS_MAX).map(|_| count(proxy)).collect();
            assert!(its.iter().all(Option::is_some), "{proxy}");
        }
    }
}
