//! How one event points at another (client-server API, "Forming relationships between events").
use ruma::OwnedEventId;
use serde::Deserialize;

use super::Pdu;

/// The most bytes of a relation's type. What is longer is no relation here: types become part of keys.
pub const RELATION_TYPE_MAX_BYTES: usize = 255;
/// The most characters kept of an annotation's key, by which equal annotations are told.
const ANNOTATION_KEY_CHARS_MAX: usize = 255;

pub const ANNOTATION: &str = "m.annotation";
pub const REFERENCE: &str = "m.reference";
pub const REPLACE: &str = "m.replace";
pub const THREAD: &str = "m.thread";

/// A relation an event states. Whether the rules of its type make it void is for whoever reads it to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub rel_type: String,
    /// The event it relates to.
    pub parent: OwnedEventId,
    /// Of an annotation: what tells it from others, such as an emoji.
    pub key: Option<String>,
}

/// The relation that `content` states, if it has the shape of one. Rich replies have no type and are none.
pub fn relation_in(content: &str) -> Option<Relation> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: RelatesTo,
    }
    #[derive(Deserialize)]
    struct RelatesTo {
        rel_type: String,
        event_id: OwnedEventId,
        #[serde(default)]
        key: serde_json::Value,
    }
    // Canonical JSON has one spelling of the name, and most events have no relation.
    if !content.contains("\"m.relates_to\"") {
        return None;
    }
    let RelatesTo { rel_type, event_id, key } = serde_json::from_str::<Content>(content).ok()?.relates_to;
    if rel_type.is_empty() || rel_type.len() > RELATION_TYPE_MAX_BYTES {
        return None;
    }
    let key = key.as_str().filter(|_| rel_type == ANNOTATION);
    let key = key.map(|key| key.chars().take(ANNOTATION_KEY_CHARS_MAX).collect());
    Some(Relation { rel_type, parent: event_id, key })
}

impl Pdu {
    /// What the event relates to.
    pub fn relation(&self) -> Option<Relation> {
        relation_in(self.content.get())
    }

    /// Whether the event, if it says that it replaces one, may (client-server API, "Validity of replacement events").
    pub fn may_replace(&self, original: &Self) -> bool {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.new_content")]
            _new_content: serde_json::Map<String, serde_json::Value>,
        }
        let is_replacement = |relation: Relation| relation.rel_type == REPLACE;
        // Of an encrypted event the new content is inside, where only its readers see it.
        let has_new_content =
            self.kind.to_string() == "m.room.encrypted" || serde_json::from_str::<Content>(self.content.get()).is_ok();
        self.room_id == original.room_id
            && self.sender == original.sender
            && self.kind == original.kind
            && self.state_key.is_none()
            && original.state_key.is_none()
            && !original.relation().is_some_and(is_replacement)
            && has_new_content
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_relation_has_a_type_and_an_event() {
        let relation = |content: &str| relation_in(content).map(|relation| (relation.rel_type, relation.key));
        let of = |rel_type: &str, key: Option<&str>| Some((rel_type.to_owned(), key.map(ToOwned::to_owned)));
        assert_eq!(relation(r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"$a"}}"#), of("m.thread", None));
        let annotation = r#"{"m.relates_to":{"rel_type":"m.annotation","event_id":"$a","key":"x"}}"#;
        assert_eq!(relation(annotation), of("m.annotation", Some("x")));
        for none in [
            "{}",
            r#"{"m.relates_to":null}"#,
            r#"{"m.relates_to":{"m.in_reply_to":{"event_id":"$a"}}}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"a"}}"#,
            r#"{"m.relates_to":{"rel_type":"","event_id":"$a"}}"#,
            r#"{"m.relates_to":{"rel_type":7,"event_id":"$a"}}"#,
            r#"{"body":"\"m.relates_to\""}"#,
        ] {
            assert_eq!(relation(none), None, "{none}");
        }
        let long = "r".repeat(RELATION_TYPE_MAX_BYTES + 1);
        assert_eq!(relation(&format!(r#"{{"m.relates_to":{{"rel_type":"{long}","event_id":"$a"}}}}"#)), None);
    }

    proptest! {
        #[test]
        fn garbage_is_no_relation_and_no_panic(content: String) {
            let _ = relation_in(&content);
        }
    }
}
