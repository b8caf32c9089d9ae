//! Finding users.
use std::rc::Rc;

use ruma::api::client::user_directory::search_users;

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        sessions::Session,
        user_directory::{self, RESULTS_MAX},
    },
};

/// `POST /_matrix/client/v3/user_directory/search` (client-server API, "User directory")
pub async fn search_users(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: search_users::v3::Request,
) -> Result<search_users::v3::Response, ApiError> {
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(usize::MAX).min(RESULTS_MAX);
    let (found, limited) = user_directory::search(homeserver, &session.user_id, &request.search_term, limit).await?;
    let results = found.into_iter().map(|found| {
        let mut user = search_users::v3::User::new(found.user_id);
        (user.display_name, user.avatar_url) = (found.name, found.avatar);
        user
    });
    Ok(search_users::v3::Response::new(results.collect(), limited))
}
