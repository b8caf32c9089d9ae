//! Whose devices the client must look at again, and whose no longer concern it: told to clients that go on.
use ruma::api::client::sync::sync_events::DeviceLists;

use crate::{
    homeserver::{device_lists::moves, sync::Look},
    ports::StoreError,
};

pub(in crate::homeserver::sync) async fn changed(look: &Look<'_>) -> Result<DeviceLists, StoreError> {
    let mut lists = DeviceLists::new();
    if let Some(since) = look.since {
        let changes = moves::between(look.server, &look.session.user_id, since, look.until).await?;
        lists.changed = changes.changed.into_iter().collect();
        lists.left = changes.left.into_iter().collect();
    }
    Ok(lists)
}
