//! Files of our users, for other servers. None are kept yet.
use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::federation::authenticated_media::{get_content, get_content_thumbnail},
};

use crate::{api::ApiError, homeserver::Homeserver};

/// The most bytes the id of a file may have.
const MEDIA_ID_MAX_BYTES: usize = 255;

/// `GET /_matrix/federation/v1/media/download/{mediaId}` (server-server API, "Content Repository")
pub async fn get_content(
    _homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_content::v1::Request,
) -> Result<get_content::v1::Response, ApiError> {
    Err(not_here(&request.media_id))
}

/// `GET /_matrix/federation/v1/media/thumbnail/{mediaId}` (server-server API, "Content Repository")
pub async fn get_content_thumbnail(
    _homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_content_thumbnail::v1::Request,
) -> Result<get_content_thumbnail::v1::Response, ApiError> {
    if request.width == 0u8.into() || request.height == 0u8.into() {
        return Err(ApiError::invalid_param("A thumbnail has a width and a height."));
    }
    Err(not_here(&request.media_id))
}

fn not_here(media_id: &str) -> ApiError {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if media_id.is_empty() || media_id.len() > MEDIA_ID_MAX_BYTES || !media_id.bytes().all(valid) {
        return ApiError::invalid_param("That is not the id of a file.");
    }
    ApiError::not_found("There is no such file here.")
}
