//! What names mean: addresses as the system says, services as DNS does. A trait, so that tests have their own internet.
use std::{io, net::SocketAddr};

use futures::{FutureExt, future::BoxFuture};
use hickory_resolver::{
    TokioResolver,
    net::{DnsError, NetError},
    proto::rr::RData,
};

/// Answers that are looked at of one look-up; the others are as if they were not there.
const ANSWERS_MAX: usize = 32;

/// Where a service is, as a SRV record says (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Without the dot at its end: empty where the record says that there is no such service.
    pub target: String,
}

pub trait Names: Send + Sync {
    /// Where `host` is now, in the order of preference.
    fn addresses(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// The SRV records of `name`; none where there is no such name. An error where DNS did not say.
    fn services(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<SrvRecord>>>;
}

/// The names of the internet, through the resolvers this system is set up with.
pub struct SystemNames {
    dns: Option<TokioResolver>,
}

impl SystemNames {
    /// Without settings for DNS that can be read, no service is found by any SRV record; the log says so.
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let dns = built.inspect_err(|error| tracing::warn!(%error, "SRV records cannot be looked up"));
        Self { dns: dns.ok() }
    }
}

impl Names for SystemNames {
    fn addresses(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.take(ANSWERS_MAX).collect()) }.boxed()
    }

    fn services(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<SrvRecord>>> {
        let (dns, name) = (self.dns.clone(), format!("{name}."));
        async move {
            let Some(dns) = dns else { return Ok(Vec::new()) };
            let found = match dns.srv_lookup(name).await {
                Ok(found) => found,
                Err(NetError::Dns(DnsError::NoRecordsFound(_))) => return Ok(Vec::new()),
                Err(error) => return Err(io::Error::other(error.to_string())),
            };
            let service = |data: &RData| match data {
                RData::SRV(srv) => Some(SrvRecord {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            };
            Ok(found.answers().iter().filter_map(|record| service(&record.data)).take(ANSWERS_MAX).collect())
        }
        .boxed()
    }
}
