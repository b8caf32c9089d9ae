//! The devices of our users, for servers whose users encrypt for them.
use std::rc::Rc;

use ruma::{OwnedServerName, UInt, api::federation::device::get_devices::v1};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, accounts},
};

/// `GET /_matrix/federation/v1/user/devices/{userId}` (server-server API, "Device Management"). Only devices with keys are
/// told of, and none has any yet: the list is empty, and has never changed.
pub async fn get_devices(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    if accounts::present(homeserver, vec![request.user_id.clone()]).await?.is_empty() {
        return Err(ApiError::not_found("There is no such user here."));
    }
    Ok(v1::Response::new(request.user_id, UInt::MIN))
}
