//! Whose keys for encryption changed.
use std::rc::Rc;

use ruma::api::client::keys::get_key_changes::v3;

use crate::{
    api::ApiError,
    domain::sync_token::StreamToken,
    homeserver::{
        Homeserver,
        device_lists::moves::{self, Changes},
        sessions::Session,
    },
};

/// `GET /_matrix/client/v3/keys/changes` (client-server API, "End-to-End Encryption"). What happened once more after `to`
/// is told as well: it happened before, too.
pub async fn get_key_changes(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: v3::Request,
) -> Result<v3::Response, ApiError> {
    let (from, to): (StreamToken, StreamToken) = (request.from.parse()?, request.to.parse()?);
    let Some(now) = moves::now(homeserver, from.max(to).0) else {
        return Err(ApiError::invalid_param("`from` or `to` is from the future: it is not a token of this server."));
    };
    let changes = match from < to {
        true => moves::between(homeserver, &session.user_id, from.0, now).await?,
        false => Changes::default(),
    };
    let Changes { changed, left } = changes;
    Ok(v3::Response::new(changed.into_iter().collect(), left.into_iter().collect()))
}
