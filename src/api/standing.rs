//! Which endpoints are open to those who may not use them all: guests, suspended users and locked ones. Endpoints that are
//! not named here are not.
use http::{Method, StatusCode};
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::homeserver::sessions::Standing;

/// What guests may use (client-server API, "Guest Access"), and what their clients cannot do without: filters of a
/// sync, capabilities, joining by alias, and logging out.
const FOR_GUESTS: &[&str] = &[
    "client::account::whoami",
    "client::context::get_context",
    "client::device::get_device",
    "client::device::get_devices",
    "client::device::update_device",
    "client::discovery::get_capabilities",
    "client::discovery::get_supported_versions",
    "client::filter::create_filter",
    "client::filter::get_filter",
    "client::membership::get_member_events",
    "client::membership::join_room_by_id",
    "client::membership::join_room_by_id_or_alias",
    "client::membership::leave_room",
    "client::message::get_message_events",
    "client::message::send_message_event",
    "client::peeking::get_current_state",
    // Of one room only.
    "client::peeking::listen_to_new_events",
    // The display name only.
    "client::profile::set_profile_field",
    "client::room::get_room_event",
    "client::session::logout",
    "client::session::logout_all",
    "client::state::get_state_event_for_key",
    "client::state::get_state_events",
    "client::state::send_state_event",
    "client::sync::sync_events",
    "client::to_device::send_event_to_device",
];

/// What suspended users may do beside reading (client-server API, "Account suspension"): look after their account and
/// devices, leave, and take back what they said. Nobody else hears of anything else here.
const WHILE_SUSPENDED: &[&str] = &[
    "client::account::change_password",
    "client::account::deactivate",
    "client::config::set_global_account_data",
    "client::config::set_room_account_data",
    "client::device::delete_device",
    "client::device::delete_devices",
    "client::device::update_device",
    "client::directory::get_public_rooms_filtered",
    "client::filter::create_filter",
    "client::membership::forget_room",
    "client::membership::leave_room",
    "client::push::delete_pushrule",
    "client::push::set_pushrule",
    "client::push::set_pushrule_actions",
    "client::push::set_pushrule_enabled",
    "client::read_marker::set_read_marker",
    "client::receipt::create_receipt",
    // Their own events only.
    "client::redact::redact_event",
    "client::session::get_login_token",
    "client::session::logout",
    "client::session::logout_all",
    "client::tag::create_tag",
    "client::tag::delete_tag",
    "client::user_directory::search_users",
    "client::warren::add_address_hints",
];

/// What locked users may do (client-server API, "Account locking").
const WHILE_LOCKED: &[&str] = &["client::session::logout", "client::session::logout_all"];

/// Whom an endpoint is open to beside ordinary users.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    guests: bool,
    suspended: bool,
    locked: bool,
}

impl Access {
    /// Of the endpoint that the handler of this name answers.
    pub fn of(method: &Method, handler: &str) -> Self {
        Self {
            guests: FOR_GUESTS.contains(&handler),
            suspended: method == Method::GET || WHILE_SUSPENDED.contains(&handler),
            locked: WHILE_LOCKED.contains(&handler),
        }
    }

    pub fn check(self, standing: Standing) -> Result<(), ApiError> {
        if standing.locked && !self.locked {
            return Err(ApiError::locked());
        }
        if standing.suspended && !self.suspended {
            return Err(ApiError::suspended());
        }
        if standing.guest && !self.guests {
            let message = "Guests may not use this: make an account of it first.";
            return Err(ApiError::new(StatusCode::FORBIDDEN, ErrorKind::GuestAccessForbidden, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_served() {
        let served: Vec<&str> = crate::api::operations().iter().map(|operation| operation.handler).collect();
        for handler in [FOR_GUESTS, WHILE_SUSPENDED, WHILE_LOCKED].concat() {
            assert!(served.contains(&handler), "{handler} is not");
        }
    }
}
