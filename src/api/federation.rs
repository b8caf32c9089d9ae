//! The Server-Server API: what other homeservers may ask, one file a module of ruma's.
pub mod authenticated_media;
pub mod authorization;
pub mod backfill;
pub mod device;
pub mod directory;
pub mod discovery;
pub mod event;
pub mod keys;
pub mod membership;
pub mod openid;
pub mod query;
pub mod space;
pub mod thirdparty;
pub mod transactions;

use super::router::{Route, route};

/// One line an endpoint.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(discovery::discover_homeserver),
        route(discovery::get_server_version),
        route(discovery::get_server_keys),
        route(discovery::get_remote_server_keys).costing(5),
        route(discovery::get_remote_server_keys_batch).costing(20),
        route(transactions::send_transaction_message),
        route(membership::prepare_join_event),
        route(membership::create_join_event).costing(20),
        route(membership::v1::create_join_event).costing(20),
        route(membership::prepare_knock_event),
        route(membership::create_knock_event),
        route(membership::create_invite),
        route(membership::v1::create_invite),
        route(membership::prepare_leave_event),
        route(membership::create_leave_event),
        route(membership::v1::create_leave_event),
        route(authorization::get_event_authorization).costing(10),
        route(event::get_event),
        route(event::get_event_by_timestamp),
        route(event::get_room_state_ids).costing(10),
        route(event::get_room_state).costing(20),
        route(event::get_missing_events).costing(5),
        route(backfill::get_backfill).costing(5),
        route(openid::get_openid_userinfo),
        route(authenticated_media::get_content),
        route(authenticated_media::get_content_thumbnail),
        route(device::get_devices),
        route(keys::get_keys).costing(5),
        route(keys::claim_keys).costing(5),
        route(thirdparty::exchange_invite).costing(20),
        route(thirdparty::bind_callback).costing(50),
        route(query::get_profile_information),
        route(query::get_room_information),
        route(directory::get_public_rooms).costing(5),
        route(directory::get_public_rooms_filtered).costing(5).omitting_null(),
        route(space::get_hierarchy).costing(5),
    ]
}
