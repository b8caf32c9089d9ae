//! Finds the profile's key, or makes it: once, and on disk before anything is signed with it.
use std::rc::Rc;

use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use crate::{
    domain::identity::{DEFAULT_SUFFIX, Identity, PublicKey},
    ports::{Batch, Entropy, Store, StoreError},
    storage::{
        Database,
        tables::{SCHEMA_VERSION, Schema, SchemaRow, ServerIdentity, ServerIdentityRow},
    },
};

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0:?} cannot be the suffix of a server name")]
    Suffix(String),
    #[error("{0} is made of a key, and not of the key of this homeserver")]
    AnothersKey(OwnedServerName),
    #[error("the data belongs to {has}, and a homeserver cannot be renamed to {wanted}")]
    Renamed { has: OwnedServerName, wanted: OwnedServerName },
}

/// Loads the identity, or makes one whose name ends in `suffix`. The suffix of an existing identity never changes.
///
/// Also the gate against data of newer code: nothing is read or written if the schema is not ours or older.
pub async fn load_or_create(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    suffix: &str,
) -> Result<Identity, IdentityError> {
    let row = ServerIdentityRow { seed: [0; 32], suffix: suffix.to_owned(), given_name: None };
    load_or_make(store, entropy, row).await
}

/// Loads the identity, or makes one that goes by `server_name`. Refuses data of a homeserver with another name.
pub async fn load_or_create_named(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    server_name: &ServerName,
) -> Result<Identity, IdentityError> {
    let given_name = Some(server_name.to_owned());
    let row = ServerIdentityRow { seed: [0; 32], suffix: DEFAULT_SUFFIX.to_owned(), given_name };
    let identity = load_or_make(store, entropy, row).await?;
    if identity.server_name() != server_name {
        let has = identity.server_name().to_owned();
        return Err(IdentityError::Renamed { has, wanted: server_name.to_owned() });
    }
    Ok(identity)
}

/// The identity there is, or `new` with a seed of its own.
async fn load_or_make(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    mut new: ServerIdentityRow,
) -> Result<Identity, IdentityError> {
    let database = Database::new(store);
    let schema = database.get::<Schema>(&()).await?;
    if schema.as_ref().is_some_and(|schema| schema.version > SCHEMA_VERSION) {
        return Err(StoreError::NewerSchema.into());
    }
    let row = match database.get::<ServerIdentity>(&()).await? {
        Some(row) => row,
        None => {
            entropy.fill(&mut new.seed);
            identity_of(&new)?;
            let mut batch = Batch::strict();
            batch.put::<ServerIdentity>(&(), &new);
            batch.put::<Schema>(&(), &SchemaRow { version: SCHEMA_VERSION });
            database.commit(batch).await?;
            new
        }
    };
    identity_of(&row)
}

fn identity_of(row: &ServerIdentityRow) -> Result<Identity, IdentityError> {
    if let Some(name) = &row.given_name {
        let identity = Identity::named(row.seed, name.clone());
        let foreign = PublicKey::of_server_name(name).is_some_and(|key| key != identity.public_key());
        return if foreign { Err(IdentityError::AnothersKey(name.clone())) } else { Ok(identity) };
    }
    Identity::from_seed(row.seed, &row.suffix).map_err(|_| IdentityError::Suffix(row.suffix.clone()))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::storage::memory::MemoryDisk;

    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    fn open(disk: &MemoryDisk) -> Rc<dyn Store> {
        Rc::new(disk.open())
    }

    fn named(disk: &MemoryDisk, name: &str) -> Result<Identity, IdentityError> {
        block_on(load_or_create_named(open(disk), &Sevens, &ServerName::parse(name).unwrap()))
    }

    #[test]
    fn a_given_name_stays() {
        let disk = MemoryDisk::default();
        assert_eq!(named(&disk, "example.org:8448").unwrap().server_name(), "example.org:8448");
        assert_eq!(named(&disk, "example.org:8448").unwrap().server_name(), "example.org:8448");
        assert!(matches!(named(&disk, "example.org").unwrap_err(), IdentityError::Renamed { .. }));
        let found = block_on(load_or_create(open(&disk), &Sevens, DEFAULT_SUFFIX)).unwrap();
        assert_eq!(found.server_name(), "example.org:8448", "whoever asks for no name gets the one there is");
    }

    #[test]
    fn a_name_made_of_a_key_is_only_for_that_key() {
        let disk = MemoryDisk::default();
        let anothers = Identity::from_seed([8; 32], DEFAULT_SUFFIX).unwrap();
        let refused = named(&disk, anothers.server_name().as_str()).unwrap_err();
        assert!(matches!(refused, IdentityError::AnothersKey(_)));
        let own = block_on(load_or_create(open(&disk), &Sevens, DEFAULT_SUFFIX)).unwrap();
        assert!(named(&disk, own.server_name().as_str()).is_ok(), "what it is called anyway");
    }
}
