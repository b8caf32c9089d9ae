//! Invites to whoever has an address elsewhere (mail, say), once it is known who that is.
use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::federation::thirdparty::{bind_callback, exchange_invite::v1 as exchange_v1},
    events::StateEventType,
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        rooms::{
            exchange_invite,
            third_party_invites::{self, Exchange},
        },
    },
};

/// `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}` (server-server API, "Third-party invites")
pub async fn exchange_invite(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: exchange_invite::Request,
) -> Result<exchange_v1::Response, ApiError> {
    let exchange_v1::Request { room_id, kind, sender, state_key, content, .. } = request.invite;
    if request.named != room_id {
        return Err(ApiError::invalid_param("The invite is of another room than the path names."));
    }
    if kind != StateEventType::RoomMember {
        return Err(ApiError::invalid_param("An invite is of type m.room.member."));
    }
    let exchange = Exchange { room_id, sender, target: state_key, content: content.json().to_owned() };
    third_party_invites::exchange(homeserver, &origin, exchange).await?;
    Ok(exchange_v1::Response::new())
}

/// `PUT /_matrix/federation/v1/3pid/onbind` (server-server API, "Third-party invites"). Identity servers ask it, unsigned;
/// what they say is passed on to whoever invited, and believed by nobody who does not check it.
pub async fn bind_callback(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: bind_callback::v1::Request,
) -> Result<bind_callback::v1::Response, ApiError> {
    third_party_invites::bound(homeserver, &request.mxid, request.invites).await?;
    Ok(bind_callback::v1::Response::new())
}
