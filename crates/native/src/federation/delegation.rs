//! From a server's name to the name it is reached by, remembered for as long as the answer holds.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{OwnedServerName, ServerName};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{
    dialer::{Dialer, Target},
    names::SrvRecord,
    well_known::{self, Delegation, HOLDS_MAX},
};

/// Names whose delegation is remembered.
const REMEMBERED_MAX: usize = 4_096;

/// After a host did not answer it is asked again so much later, and twice as much each time.
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Where homeservers listen unless something says otherwise.
const FEDERATION_PORT: u16 = 8448;

/// The services of a name, the newer first.
const SERVICES: [&str; 2] = ["_matrix-fed._tcp", "_matrix._tcp"];

/// Places that a name's services may be at, and that are tried.
const TARGETS_MAX: usize = 4;

/// The host of a server's name: an address without brackets, or a name.
pub fn host_of(name: &ServerName) -> &str {
    name.host().trim_start_matches('[').trim_end_matches(']')
}

/// What was heard of one host.
#[derive(Default)]
struct Heard {
    name: Option<OwnedServerName>,
    /// Asked again then.
    until: Option<Instant>,
    /// A host that does not answer is still taken at its word until then.
    trusted_until: Option<Instant>,
    failures: u32,
}

/// The delegations of all servers that were asked for.
#[derive(Default)]
pub struct Delegations {
    heard: Mutex<BTreeMap<OwnedServerName, Arc<AsyncMutex<Heard>>>>,
}

impl Delegations {
    /// The name that `server` is reached by: in the `Host` header, in the certificate, and for what is looked up in DNS.
    /// Its own where it has a port or is an address, and where its host names nobody else.
    pub async fn name_of(&self, dialer: &Dialer, server: &ServerName) -> OwnedServerName {
        if server.port().is_some() || host_of(server).parse::<IpAddr>().is_ok() {
            return server.to_owned();
        }
        let heard = self.entry(server);
        // Whoever comes while the host is asked waits for what it says.
        let mut heard = heard.lock().await;
        if heard.until.is_none_or(|until| until <= Instant::now()) {
            heard.take_in(well_known::ask(dialer, server.host()).await, server);
        }
        heard.name.clone().unwrap_or_else(|| server.to_owned())
    }

    fn entry(&self, server: &ServerName) -> Arc<AsyncMutex<Heard>> {
        let mut all = self.lock();
        if all.len() >= REMEMBERED_MAX && !all.contains_key(server) {
            let now = Instant::now();
            let is_current = |heard: &Arc<AsyncMutex<Heard>>| {
                heard.try_lock().is_ok_and(|heard| heard.until.is_some_and(|until| until > now))
            };
            all.retain(|_, heard| Arc::strong_count(heard) > 1 || is_current(heard));
            // All of them hold: one of them has to be asked for again.
            if all.len() >= REMEMBERED_MAX {
                all.pop_first();
            }
        }
        all.entry(server.to_owned()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OwnedServerName, Arc<AsyncMutex<Heard>>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn take_in(&mut self, delegation: Delegation, server: &ServerName) {
        let now = Instant::now();
        let holds = match delegation {
            Delegation::To { name, holds } => {
                tracing::debug!(%server, reached_by = %name, "a server is reached by another name");
                *self = Self { name: Some(name), trusted_until: Some(now + HOLDS_MAX), ..Self::default() };
                holds
            }
            Delegation::None { holds } => {
                *self = Self::default();
                holds
            }
            Delegation::Unknown { reason } => {
                tracing::debug!(%server, reason, "a server's delegation is not known");
                if self.trusted_until.is_none_or(|until| until <= now) {
                    self.name = None;
                }
                self.failures += 1;
                (RETRY_FIRST * 2_u32.saturating_pow(self.failures - 1).min(RETRY_MAX.as_secs() as u32)).min(RETRY_MAX)
            }
        };
        self.until = Some(now + holds);
    }
}

/// Where `name` is, best first: by its port, its services, or the port of all homeservers. `order` is any number, which
/// decides between services of the same priority.
pub async fn targets(dialer: &Dialer, name: &ServerName, order: u32) -> Vec<Target> {
    let host = host_of(name);
    let at = |port| vec![Target { host: host.to_owned(), port }];
    if let Some(port) = name.port() {
        return at(port);
    }
    if host.parse::<IpAddr>().is_ok() {
        return at(FEDERATION_PORT);
    }
    for service in SERVICES {
        let found = dialer.names().services(&format!("{service}.{host}")).await;
        match found {
            Ok(services) if services.is_empty() => {}
            Ok(services) => return by_preference(services, order),
            // DNS that fails for one kind of record may do for another; whoever answers needs a certificate anyway.
            Err(error) => tracing::debug!(%name, %error, "a server's SRV records are not known"),
        }
    }
    at(FEDERATION_PORT)
}

/// The lowest priority first; among equals one by weight, then the others (RFC 2782). A service that is nowhere has no
/// target.
fn by_preference(mut services: Vec<SrvRecord>, order: u32) -> Vec<Target> {
    services.retain(|service| !service.target.is_empty());
    services.sort_by_key(|service| service.priority);
    let first = services.first().map_or(0, |service| service.priority);
    let best = services.iter().take_while(|service| service.priority == first);
    let total: u32 = best.clone().map(|service| u32::from(service.weight)).sum();
    let mut left = if total == 0 { 0 } else { order % total };
    let chosen = best.enumerate().find_map(|(index, service)| {
        let weight = u32::from(service.weight);
        if left < weight || total == 0 {
            return Some(index);
        }
        left -= weight;
        None
    });
    if let Some(index) = chosen {
        services.swap(0, index);
    }
    let target = |service: SrvRecord| Target { host: service.target, port: service.port };
    services.into_iter().take(TARGETS_MAX).map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> SrvRecord {
        SrvRecord { priority, weight, port: 1, target: target.to_owned() }
    }

    fn hosts(services: &[SrvRecord], order: u32) -> Vec<String> {
        by_preference(services.to_vec(), order).into_iter().map(|target| target.host).collect()
    }

    #[test]
    fn services_are_tried_by_priority_and_weight() {
        let services = [service(20, 0, "last"), service(10, 1, "light"), service(10, 3, "heavy")];
        assert_eq!(hosts(&services, 0), ["light", "heavy", "last"]);
        for order in 1..4 {
            assert_eq!(hosts(&services, order), ["heavy", "light", "last"], "{order}");
        }
        assert_eq!(hosts(&services, 4)[0], "light");
        assert_eq!(hosts(&[service(1, 0, "a"), service(1, 0, "b")], 7), ["a", "b"]);
        assert!(hosts(&[service(0, 0, "")], 0).is_empty(), "a service that is said to be nowhere");
        let many: Vec<_> = (0..9).map(|n| service(n, 0, "x")).collect();
        assert_eq!(hosts(&many, 0).len(), TARGETS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_answer_is_taken_at_its_word_for_two_days() {
        let server = ServerName::parse("a.example").unwrap();
        let mut heard = Heard::default();
        let name = ServerName::parse("b.example").unwrap();
        heard.take_in(Delegation::To { name: name.clone(), holds: Duration::from_secs(600) }, &server);
        let failure = || Delegation::Unknown { reason: "down".to_owned() };
        heard.take_in(failure(), &server);
        assert_eq!(heard.name, Some(name));
        assert_eq!(heard.until.unwrap() - Instant::now(), RETRY_FIRST);
        tokio::time::advance(HOLDS_MAX).await;
        for _ in 0..40 {
            heard.take_in(failure(), &server);
        }
        assert_eq!((heard.name.clone(), heard.until.unwrap() - Instant::now()), (None, RETRY_MAX));
        heard.take_in(Delegation::None { holds: Duration::from_secs(1) }, &server);
        assert_eq!(heard.failures, 0);
    }
}
