//! The keys by which other servers' users encrypt for ours. No device has any yet: of a user who is here only the keys are
//! told that vouch for devices, if there are any; other users are left out.
use std::rc::Rc;

use ruma::{
    OwnedServerName, OwnedUserId,
    api::federation::keys::{claim_keys, get_keys},
    encryption::CrossSigningKey,
    serde::Raw,
};
use serde_json::{Map, Value};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, accounts, device_lists::signing_keys},
};

/// The most users one request may ask about.
const USERS_MAX: usize = 1_000;

/// `POST /_matrix/federation/v1/user/keys/query` (server-server API, "End-to-End Encryption")
pub async fn get_keys(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_keys::v1::Request,
) -> Result<get_keys::v1::Response, ApiError> {
    let users = of_ours(homeserver, request.device_keys.into_keys().collect()).await?;
    let mut response = get_keys::v1::Response::default();
    for user in users {
        let keys = signing_keys::of_own(homeserver, &user).await?;
        response.master_keys.extend(keys.master.map(|key| (user.clone(), raw(key))));
        response.self_signing_keys.extend(keys.self_signing.map(|key| (user.clone(), raw(key))));
        response.device_keys.insert(user, Default::default());
    }
    Ok(response)
}

/// `POST /_matrix/federation/v1/user/keys/claim` (server-server API, "End-to-End Encryption")
pub async fn claim_keys(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: claim_keys::v1::Request,
) -> Result<claim_keys::v1::Response, ApiError> {
    of_ours(homeserver, request.one_time_keys.into_keys().collect()).await?;
    // Devices without a key are left out, as the specification has it, and users without a device with one.
    Ok(claim_keys::v1::Response::new(Default::default()))
}

/// A key as it was signed.
pub(super) fn raw(key: Map<String, Value>) -> Raw<CrossSigningKey> {
    Raw::from_json(serde_json::value::to_raw_value(&key).expect("a JSON value is JSON"))
}

async fn of_ours(homeserver: &Homeserver, users: Vec<OwnedUserId>) -> Result<Vec<OwnedUserId>, ApiError> {
    if users.len() > USERS_MAX {
        return Err(ApiError::too_large(format!("One request asks about {USERS_MAX} users at most.")));
    }
    Ok(accounts::present(homeserver, users).await?)
}
