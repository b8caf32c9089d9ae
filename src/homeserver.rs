//! Async workflows over the domain: one homeserver, its store, its peers.
pub mod identity;
pub mod positions;

use std::rc::Rc;

use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use crate::{
    domain::identity::Identity,
    ports::{Environment, StoreError},
};

/// What a shell decides about a homeserver.
#[derive(Clone, Debug, Default)]
pub struct Options {}

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One homeserver. Owned by one thread; shells hold it in an `Rc`.
pub struct Homeserver {
    pub(crate) environment: Environment,
    pub(crate) identity: Rc<Identity>,
}

impl Homeserver {
    /// Opens the homeserver on `environment`, whose store has passed `identity::load_or_create`.
    pub async fn start(
        environment: Environment,
        identity: Rc<Identity>,
        _options: Options,
    ) -> Result<Rc<Self>, StartError> {
        Ok(Rc::new(Self { environment, identity }))
    }

    pub fn server_name(&self) -> &ServerName {
        self.identity.server_name()
    }

    /// The shell says that a live connection to `server` now exists: flush its outbox, compare heads.
    pub fn peer_connected(self: &Rc<Self>, _server: OwnedServerName) {}
}
