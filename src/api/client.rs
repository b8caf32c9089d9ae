//! The Client-Server API: one file a module of ruma's, whose handlers parse nothing and decide nothing.
pub mod alias;
pub mod discovery;
pub mod membership;
pub mod message;
pub mod redact;
pub mod room;
pub mod state;

use ruma::CanonicalJsonObject;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    ApiError,
    router::{Route, route},
};

/// One line an endpoint.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(discovery::get_supported_versions),
        route(room::create_room),
        route(room::aliases),
        route(alias::create_alias),
        route(alias::get_alias),
        route(alias::delete_alias),
        route(membership::join_room_by_id),
        route(membership::join_room_by_id_or_alias),
        route(membership::invite_user),
        route(membership::leave_room),
        route(membership::forget_room),
        route(membership::kick_user),
        route(membership::ban_user),
        route(membership::unban_user),
        route(message::send_message_event),
        route(state::send_state_event),
        route(redact::redact_event),
    ]
}

/// Content of an event to be: events are canonical JSON, which has no fractions and no large numbers.
fn canonical_content(raw: &RawJsonValue) -> Result<CanonicalJsonObject, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|error| ApiError::bad_json(format!("Not the content of an event: {error}.")))
}
