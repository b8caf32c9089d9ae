//! Keeps where other servers were reached or are said to be, so that a homeserver that starts finds them again.
use std::rc::Rc;

use ruma::{OwnedServerName, ServerName};

use super::Homeserver;
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{ServerAddresses, ServerAddressesRow},
    },
};

/// Servers remembered from one start to the next: those heard of most recently.
const SERVERS_MAX: usize = 1_000;

/// Servers read at a start; what links may add in one run is far below.
const SERVERS_READ_MAX: usize = 10 * SERVERS_MAX;

/// Addresses remembered of one server.
const ADDRESSES_PER_SERVER_MAX: usize = 8;

/// Tells the transport what was known when this homeserver ran last, and forgets what is too much.
pub async fn recall(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    let database = &server.database;
    let mut rows = database.scan_prefix::<ServerAddresses, ()>(&(), Direction::Ascending, SERVERS_READ_MAX).await?;
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.at_ms));
    let mut forgotten = Batch::default();
    for (name, _) in rows.drain(rows.len().min(SERVERS_MAX)..) {
        forgotten.delete::<ServerAddresses>(&name);
    }
    for (name, row) in rows {
        server.environment.transport.add_address_hints(&name, row.addresses);
    }
    database.commit(forgotten).await
}

/// Somebody our user trusts said that `name` is at `addresses`.
pub async fn hinted(server: &Homeserver, name: &OwnedServerName, addresses: Vec<String>) -> Result<(), StoreError> {
    server.environment.transport.add_address_hints(name, addresses.clone());
    let known = server.database.get::<ServerAddresses>(name).await?.map(|row| row.addresses).unwrap_or_default();
    let mut all = addresses;
    all.extend(known.into_iter().filter(|address| !all.contains(address)).collect::<Vec<_>>());
    keep(server, name, all).await
}

/// `name` shares a room with us and is connected: what the transport knows of it now is worth more than any hint.
pub async fn met(server: &Homeserver, name: &OwnedServerName) -> Result<(), StoreError> {
    let known = server.environment.transport.known_addresses(name);
    let before = server.database.get::<ServerAddresses>(name).await?;
    if known.is_empty() || before.is_some_and(|row| row.addresses == known) {
        return Ok(());
    }
    keep(server, name, known).await
}

async fn keep(server: &Homeserver, name: &ServerName, mut addresses: Vec<String>) -> Result<(), StoreError> {
    addresses.truncate(ADDRESSES_PER_SERVER_MAX);
    let row = ServerAddressesRow { addresses, at_ms: server.environment.clock.now_ms() };
    let mut batch = Batch::default();
    batch.put::<ServerAddresses>(&name.to_owned(), &row);
    server.database.commit(batch).await
}
