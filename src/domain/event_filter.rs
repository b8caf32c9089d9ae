//! Which events a client's filter lets through (client-server API, "Filtering").
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId,
    api::client::filter::{Filter, RoomEventFilter, UrlFilter},
};
use serde::Deserialize;

use super::event::Pdu;

/// Whether a filter of a room's events lets `pdu` through. Which rooms it names is `allows_room`'s question.
pub fn allows_event(filter: &RoomEventFilter, pdu: &Pdu) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, &pdu.kind.to_string())
        && filter.senders.as_ref().is_none_or(|senders| senders.contains(&pdu.sender))
        && !filter.not_senders.contains(&pdu.sender)
        && filter.url_filter.is_none_or(|wanted| (wanted == UrlFilter::EventsWithUrl) == has_url(pdu))
}

/// Which events are wanted by what relates to them (MSC3440): parents of a relation of one of these types by one of these
/// senders. No list means any.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RelatedBy {
    #[serde(default, rename = "related_by_rel_types", alias = "io.element.relation_types")]
    pub rel_types: Option<Vec<String>>,
    #[serde(default, rename = "related_by_senders", alias = "io.element.relation_senders")]
    pub senders: Option<Vec<OwnedUserId>>,
}

impl RelatedBy {
    /// Whether every event is wanted, related to or not.
    pub fn wants_all(&self) -> bool {
        self.rel_types.is_none() && self.senders.is_none()
    }

    pub fn allows_type(&self, rel_type: &str) -> bool {
        self.rel_types.as_ref().is_none_or(|types| types.iter().any(|wanted| wanted == rel_type))
    }
}

/// Whether a filter lets through what has a type but neither sender nor content of interest: ephemeral events and
/// account data of a room.
pub fn allows_kind(filter: &RoomEventFilter, kind: &str) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, kind)
}

/// Whether a filter of global account data lets the type through.
pub fn allows_global(filter: &Filter, kind: &str) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, kind)
}

/// Whether lists of wanted and unwanted rooms let a room through. No list of wanted rooms means all.
pub fn allows_room(rooms: Option<&[OwnedRoomId]>, not_rooms: &[OwnedRoomId], room_id: &RoomId) -> bool {
    rooms.is_none_or(|rooms| rooms.iter().any(|room| room == room_id)) && !not_rooms.iter().any(|room| room == room_id)
}

fn allows_type(types: Option<&[String]>, not_types: &[String], kind: &str) -> bool {
    types.is_none_or(|types| types.iter().any(|pattern| matches(pattern, kind)))
        && !not_types.iter().any(|pattern| matches(pattern, kind))
}

/// Whether `pattern`, in which `*` stands for any characters, matches the whole of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves most for the parts that follow.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn has_url(pdu: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        url: serde_json::Value,
    }
    serde_json::from_str::<Content>(pdu.content.get()).is_ok_and(|content| content.url.is_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stand_for_any_characters() {
        for (pattern, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.reaction", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*.name", "m.room.name", true),
            ("m.*.*e", "m.room.name", true),
            ("a*a", "a", false),
            ("a**b", "ab", true),
            ("*ab*ab*", "xababx", true),
            ("*ab*ab", "xab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// The definition, slow and plain.
    fn matches_slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| matches_slowly(rest, &text[skipped..])),
            Some((byte, rest)) => text.first() == Some(byte) && matches_slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_follows_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), matches_slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn no_list_of_wanted_means_all_and_an_empty_one_means_none() {
        assert!(allows_kind(&RoomEventFilter::default(), "m.typing"));
        assert!(!allows_kind(&RoomEventFilter::ignore_all(), "m.typing"));
        let mut filter = RoomEventFilter::default();
        filter.not_types = vec!["m.*".to_owned()];
        filter.types = Some(vec!["m.typing".to_owned()]);
        assert!(!allows_kind(&filter, "m.typing"), "unwanted wins");
        let room = ruma::room_id!("!a:x.alt");
        assert!(allows_room(None, &[], room));
        assert!(!allows_room(Some(&[]), &[], room));
        assert!(!allows_room(None, &[room.to_owned()], room));
        assert!(allows_room(Some(&[room.to_owned()]), &[], room));
    }
}
