//! EDUs from other servers: each type's own file says what it means and what is believed of it.
use std::rc::Rc;

use ruma::OwnedServerName;
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{Homeserver, heads};
use crate::ports::StoreError;

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawJsonValue,
}

/// Applies one EDU that `origin` sent. One that cannot be read or is of an unknown type is ignored, as the
/// specification asks.
pub async fn apply(server: &Rc<Homeserver>, origin: &OwnedServerName, edu: &RawJsonValue) -> Result<(), StoreError> {
    let Ok(Edu { edu_type, content }) = serde_json::from_str(edu.get()) else { return Ok(()) };
    match edu_type.as_str() {
        heads::HEADS_EDU_TYPE => {
            let Ok(content) = serde_json::from_str(content.get()) else { return Ok(()) };
            // Fetching asks the origin back; its transaction must not wait for that.
            let (task_server, origin) = (server.clone(), origin.clone());
            server.environment.tasks.spawn(Box::pin(async move {
                if let Err(error) = heads::compare(&task_server, &origin, content).await {
                    tracing::warn!(%origin, %error, "catching up failed");
                }
            }));
            Ok(())
        }
        _ => Ok(()),
    }
}
