//! Filters that clients upload once and name in later requests. A filter's id is its digest, so that uploading the same
//! filter at every start makes one filter.
use multibase::Base;
use ruma::{UserId, api::client::filter::FilterDefinition};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Homeserver;
use crate::{
    ports::{Batch, StoreError},
    storage::{Direction, tables::Filters},
};

/// The most bytes a filter may have as JSON.
pub const FILTER_MAX_BYTES: usize = 64 << 10;

/// The most filters a user may have.
pub const FILTERS_PER_USER_MAX: usize = 500;

/// How many bytes of the digest make the id.
const FILTER_ID_BYTES: usize = 12;

#[derive(Debug, Error)]
pub enum FilterError {
    #[error("the filter is larger than {FILTER_MAX_BYTES} bytes")]
    TooLarge,
    #[error("there are {FILTERS_PER_USER_MAX} filters already")]
    TooMany,
    #[error("the user has no such filter")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stores a filter and returns its id.
pub async fn create(
    homeserver: &Homeserver,
    user_id: &UserId,
    filter: &FilterDefinition,
) -> Result<String, FilterError> {
    let value = serde_json::to_value(filter).expect("filters have string keys and finite numbers");
    let json = value.to_string();
    if json.len() > FILTER_MAX_BYTES {
        return Err(FilterError::TooLarge);
    }
    let digest = Sha256::digest(json);
    let filter_id = Base::Base64Url.encode(&digest[..FILTER_ID_BYTES]);
    let key = (user_id.to_owned(), filter_id);
    let _accounts = homeserver.accounts_lock.lock().await;
    if homeserver.database.get::<Filters>(&key).await?.is_none() {
        let prefix = (user_id.to_owned(),);
        let rows =
            homeserver.database.scan_prefix::<Filters, _>(&prefix, Direction::Ascending, FILTERS_PER_USER_MAX).await?;
        if rows.len() >= FILTERS_PER_USER_MAX {
            return Err(FilterError::TooMany);
        }
        let mut batch = Batch::strict();
        batch.put::<Filters>(&key, &value);
        homeserver.database.commit(batch).await?;
    }
    Ok(key.1)
}

pub async fn get(homeserver: &Homeserver, user_id: &UserId, filter_id: &str) -> Result<FilterDefinition, FilterError> {
    let row = homeserver.database.get::<Filters>(&(user_id.to_owned(), filter_id.to_owned())).await?;
    let value = row.ok_or(FilterError::NotFound)?;
    let corrupt = |error: serde_json::Error| StoreError::Backend(format!("a filter cannot be read: {error}"));
    Ok(serde_json::from_value(value).map_err(corrupt)?)
}
