//! The table of the specification, and the two kinds of event that are seen from both sides.
use ruma::RoomVersionId;
use serde_json::json;

use super::*;
use crate::domain::test_room::{TestRoom, identity, user};

fn view(visibility: &str, membership: &str, joined_since: bool) -> Viewpoint {
    Viewpoint { visibility: visibility.into(), membership: membership.into(), joined_since }
}

#[test]
fn the_table() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let message = room.send(0, "m.room.message", json!({ "body": "hello" }));
    // visibility, membership at the event, joined since, may see
    for (visibility, membership, since, sees) in [
        ("world_readable", "leave", false, true),
        ("world_readable", "ban", false, true),
        ("shared", "join", false, true),
        ("shared", "leave", true, true),
        ("shared", "invite", true, true),
        ("shared", "leave", false, false),
        ("shared", "invite", false, false),
        ("shared", "ban", false, false),
        ("invited", "join", false, true),
        ("invited", "invite", false, true),
        ("invited", "leave", true, false),
        ("invited", "knock", true, false),
        ("joined", "join", false, true),
        ("joined", "invite", true, false),
        ("joined", "leave", true, false),
        ("joined", "ban", true, false),
    ] {
        let view = view(visibility, membership, since);
        assert_eq!(user_may_see(&message, &user(1), &view), sees, "{view:?}");
        assert_eq!(server_may_see(&message, identity(1).server_name(), &view), sees, "{view:?}");
    }
}

#[test]
fn own_membership_is_seen_from_both_sides() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let join = room.member(1, 1, "join");
    let leave = room.member(1, 1, "leave");
    let invite = room.member(0, 2, "invite");
    let sees = |pdu: &Pdu, n: u8, view: &Viewpoint| {
        let server = identity(n);
        assert_eq!(user_may_see(pdu, &user(n), view), server_may_see(pdu, server.server_name(), view));
        user_may_see(pdu, &user(n), view)
    };
    assert!(sees(&join, 1, &view("joined", "leave", true)), "own join");
    assert!(!sees(&join, 2, &view("joined", "leave", true)), "another's join");
    assert!(sees(&leave, 1, &view("joined", "join", false)), "own leave");
    assert!(sees(&invite, 2, &view("invited", "leave", false)), "own invite where that shows the room");
    assert!(!sees(&invite, 2, &view("joined", "leave", false)), "own invite where it does not");
    assert!(!sees(&leave, 1, &view("joined", "ban", false)), "neither side");
    // Another user of the same server is another user, but the same server.
    let roommate: ruma::OwnedUserId = format!("@other:{}", identity(1).server_name()).parse().unwrap();
    assert!(!user_may_see(&join, &roommate, &view("joined", "leave", false)));
    assert!(server_may_see(&join, identity(1).server_name(), &view("joined", "leave", false)));
}

#[test]
fn a_change_of_visibility_is_seen_from_both_sides() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    let mut change = |to: &str| room.set(0, "m.room.history_visibility", "", json!({ "history_visibility": to }));
    let (opened, closed) = (change("world_readable"), change("joined"));
    assert!(user_may_see(&opened, &user(1), &view("joined", "leave", false)));
    assert!(user_may_see(&closed, &user(1), &view("world_readable", "leave", false)));
    assert!(!user_may_see(&closed, &user(1), &view("joined", "leave", false)));
    // Only the one that counts: elsewhere in the state it is an ordinary event.
    let elsewhere = room.set(0, "m.room.history_visibility", "x", json!({ "history_visibility": "world_readable" }));
    assert!(!user_may_see(&elsewhere, &user(1), &view("joined", "leave", false)));
}

#[test]
fn without_a_setting_history_is_shared_and_with_an_unknown_one_it_is_not() {
    let mut room = TestRoom::new(RoomVersionId::V12);
    assert_eq!(visibility_of(None), HistoryVisibility::Shared);
    for (content, expected) in [
        (json!({ "history_visibility": "world_readable" }), HistoryVisibility::WorldReadable),
        (json!({ "history_visibility": "invited" }), HistoryVisibility::Invited),
        (json!({ "history_visibility": "org.example.new" }), HistoryVisibility::Joined),
        (json!({ "history_visibility": 3 }), HistoryVisibility::Joined),
        (json!({}), HistoryVisibility::Joined),
    ] {
        let event = room.set(0, "m.room.history_visibility", "", content);
        assert_eq!(visibility_of(Some(&event)), expected);
    }
}

#[test]
fn the_closest_member_of_a_server_counts() {
    use MembershipState::{Ban, Invite, Join, Leave};
    assert_eq!(closest([&Leave, &Join, &Invite]), Join);
    assert_eq!(closest([&Ban, &Invite]), Invite);
    assert_eq!(closest([]), Leave);
}
