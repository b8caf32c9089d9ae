//! One file a table. Ids are never reused.
pub mod access_tokens;
pub mod account_data;
pub mod aliases;
pub mod client_txns;
pub mod cross_signing_keys;
pub mod delayed_events;
pub mod departures;
pub mod device_lists;
pub mod devices;
pub mod erasures;
pub mod events;
pub mod filters;
pub mod gaps;
pub mod indexed_rooms;
pub mod listed_devices;
pub mod login_tokens;
pub mod memberships;
pub mod notifications;
pub mod notified;
pub mod openid_tokens;
pub mod outbox;
pub mod pending_redactions;
pub mod positions;
pub mod presence;
pub mod published_rooms;
pub mod purges;
pub mod pusher_owners;
pub mod pushers;
pub mod receipts;
pub mod received_txns;
pub mod refresh_tokens;
pub mod registration_tokens;
pub mod related;
pub mod relations;
pub mod reports;
pub mod room_members;
pub mod rooms;
pub mod schema;
pub mod server_addresses;
pub mod server_identity;
pub mod server_keys;
pub mod staged_pdus;
pub mod states;
pub mod threads;
pub mod timeline;
pub mod to_device;
pub mod to_device_ids;
pub mod user_terms;
pub mod users;

pub use self::{
    access_tokens::{AccessTokenRow, AccessTokens},
    account_data::{AccountData, AccountDataRow},
    aliases::{AliasRow, Aliases},
    client_txns::{ClientTxnRow, ClientTxns},
    cross_signing_keys::{CrossSigningKeys, CrossSigningRow},
    delayed_events::{DelayedEventRow, DelayedEvents, DelayedOutcome, FinalisedRow},
    departures::Departures,
    device_lists::{DeviceListCopy, DeviceListRow, DeviceLists},
    devices::{DeviceRow, Devices, NextTokens},
    erasures::{ErasureRow, Erasures},
    events::{EventHeader, EventRow, Events, StoredVerdict},
    filters::Filters,
    gaps::{GapRow, Gaps},
    indexed_rooms::{IndexedRoomRow, IndexedRooms},
    listed_devices::{ListedDeviceRow, ListedDevices},
    login_tokens::{LoginTokenRow, LoginTokens},
    memberships::{MembershipRow, Memberships},
    notifications::{NotificationRow, Notifications},
    notified::{Notified, NotifiedRow},
    openid_tokens::{OpenIdTokenRow, OpenIdTokens},
    outbox::{Outbox, OutboxRow},
    pending_redactions::PendingRedactions,
    positions::{Positions, PositionsRow},
    presence::{Presence, PresenceRow},
    published_rooms::PublishedRooms,
    purges::{PurgeRow, Purges},
    pusher_owners::PusherOwners,
    pushers::{PusherRow, Pushers},
    receipts::{ReceiptRow, Receipts},
    received_txns::{ReceivedTxnRow, ReceivedTxns},
    refresh_tokens::{RefreshTokenRow, RefreshTokens},
    registration_tokens::{RegistrationTokenRow, RegistrationTokens},
    related::{Related, RelatedRow, ThreadTally},
    relations::{RelationRow, Relations},
    reports::{ReportRow, Reported, Reports},
    room_members::{RoomMemberRow, RoomMembers},
    rooms::{RelationsIndex, RoomRow, Rooms},
    schema::{SCHEMA_VERSION, Schema, SchemaRow},
    server_addresses::{ServerAddresses, ServerAddressesRow},
    server_identity::{FormerKeyRow, ServerIdentity, ServerIdentityRow},
    server_keys::{KeysAnswerRow, ServerKeys, ServerKeysRow},
    staged_pdus::{StagedPduRow, StagedPdus},
    states::{StateRow, States},
    threads::Threads,
    timeline::Timeline,
    to_device::{ToDevice, ToDeviceRow},
    to_device_ids::{ToDeviceIdRow, ToDeviceIds},
    user_terms::UserTerms,
    users::{UserRow, Users},
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{Key, KeyReader, Row, Table};

    /// The ids in use; a duplicate or a change of one is data loss.
    const IDS: [(u8, &str); 49] = [
        (Schema::ID, "schema"),
        (ServerIdentity::ID, "server_identity"),
        (Positions::ID, "positions"),
        (Users::ID, "users"),
        (AccessTokens::ID, "access_tokens"),
        (Devices::ID, "devices"),
        (LoginTokens::ID, "login_tokens"),
        (Filters::ID, "filters"),
        (AccountData::ID, "account_data"),
        (ClientTxns::ID, "client_txns"),
        (Aliases::ID, "aliases"),
        (PublishedRooms::ID, "published_rooms"),
        (Rooms::ID, "rooms"),
        (Timeline::ID, "timeline"),
        (Events::ID, "events"),
        (RoomMembers::ID, "room_members"),
        (Memberships::ID, "memberships"),
        (Outbox::ID, "outbox"),
        (ReceivedTxns::ID, "received_txns"),
        (Receipts::ID, "receipts"),
        (StagedPdus::ID, "staged_pdus"),
        (Gaps::ID, "gaps"),
        (Notifications::ID, "notifications"),
        (PendingRedactions::ID, "pending_redactions"),
        (States::ID, "states"),
        (ServerAddresses::ID, "server_addresses"),
        (Relations::ID, "relations"),
        (Related::ID, "related"),
        (Threads::ID, "threads"),
        (DelayedEvents::ID, "delayed_events"),
        (Notified::ID, "notified"),
        (Pushers::ID, "pushers"),
        (PusherOwners::ID, "pusher_owners"),
        (Presence::ID, "presence"),
        (RefreshTokens::ID, "refresh_tokens"),
        (OpenIdTokens::ID, "openid_tokens"),
        (Departures::ID, "departures"),
        (Erasures::ID, "erasures"),
        (RegistrationTokens::ID, "registration_tokens"),
        (UserTerms::ID, "user_terms"),
        (IndexedRooms::ID, "indexed_rooms"),
        (Reports::ID, "reports"),
        (Purges::ID, "purges"),
        (ServerKeys::ID, "server_keys"),
        (ToDevice::ID, "to_device"),
        (ToDeviceIds::ID, "to_device_ids"),
        (DeviceLists::ID, "device_lists"),
        (ListedDevices::ID, "listed_devices"),
        (CrossSigningKeys::ID, "cross_signing_keys"),
    ];

    #[test]
    fn ids_are_unique_and_stable() {
        let ids: Vec<u8> = IDS.iter().map(|(id, _)| *id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{IDS:?}");
        assert_eq!((Users::ID, Events::ID, States::ID), (4, 15, 26));
    }

    fn round_trip<T: Table>(key: &T::Key) -> bool
    where
        T::Key: PartialEq,
    {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        T::Key::decode(&mut KeyReader(&bytes)).as_ref() == Some(key)
    }

    proptest! {
        #[test]
        fn keys_of_identifiers_round_trip(local in "[a-z0-9]{1,20}", text: String, number: u64, order: i64) {
            let user = ruma::UserId::parse(format!("@{local}:example.org")).unwrap();
            let room = ruma::RoomId::parse(format!("!{local}:example.org")).unwrap();
            let event = ruma::EventId::parse(format!("${local}")).unwrap();
            prop_assert!(round_trip::<AccountData>(&(user.clone(), text.clone(), text.clone())));
            prop_assert!(round_trip::<Receipts>(&(room.clone(), user.clone(), text.clone(), text.clone())));
            prop_assert!(round_trip::<Notifications>(&(user.clone(), room.clone(), order)));
            prop_assert!(round_trip::<Timeline>(&(number, order)));
            prop_assert!(round_trip::<ClientTxns>(&(user, text.as_str().into(), text)));
            prop_assert!(round_trip::<StagedPdus>(&(room, event)));
        }

        #[test]
        fn an_event_row_keeps_its_pdu_byte_for_byte(json in "\\{[^\u{0}]{0,40}\\}", order: Option<i64>, room: u64) {
            let header = EventHeader {
                room, order, state_before: Some(3), state_after: None, state_current: Some(room), verdict: StoredVerdict::SoftFailed,
                redacted_by: None, client_txn: Some(("DEVICE".into(), "txn".to_owned())), delay_id: None,
            };
            let row = EventRow { header, json };
            prop_assert_eq!(EventRow::from_bytes(&row.to_bytes()).unwrap(), row);
        }

        #[test]
        fn garbage_rows_are_errors(bytes: Vec<u8>) {
            let _ = EventRow::from_bytes(&bytes);
            let _ = StateRow::from_bytes(&bytes);
        }
    }
}
