//! The keys by which other servers' users encrypt for ours. No device has any yet: what is asked of a user who is here is
//! answered with nothing, and other users are left out.
use std::rc::Rc;

use ruma::{
    OwnedServerName, OwnedUserId,
    api::federation::keys::{claim_keys, get_keys},
};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, accounts},
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
    Ok(get_keys::v1::Response::new(users.into_iter().map(|user| (user, Default::default())).collect()))
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

async fn of_ours(homeserver: &Homeserver, users: Vec<OwnedUserId>) -> Result<Vec<OwnedUserId>, ApiError> {
    if users.len() > USERS_MAX {
        return Err(ApiError::too_large(format!("One request asks about {USERS_MAX} users at most.")));
    }
    Ok(accounts::present(homeserver, users).await?)
}
