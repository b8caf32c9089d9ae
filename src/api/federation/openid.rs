//! Who a user of ours is, for whom they showed an OpenID token.
use std::rc::Rc;

use ruma::api::federation::openid::get_openid_userinfo::v1 as get_openid_userinfo_v1;

use crate::{
    api::ApiError,
    homeserver::{Homeserver, openid},
};

/// `GET /_matrix/federation/v1/openid/userinfo` (server-server API, "OpenID"). Those who ask are services rather than
/// homeservers, so it is served to clients' connections too.
pub async fn get_openid_userinfo(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_openid_userinfo_v1::Request,
) -> Result<get_openid_userinfo_v1::Response, ApiError> {
    Ok(get_openid_userinfo_v1::Response::new(openid::owner(homeserver, &request.access_token).await?))
}
