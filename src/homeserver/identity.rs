//! Finds the profile's key, or makes it: once, and on disk before anything is signed with it.
use std::rc::Rc;

use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use crate::{
    domain::{
        identity::{DEFAULT_SUFFIX, FormerKey, Identity, PublicKey, SELF_KEY_VERSION},
        server_keys::KEYS_PER_SERVER_MAX,
    },
    ports::{Batch, Entropy, Store, StoreError},
    storage::{
        Database,
        tables::{FormerKeyRow, SCHEMA_VERSION, Schema, SchemaRow, ServerIdentity, ServerIdentityRow},
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
    #[error("there is no homeserver yet whose key could be changed")]
    NoneYet,
    #[error("the name of {0} is made of its key, which is therefore for good")]
    KeyForGood(OwnedServerName),
    #[error("this homeserver has had {KEYS_PER_SERVER_MAX} keys before the one it has; others believe no more")]
    TooManyKeys,
}

/// Loads the identity, or makes one whose name ends in `suffix`. The suffix of an existing identity never changes.
///
/// Also the gate against data of newer code: nothing is read or written if the schema is not ours or older.
pub async fn load_or_create(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    suffix: &str,
) -> Result<Identity, IdentityError> {
    load_or_make(store, entropy, new_row(suffix, None)).await
}

/// Loads the identity, or makes one that goes by `server_name`. Refuses data of a homeserver with another name.
pub async fn load_or_create_named(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    server_name: &ServerName,
) -> Result<Identity, IdentityError> {
    let identity = load_or_make(store, entropy, new_row(DEFAULT_SUFFIX, Some(server_name.to_owned()))).await?;
    check_name(&identity, server_name)?;
    Ok(identity)
}

/// The keys that this homeserver signed with before, oldest first.
pub async fn former_keys(store: Rc<dyn Store>) -> Result<Vec<FormerKey>, StoreError> {
    let row = Database::new(store).get::<ServerIdentity>(&()).await?;
    let former = |FormerKeyRow { id, key, expired_ms }| FormerKey { id, key, expired_ms };
    Ok(row.map(|row| row.former_keys.into_iter().map(former).collect()).unwrap_or_default())
}

/// Gives the homeserver another key, as which it signs from its next start on. The one it had is a former one from `now_ms`
/// on; on disk before this returns. For homeservers whose name is not made of their key; refuses those of another name than
/// `server_name`, if that is given.
pub async fn rotate_key(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    server_name: Option<&ServerName>,
    now_ms: u64,
) -> Result<Identity, IdentityError> {
    let database = Database::new(store);
    check_schema(&database).await?;
    let mut row = database.get::<ServerIdentity>(&()).await?.ok_or(IdentityError::NoneYet)?;
    let had = identity_of(&row)?;
    if let Some(server_name) = server_name {
        check_name(&had, server_name)?;
    }
    if PublicKey::of_server_name(had.server_name()).is_some() {
        return Err(IdentityError::KeyForGood(had.server_name().to_owned()));
    }
    if row.former_keys.len() >= KEYS_PER_SERVER_MAX {
        return Err(IdentityError::TooManyKeys);
    }
    row.former_keys.push(FormerKeyRow { id: had.key_id(), key: had.public_key().0, expired_ms: now_ms });
    fill(&mut row, entropy);
    let identity = identity_of(&row)?;
    let mut batch = Batch::strict();
    batch.put::<ServerIdentity>(&(), &row);
    database.commit(batch).await?;
    Ok(identity)
}

fn new_row(suffix: &str, given_name: Option<OwnedServerName>) -> ServerIdentityRow {
    let suffix = suffix.to_owned();
    ServerIdentityRow { seed: [0; 32], suffix, given_name, key_version: None, former_keys: Vec::new() }
}

/// A new key; one that its homeserver may change is named by itself.
fn fill(row: &mut ServerIdentityRow, entropy: &dyn Entropy) {
    entropy.fill(&mut row.seed);
    let changes = row.given_name.as_deref().filter(|name| PublicKey::of_server_name(name).is_none());
    row.key_version = changes.map(|name| Identity::named(row.seed, name.to_owned()).public_key().version());
}

fn check_name(identity: &Identity, server_name: &ServerName) -> Result<(), IdentityError> {
    let has = identity.server_name().to_owned();
    if has == server_name { Ok(()) } else { Err(IdentityError::Renamed { has, wanted: server_name.to_owned() }) }
}

async fn check_schema(database: &Database) -> Result<(), IdentityError> {
    let schema = database.get::<Schema>(&()).await?;
    let is_newer = schema.is_some_and(|schema| schema.version > SCHEMA_VERSION);
    if is_newer { Err(StoreError::NewerSchema.into()) } else { Ok(()) }
}

/// The identity there is, or `new` with a seed of its own.
async fn load_or_make(
    store: Rc<dyn Store>,
    entropy: &dyn Entropy,
    mut new: ServerIdentityRow,
) -> Result<Identity, IdentityError> {
    let database = Database::new(store);
    check_schema(&database).await?;
    let row = match database.get::<ServerIdentity>(&()).await? {
        Some(row) => row,
        None => {
            fill(&mut new, entropy);
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
        let version = row.key_version.as_deref().unwrap_or(SELF_KEY_VERSION);
        let identity = Identity::signing_as(row.seed, name.clone(), version);
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

    /// Other numbers each time.
    struct Counting(std::cell::Cell<u8>);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            self.0.set(self.0.get() + 1);
            buffer.fill(self.0.get());
        }
    }

    fn rotated(disk: &MemoryDisk, entropy: &Counting, now_ms: u64) -> Result<Identity, IdentityError> {
        block_on(rotate_key(open(disk), entropy, None, now_ms))
    }

    #[test]
    fn a_key_that_is_changed_becomes_a_former_one() {
        let (disk, entropy) = (MemoryDisk::default(), Counting(100.into()));
        assert!(matches!(rotated(&disk, &entropy, 1), Err(IdentityError::NoneYet)));
        let first = named(&disk, "example.org").unwrap();
        assert_eq!(first.key_id(), format!("ed25519:{}", first.public_key().version()));
        let second = rotated(&disk, &entropy, 10).unwrap();
        assert_ne!((second.public_key(), second.key_id()), (first.public_key(), first.key_id()));
        let found = named(&disk, "example.org").unwrap();
        assert_eq!((found.public_key(), found.key_id()), (second.public_key(), second.key_id()));
        rotated(&disk, &entropy, 20).unwrap();
        let former = |identity: &Identity, expired_ms| FormerKey {
            id: identity.key_id(),
            key: identity.public_key().0,
            expired_ms,
        };
        assert_eq!(block_on(former_keys(open(&disk))).unwrap(), [former(&first, 10), former(&second, 20)]);
        let other = ServerName::parse("example.com").unwrap();
        let refused = block_on(rotate_key(open(&disk), &entropy, Some(&other), 30)).unwrap_err();
        assert!(matches!(refused, IdentityError::Renamed { .. }));
        (2..KEYS_PER_SERVER_MAX).for_each(|_| drop(rotated(&disk, &entropy, 30).unwrap()));
        let last = named(&disk, "example.org").unwrap();
        assert!(matches!(rotated(&disk, &entropy, 40), Err(IdentityError::TooManyKeys)));
        assert_eq!(named(&disk, "example.org").unwrap().key_id(), last.key_id());
    }

    #[test]
    fn a_key_that_is_a_name_stays() {
        let (disk, entropy) = (MemoryDisk::default(), Counting(100.into()));
        let own = block_on(load_or_create(open(&disk), &Sevens, DEFAULT_SUFFIX)).unwrap();
        assert_eq!(own.key_id(), "ed25519:self");
        assert!(matches!(rotated(&disk, &entropy, 1), Err(IdentityError::KeyForGood(_))));
        let given = MemoryDisk::default();
        assert_eq!(named(&given, own.server_name().as_str()).unwrap().key_id(), "ed25519:self");
        assert!(matches!(rotated(&given, &entropy, 1), Err(IdentityError::KeyForGood(_))));
    }

    #[test]
    fn a_key_from_before_keys_had_names_of_their_own_keeps_its_name() {
        let (disk, entropy) = (MemoryDisk::default(), Counting(100.into()));
        // As it was written then.
        let old = r#"{"seed":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7],"suffix":"alt","given_name":"example.org"}"#;
        let mut batch = Batch::strict();
        batch.put::<ServerIdentity>(&(), &serde_json::from_str(old).unwrap());
        block_on(Database::new(open(&disk)).commit(batch)).unwrap();
        let old = named(&disk, "example.org").unwrap();
        assert_eq!(old.key_id(), "ed25519:self");
        let new = rotated(&disk, &entropy, 10).unwrap();
        assert_eq!(new.key_id(), format!("ed25519:{}", new.public_key().version()));
        assert_eq!(block_on(former_keys(open(&disk))).unwrap()[0].id, "ed25519:self");
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
