//! Finds the profile's key, or makes it: once, and on disk before anything is signed with it.
use thiserror::Error;

use crate::{
    domain::identity::Identity,
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
}

/// Loads the identity, or makes one whose name ends in `suffix`. The suffix of an existing identity never changes.
///
/// Also the gate against data of newer code: nothing is read or written if the schema is not ours or older.
pub async fn load_or_create(
    store: std::rc::Rc<dyn Store>,
    entropy: &dyn Entropy,
    suffix: &str,
) -> Result<Identity, IdentityError> {
    let database = Database::new(store);
    let schema = database.get::<Schema>(&()).await?;
    if schema.as_ref().is_some_and(|schema| schema.version > SCHEMA_VERSION) {
        return Err(StoreError::NewerSchema.into());
    }
    let row = match database.get::<ServerIdentity>(&()).await? {
        Some(row) => row,
        None => {
            let mut seed = [0; 32];
            entropy.fill(&mut seed);
            let row = ServerIdentityRow { seed, suffix: suffix.to_owned() };
            identity_of(&row)?;
            let mut batch = Batch::strict();
            batch.put::<ServerIdentity>(&(), &row);
            batch.put::<Schema>(&(), &SchemaRow { version: SCHEMA_VERSION });
            database.commit(batch).await?;
            row
        }
    };
    identity_of(&row)
}

fn identity_of(row: &ServerIdentityRow) -> Result<Identity, IdentityError> {
    Identity::from_seed(row.seed, &row.suffix).map_err(|_| IdentityError::Suffix(row.suffix.clone()))
}
