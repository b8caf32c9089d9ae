//! The devices of our users, for servers whose users encrypt for them.
use std::rc::Rc;

use ruma::{OwnedServerName, UInt, api::federation::device::get_devices::v1};

use super::keys::raw;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, accounts, device_lists::signing_keys},
};

/// `GET /_matrix/federation/v1/user/devices/{userId}` (server-server API, "Device Management"). Only devices with keys are
/// told of, and none has any yet.
pub async fn get_devices(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    let user = request.user_id;
    if accounts::present(homeserver, vec![user.clone()]).await?.is_empty() {
        return Err(ApiError::not_found("There is no such user here."));
    }
    let keys = signing_keys::of_own(homeserver, &user).await?;
    let stream_id = homeserver.device_lists.stream_id(&user);
    let mut response = v1::Response::new(user, UInt::try_from(stream_id).unwrap_or(UInt::MAX));
    response.master_key = keys.master.map(raw);
    response.self_signing_key = keys.self_signing.map(raw);
    Ok(response)
}
