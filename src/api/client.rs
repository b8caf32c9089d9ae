//! The Client-Server API: one file a module of ruma's, whose handlers parse nothing and decide nothing.
pub mod account;
pub mod admin;
pub mod alias;
pub mod config;
pub mod context;
pub mod delayed_events;
pub mod device;
pub mod directory;
pub mod discovery;
pub mod filter;
pub(super) mod json;
mod json_answer;
pub mod keys;
pub mod knock;
pub mod membership;
pub mod message;
mod own_endpoint;
pub mod peeking;
pub mod presence;
pub mod profile;
pub mod push;
mod query;
pub mod read_marker;
pub mod receipt;
pub mod redact;
pub mod relations;
pub mod reporting;
mod reshaped;
pub mod room;
pub mod rtc;
pub mod session;
pub mod space;
pub mod state;
pub mod synapse_admin;
pub mod sync;
pub mod tag;
pub mod threads;
pub mod to_device;
pub mod typing;
pub mod uiaa;
pub mod user_directory;
pub mod voip;
pub mod warren;

use ruma::{CanonicalJsonObject, UInt};
use serde_json::value::RawValue as RawJsonValue;

use super::{
    ApiError,
    federation::openid,
    router::{Route, route},
};

/// One line an endpoint.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(account::change_password),
        route(account::check_registration_token_validity),
        route(account::deactivate),
        route(account::get_username_availability),
        route(account::register).entrance(),
        route(account::request_openid_token),
        route(account::third_party_ids::add_3pid),
        route(account::third_party_ids::bind_3pid),
        route(account::third_party_ids::delete_3pid),
        route(account::third_party_ids::get_3pids),
        route(account::third_party_ids::post_3pids),
        route(account::third_party_ids::request_3pid_management_token_via_email),
        route(account::third_party_ids::request_3pid_management_token_via_msisdn),
        route(account::third_party_ids::request_password_change_token_via_email),
        route(account::third_party_ids::request_password_change_token_via_msisdn),
        route(account::third_party_ids::request_registration_token_via_email),
        route(account::third_party_ids::request_registration_token_via_msisdn),
        route(account::third_party_ids::unbind_3pid),
        route(account::whoami),
        route(admin::get_user_info),
        route(admin::is_user_locked),
        route(admin::is_user_suspended),
        route(admin::lock_user),
        route(admin::suspend_user),
        route(alias::create_alias),
        route(alias::delete_alias),
        route(alias::get_alias).costing(2),
        route(config::get_global_account_data),
        route(config::get_room_account_data),
        route(config::set_global_account_data),
        route(config::set_room_account_data),
        route(context::get_context),
        route(delayed_events::act_on_delayed_event),
        route(delayed_events::get_all_delayed_events),
        route(delayed_events::get_delayed_event),
        route(delayed_events::send_delayed_event),
        route(delayed_events::update_delayed_event),
        route(device::delete_device),
        route(device::delete_devices),
        route(device::get_device),
        route(device::get_devices),
        route(device::update_device),
        route(directory::get_public_rooms).costing(5),
        route(directory::get_public_rooms_filtered).costing(5),
        route(directory::get_room_visibility),
        route(directory::set_room_visibility),
        route(discovery::discover_homeserver),
        route(discovery::discover_support),
        route(discovery::get_capabilities),
        route(discovery::get_supported_versions),
        route(filter::create_filter),
        route(filter::get_filter),
        route(keys::get_key_changes).costing(2),
        route(knock::knock_room),
        route(membership::ban_user),
        route(membership::forget_room),
        route(membership::get_member_events),
        route(membership::get_mutual_rooms),
        route(membership::get_mutual_rooms_unstable),
        route(membership::invite_user),
        route(membership::join_room_by_id),
        route(membership::join_room_by_id_or_alias),
        route(membership::joined_members),
        route(membership::joined_rooms),
        route(membership::kick_user),
        route(membership::leave_room),
        route(membership::unban_user),
        route(message::get_message_events),
        route(message::send_message_event),
        route(peeking::get_current_state),
        route(peeking::get_one_event).also("/_matrix/client/r0/events/{event_id}"),
        route(peeking::initial_sync).costing(10).also("/_matrix/client/r0/initialSync"),
        route(peeking::listen_to_new_events).also("/_matrix/client/r0/events").abandonable(),
        route(presence::get_presence),
        route(presence::set_presence),
        route(profile::delete_profile_field),
        route(profile::get_profile),
        route(profile::get_profile_field),
        route(profile::set_profile_field),
        route(push::delete_pushrule),
        route(push::get_notifications),
        route(push::get_pushers),
        route(push::get_pushrule),
        route(push::get_pushrule_actions),
        route(push::get_pushrule_enabled),
        route(push::get_pushrules_all),
        route(push::get_pushrules_global_scope),
        route(push::set_pusher),
        route(push::set_pushrule),
        route(push::set_pushrule_actions),
        route(push::set_pushrule_enabled),
        route(read_marker::set_read_marker),
        route(receipt::create_receipt),
        route(redact::redact_event),
        route(relations::get_relating_events),
        route(relations::get_relating_events_with_rel_type),
        route(relations::get_relating_events_with_rel_type_and_event_type),
        route(reporting::report_content),
        route(reporting::report_room),
        route(reporting::report_user),
        route(room::aliases),
        route(room::create_room).costing(5),
        route(room::get_event_by_timestamp).costing(2),
        route(room::get_room_event),
        route(room::get_summary)
            .costing(10)
            .also("/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}"),
        route(rtc::get_transports),
        route(room::upgrade_room).costing(5),
        route(session::get_login_token),
        route(session::get_login_types),
        route(session::login).entrance(),
        route(session::logout),
        route(session::logout_all),
        route(session::refresh_token).entrance(),
        route(space::get_hierarchy).costing(10),
        route(state::get_state_event_for_key)
            .also("/_matrix/client/r0/rooms/{room_id}/state/{event_type}")
            .also("/_matrix/client/v3/rooms/{room_id}/state/{event_type}"),
        route(state::get_state_events),
        route(state::send_state_event)
            .also("/_matrix/client/r0/rooms/{room_id}/state/{event_type}")
            .also("/_matrix/client/v3/rooms/{room_id}/state/{event_type}"),
        route(sync::sync_events).abandonable(),
        route(synapse_admin::delete_registration_token),
        route(synapse_admin::get_registration_token),
        route(synapse_admin::list_registration_tokens),
        route(synapse_admin::new_registration_token),
        route(synapse_admin::put_server_notice),
        route(synapse_admin::reports::delete_event_report),
        route(synapse_admin::reports::delete_room_report),
        route(synapse_admin::reports::delete_user_report),
        route(synapse_admin::reports::get_event_report),
        route(synapse_admin::reports::get_user_report),
        route(synapse_admin::reports::list_event_reports),
        route(synapse_admin::reports::list_room_reports),
        route(synapse_admin::reports::list_user_reports),
        route(synapse_admin::send_server_notice),
        route(synapse_admin::set_registration_token),
        route(tag::create_tag),
        route(tag::delete_tag),
        route(tag::get_tags),
        route(threads::get_threads),
        route(to_device::send_event_to_device).costing(2),
        route(typing::create_typing_event),
        route(uiaa::complete_on_fallback_page).entrance(),
        route(uiaa::get_uiaa_fallback_page),
        route(user_directory::search_users).costing(5),
        route(voip::get_turn_server_info),
        route(warren::add_address_hints),
        // For services that are shown OpenID tokens, and reach homeservers by HTTP only.
        route(openid::get_openid_userinfo),
    ]
}

/// Content of an event to be: events are canonical JSON, which has no fractions and no large numbers.
fn canonical_content(raw: &RawJsonValue) -> Result<CanonicalJsonObject, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|error| ApiError::bad_json(format!("Not the content of an event: {error}.")))
}

/// The size of a page that a client asks for, which is at least one.
fn positive_limit(limit: Option<UInt>) -> Result<Option<usize>, ApiError> {
    match limit {
        Some(UInt::MIN) => Err(ApiError::invalid_param("`limit` is zero.")),
        limit => Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))),
    }
}
