//! What this server speaks and allows, and where it is.
use std::rc::Rc;

use ruma::{
    RoomVersionId,
    api::client::discovery::{
        discover_homeserver::{self, HomeserverInfo},
        get_capabilities::{
            self,
            v3::{
                Capabilities, ChangePasswordCapability, GetLoginTokenCapability, ProfileFieldsCapability,
                RoomVersionStability, RoomVersionsCapability, ThirdPartyIdChangesCapability,
            },
        },
        get_supported_versions,
    },
};

use crate::{
    api::ApiError,
    domain::room_version,
    homeserver::{Homeserver, sessions::Session},
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

/// `GET /_matrix/client/v3/capabilities` (client-server API, "Capabilities negotiation")
pub async fn get_capabilities(
    homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: get_capabilities::v3::Request,
) -> Result<get_capabilities::v3::Response, ApiError> {
    let stable = |version: &RoomVersionId| (version.clone(), RoomVersionStability::Stable);
    let mut capabilities = Capabilities::new();
    capabilities.room_versions = RoomVersionsCapability::new(
        homeserver.options.default_room_version.clone(),
        room_version::SUPPORTED.iter().map(stable).collect(),
    );
    capabilities.change_password = ChangePasswordCapability::new(false);
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    let mut login_token = GetLoginTokenCapability::default();
    login_token.enabled = true;
    capabilities.get_login_token = login_token;
    capabilities.profile_fields = Some(ProfileFieldsCapability::new(true));
    Ok(get_capabilities::v3::Response::new(capabilities))
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
