//! The devices of the user who asks.
use std::rc::Rc;

use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::device::{self, delete_device, delete_devices, get_device, get_devices, update_device},
};

use crate::{
    api::{ApiError, uiaa},
    homeserver::{
        Homeserver,
        devices::{self, DEVICES_PER_USER_MAX, Device},
        sessions::Session,
    },
};

/// `GET /_matrix/client/v3/devices` (client-server API, "Device Management")
pub async fn get_devices(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: get_devices::v3::Request,
) -> Result<get_devices::v3::Response, ApiError> {
    let devices = devices::all(homeserver, &session.user_id).await?;
    Ok(get_devices::v3::Response::new(devices.into_iter().map(as_ruma).collect()))
}

/// `GET /_matrix/client/v3/devices/{deviceId}` (client-server API, "Device Management")
pub async fn get_device(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_device::v3::Request,
) -> Result<get_device::v3::Response, ApiError> {
    let device = devices::one(homeserver, &session.user_id, request.device_id).await?;
    Ok(get_device::v3::Response::new(as_ruma(device)))
}

/// `PUT /_matrix/client/v3/devices/{deviceId}` (client-server API, "Device Management")
pub async fn update_device(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: update_device::v3::Request,
) -> Result<update_device::v3::Response, ApiError> {
    devices::rename(homeserver, &session.user_id, request.device_id, request.display_name).await?;
    Ok(update_device::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/devices/{deviceId}` (client-server API, "Device Management")
pub async fn delete_device(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_device::v3::Request,
) -> Result<delete_device::v3::Response, ApiError> {
    uiaa::confirm(homeserver, &session, "delete_device", request.auth.as_ref()).await?;
    devices::log_out(homeserver, &session.user_id, &[request.device_id]).await?;
    Ok(delete_device::v3::Response::new())
}

/// `POST /_matrix/client/v3/delete_devices` (client-server API, "Device Management")
pub async fn delete_devices(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_devices::v3::Request,
) -> Result<delete_devices::v3::Response, ApiError> {
    if request.devices.len() > DEVICES_PER_USER_MAX {
        return Err(ApiError::too_large(format!("Nobody has more than {DEVICES_PER_USER_MAX} devices.")));
    }
    uiaa::confirm(homeserver, &session, "delete_devices", request.auth.as_ref()).await?;
    devices::log_out(homeserver, &session.user_id, &request.devices).await?;
    Ok(delete_devices::v3::Response::new())
}

fn as_ruma(from: Device) -> device::Device {
    let mut device = device::Device::new(from.device_id);
    // ruma would say null for what is not known, which is none of the specification's strings; matrix-nio wants both.
    device.display_name = Some(from.display_name.unwrap_or_default());
    device.last_seen_ip = Some(from.last_seen_ip.map(|address| address.to_string()).unwrap_or_default());
    device.last_seen_ts = from.last_seen_ms.and_then(UInt::new).map(MilliSecondsSinceUnixEpoch);
    device
}
