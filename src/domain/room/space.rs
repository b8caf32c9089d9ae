//! The rooms of a space: which events name one, and the order in which clients show them (client-server API, "Spaces").
use std::cmp::Ordering;

use ruma::{MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, RoomId, ServerName};
use serde::Deserialize;
use serde_json::Value;

/// The most characters an order may have (specification of `m.space.child`).
const ORDER_CHARS_MAX: usize = 50;
/// Servers of a child that are looked at.
const VIA_MAX: usize = 10;

/// A room that a space names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub room_id: OwnedRoomId,
    /// Servers that know the room: at least one.
    pub via: Vec<OwnedServerName>,
    pub suggested: bool,
    order: Option<String>,
    at: MilliSecondsSinceUnixEpoch,
}

impl Child {
    /// What an `m.space.child` event says; `None` if it names no room or no server that is in it, as after the child was
    /// taken out of the space.
    pub fn parse(state_key: &str, content: &str, at: MilliSecondsSinceUnixEpoch) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            via: Vec<Value>,
            #[serde(default)]
            order: Value,
            #[serde(default)]
            suggested: Value,
        }
        let content: Content = serde_json::from_str(content).ok()?;
        let names = content.via.iter().filter_map(|name| ServerName::parse(name.as_str()?).ok());
        let via: Vec<_> = names.take(VIA_MAX).collect();
        let order = content.order.as_str().filter(|order| is_order(order));
        (!via.is_empty()).then_some(Self {
            room_id: RoomId::parse(state_key).ok()?,
            via,
            suggested: content.suggested == Value::Bool(true),
            order: order.map(ToOwned::to_owned),
            at,
        })
    }

    /// The order of children within a space: those with an order first, by it; then by age; then by id.
    pub fn compare(&self, other: &Self) -> Ordering {
        let by_order = match (&self.order, &other.order) {
            (Some(order), Some(other)) => order.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_order.then(self.at.cmp(&other.at)).then_with(|| self.room_id.cmp(&other.room_id))
    }
}

fn is_order(order: &str) -> bool {
    order.len() <= ORDER_CHARS_MAX && order.bytes().all(|byte| (0x20..=0x7E).contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn child(id: &str, at: u32, content: Value) -> Option<Child> {
        Child::parse(id, &content.to_string(), MilliSecondsSinceUnixEpoch(at.into()))
    }

    #[test]
    fn a_child_has_a_room_and_a_server() {
        let found = child("!a:x.example", 1, json!({ "via": ["x.example", 5, "no name"], "suggested": true })).unwrap();
        assert_eq!((found.via.len(), found.suggested), (1, true));
        let many: Vec<String> = (0..99).map(|n| format!("s{n}.example")).collect();
        assert_eq!(child("!a:x.example", 1, json!({ "via": many })).unwrap().via.len(), VIA_MAX);
        assert!(!child("!a:x.example", 1, json!({ "via": ["x"], "suggested": "true" })).unwrap().suggested);
        for content in
            [json!({}), json!({ "via": [] }), json!({ "via": "x" }), json!({ "via": [1] }), json!([]), json!(1)]
        {
            assert_eq!(child("!a:x.example", 1, content.clone()), None, "{content}");
        }
        assert_eq!(child("@a:x.example", 1, json!({ "via": ["x"] })), None);
    }

    #[test]
    fn children_are_ordered_by_order_then_age_then_id() {
        let with = |id: &str, at: u32, order: Value| child(id, at, json!({ "via": ["x"], "order": order })).unwrap();
        let mut children = [
            with("!e:x", 1, Value::Null),
            with("!d:x", 1, json!("é")),
            with("!c:x", 0, json!("x".repeat(51))),
            with("!b:x", 9, json!("b")),
            with("!g:x", 8, json!("b")),
            with("!a:x", 7, json!("aa")),
            with("!f:x", 5, json!(1)),
        ];
        children.sort_by(Child::compare);
        let ids: Vec<&str> = children.iter().map(|child| child.room_id.as_str()).collect();
        assert_eq!(ids, ["!a:x", "!g:x", "!b:x", "!c:x", "!d:x", "!e:x", "!f:x"]);
    }
}
