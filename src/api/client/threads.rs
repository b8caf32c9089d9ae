//! The threads of a room.
use std::rc::Rc;

use ruma::api::client::threads::get_threads::{self, v1::IncludeThreads};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        client_event::{Style, format_with_relations},
        relations::threads,
        sessions::Session,
    },
};

/// `GET /_matrix/client/v1/rooms/{roomId}/threads` (client-server API, "Querying threads in a room")
pub async fn get_threads(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_threads::v1::Request,
) -> Result<get_threads::v1::Response, ApiError> {
    let participated = match request.include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        other => {
            return Err(ApiError::invalid_param(format!("`include` is \"all\" or \"participated\", not {other}.")));
        }
    };
    let from = request.from.as_deref().map(str::parse).transpose()?;
    let limit = super::positive_limit(request.limit)?;
    let page = threads::page(homeserver, &request.room_id, &session.user_id, participated, from, limit).await?;
    let chunk = format_with_relations(homeserver, &session, Style::TIMELINE, &page.roots).await?;
    let mut response = get_threads::v1::Response::new(chunk);
    response.next_batch = page.next.map(|next| next.to_string());
    Ok(response)
}
