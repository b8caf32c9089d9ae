//! Servers that help calls through firewalls.
use std::rc::Rc;

use ruma::api::client::voip::get_turn_server_info;
use serde_json::json;

use super::json::{Json, JsonAnswered};
use crate::{
    api::ApiError,
    homeserver::{Homeserver, sessions::Session},
};

/// `GET /_matrix/client/v3/voip/turnServer` (client-server API, "Voice over IP")
///
/// NOTSPEC: the specification has no word for a homeserver without a TURN server. Others answer `{}`, which clients
/// take quietly; an error they report and repeat.
pub async fn get_turn_server_info(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: JsonAnswered<get_turn_server_info::v3::Request>,
) -> Result<Json, ApiError> {
    let Some(turn) = &homeserver.options.turn else { return Ok(Json::of(&json!({}))) };
    let credential = turn.credential(&session.user_id, homeserver.environment.clock.now_ms());
    Ok(Json::of(&json!({
        "username": credential.username,
        "password": credential.password,
        "uris": turn.uris,
        "ttl": turn.ttl_s,
    })))
}
