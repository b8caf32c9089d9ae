//! Which room versions this homeserver speaks; the rules themselves are ruma's.
use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};
use thiserror::Error;

/// The version of rooms made here unless the client asks for another.
pub const DEFAULT_ROOM_VERSION: RoomVersionId = RoomVersionId::V12;

/// Every version a room here can have, oldest first.
pub const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("room version {0} is not supported")]
pub struct UnsupportedRoomVersion(pub RoomVersionId);

/// The rules of `version`, for the versions in [`SUPPORTED`].
pub fn rules(version: &RoomVersionId) -> Result<RoomVersionRules, UnsupportedRoomVersion> {
    SUPPORTED
        .contains(version)
        .then(|| version.rules())
        .flatten()
        .ok_or_else(|| UnsupportedRoomVersion(version.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_versions_have_rules() {
        assert!(SUPPORTED.iter().all(|version| rules(version).is_ok()));
        assert!(SUPPORTED.contains(&DEFAULT_ROOM_VERSION));
        for foreign in ["0", "13", "org.example.custom"] {
            let version = RoomVersionId::try_from(foreign).unwrap();
            assert_eq!(rules(&version).unwrap_err(), UnsupportedRoomVersion(version));
        }
    }
}
