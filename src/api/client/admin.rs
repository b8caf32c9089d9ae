//! What administrators may ask and do (client-server API, "Server Administration").
use std::{collections::BTreeMap, rc::Rc};

use ruma::api::client::admin::{get_user_info, is_user_locked, is_user_suspended, lock_user, suspend_user};
use serde_json::{Value, json};

use super::json_answer::{AnsweredByJson, JsonAnswer};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        administration::{self, Restriction},
        devices::Device,
        sessions::Session,
    },
};

/// `GET /_matrix/client/v3/admin/whois/{userId}` (client-server API, "Server Administration"). ruma would say `null` of
/// what is not known.
pub async fn get_user_info(
    homeserver: &Rc<Homeserver>,
    session: Session,
    AnsweredByJson(request): AnsweredByJson<get_user_info::v3::Request>,
) -> Result<JsonAnswer, ApiError> {
    let devices = administration::who_is(homeserver, &session, &request.user_id).await?;
    let devices: BTreeMap<String, Value> =
        devices.into_iter().map(|device| (device.device_id.to_string(), as_json(device))).collect();
    Ok(JsonAnswer(json!({ "user_id": request.user_id, "devices": devices })))
}

fn as_json(device: Device) -> Value {
    let known = [
        ("ip", device.last_seen_ip.map(|address| address.to_string().into())),
        ("last_seen", device.last_seen_ms.map(Value::from)),
        ("user_agent", device.user_agent.map(Value::from)),
    ];
    let connection: BTreeMap<&str, Value> =
        known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    json!({ "sessions": [{ "connections": [connection] }] })
}

/// `GET /_matrix/client/v1/admin/suspend/{userId}` (client-server API, "Server Administration")
pub async fn is_user_suspended(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: is_user_suspended::v1::Request,
) -> Result<is_user_suspended::v1::Response, ApiError> {
    let on = administration::restriction(homeserver, &session, &request.user_id, Restriction::Suspended).await?;
    Ok(is_user_suspended::v1::Response::new(on))
}

/// `PUT /_matrix/client/v1/admin/suspend/{userId}` (client-server API, "Server Administration")
pub async fn suspend_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: suspend_user::v1::Request,
) -> Result<suspend_user::v1::Response, ApiError> {
    let suspended = request.suspended;
    administration::restrict(homeserver, &session, &request.user_id, Restriction::Suspended, suspended).await?;
    Ok(suspend_user::v1::Response::new(suspended))
}

/// `GET /_matrix/client/v1/admin/lock/{userId}` (client-server API, "Server Administration")
pub async fn is_user_locked(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: is_user_locked::v1::Request,
) -> Result<is_user_locked::v1::Response, ApiError> {
    let on = administration::restriction(homeserver, &session, &request.user_id, Restriction::Locked).await?;
    Ok(is_user_locked::v1::Response::new(on))
}

/// `PUT /_matrix/client/v1/admin/lock/{userId}` (client-server API, "Server Administration")
pub async fn lock_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: lock_user::v1::Request,
) -> Result<lock_user::v1::Response, ApiError> {
    administration::restrict(homeserver, &session, &request.user_id, Restriction::Locked, request.locked).await?;
    Ok(lock_user::v1::Response::new(request.locked))
}
