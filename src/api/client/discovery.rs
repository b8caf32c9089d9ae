//! What this server speaks and allows, and where it is.
use std::{collections::BTreeMap, rc::Rc};

use ruma::api::client::discovery::{
    discover_homeserver::{self, HomeserverInfo},
    discover_support::{self, Contact, ContactRole},
    get_capabilities, get_supported_versions,
};
use serde_json::json;

use super::json_answer::{AnsweredByJson, JsonAnswer};
use crate::{
    api::ApiError,
    domain::room_version,
    homeserver::{
        Homeserver, SupportContact, administration,
        delayed_events::{DELAY_MAX_MS, SCHEDULED_PER_USER_MAX},
        sessions::Session,
    },
};

/// Versions of the specification whose rules hold for everything that is served here. What is not served answers
/// `M_UNRECOGNIZED`, as the specification has clients expect. 1.16 is where the newest of what is here comes from: room
/// version 12 and profile fields of any name.
const SPEC_VERSIONS: [&str; 16] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16",
];

/// What is served besides, as clients ask for it.
const UNSTABLE_FEATURES: [&str; 5] = [
    "org.matrix.msc4140",
    "org.matrix.msc4143",
    "uk.half-shot.msc2666.query_mutual_rooms",
    "uk.half-shot.msc2666.query_mutual_rooms.stable",
    "warren.address_hints",
];

/// `GET /_matrix/client/versions` (client-server API, "API Versions")
pub async fn get_supported_versions(
    _homeserver: &Rc<Homeserver>,
    _session: Option<Session>,
    _request: get_supported_versions::Request,
) -> Result<get_supported_versions::Response, ApiError> {
    let mut response = get_supported_versions::Response::new(SPEC_VERSIONS.map(str::to_owned).into());
    for feature in UNSTABLE_FEATURES {
        response.unstable_features.insert(feature.to_owned(), true);
    }
    Ok(response)
}

/// `GET /_matrix/client/v3/capabilities` (client-server API, "Capabilities negotiation"). All of them are told, those too
/// that are as clients assume: ruma would leave them out.
pub async fn get_capabilities(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: AnsweredByJson<get_capabilities::v3::Request>,
) -> Result<JsonAnswer, ApiError> {
    let versions: BTreeMap<&str, &str> =
        room_version::SUPPORTED.iter().map(|version| (version.as_str(), "stable")).collect();
    let may_act = !session.standing.guest;
    let mut capabilities = json!({
        "m.room_versions": { "default": homeserver.options.default_room_version, "available": versions },
        "m.change_password": { "enabled": may_act },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": may_act },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": may_act },
        "m.profile_fields": if may_act { json!({ "enabled": true }) } else { json!({ "enabled": true, "allowed": ["displayname"] }) },
    });
    if may_act {
        let limits = json!({ "max_delay_ms": DELAY_MAX_MS, "max_scheduled": SCHEDULED_PER_USER_MAX });
        capabilities["org.matrix.msc4140.delayed_events"] = limits;
    }
    if administration::is_admin(homeserver, &session.user_id).await? {
        capabilities["m.account_moderation"] = json!({ "suspend": true, "lock": true });
    }
    Ok(JsonAnswer(json!({ "capabilities": capabilities })))
}

/// `GET /.well-known/matrix/client` (client-server API, "Server discovery")
pub async fn discover_homeserver(
    homeserver: &Rc<Homeserver>,
    _: (),
    _request: discover_homeserver::Request,
) -> Result<discover_homeserver::Response, ApiError> {
    let base_url = homeserver.options.client_base_url.clone();
    let base_url = base_url.ok_or_else(|| ApiError::not_found("This homeserver is only where you found it."))?;
    Ok(discover_homeserver::Response::new(HomeserverInfo::new(base_url)))
}

/// `GET /.well-known/matrix/support` (client-server API, "Server discovery")
pub async fn discover_support(
    homeserver: &Rc<Homeserver>,
    _: (),
    _request: discover_support::Request,
) -> Result<discover_support::Response, ApiError> {
    let support = homeserver.options.support.clone();
    let support = support.ok_or_else(|| ApiError::not_found("Whoever runs this homeserver names nobody to ask."))?;
    let contact = support.contact.map(|contact| match contact {
        SupportContact::User(user_id) => Contact::with_matrix_id(ContactRole::Admin, user_id),
        SupportContact::Email(address) => Contact::with_email_address(ContactRole::Admin, address),
    });
    let mut response = discover_support::Response::with_contacts(contact.into_iter().collect());
    response.support_page = support.page;
    Ok(response)
}
