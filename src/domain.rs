//! Pure rules about rooms: no `async`, no clock, no I/O. Time and randomness arrive as arguments.
pub mod cross_signing;
pub mod device_list;
pub mod event;
pub mod event_fields;
pub mod event_filter;
pub mod identity;
pub mod outbox;
pub mod presence;
pub mod push_rules;
pub mod rate_limit;
pub mod room;
pub mod room_version;
pub mod server_keys;
pub mod signed_request;
pub mod sized_cache;
pub mod sync_token;
pub mod ties;
pub mod turnstile;
pub mod typing;
pub mod user_terms;
pub mod zone;

#[cfg(test)]
pub(crate) mod test_room;
