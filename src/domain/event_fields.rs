//! Which fields of an event a client wants to be told (client-server API, "Filtering", `event_fields`).
use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue as RawJsonValue};

/// The most paths of a filter that are followed; what further ones name is left out.
pub const EVENT_FIELDS_MAX: usize = 500;

/// A tree of wanted fields; one without branches is wanted whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EventFields {
    branches: BTreeMap<String, Self>,
    whole: bool,
}

impl EventFields {
    /// From paths whose parts are separated by dots; `\.` and `\\` are a dot and a backslash of a part.
    pub fn new(paths: &[String]) -> Self {
        let mut root = Self::default();
        for path in paths.iter().take(EVENT_FIELDS_MAX) {
            let mut node = &mut root;
            for part in parts(path) {
                node = node.branches.entry(part).or_default();
            }
            node.whole = true;
        }
        root
    }

    /// The event with nothing but the wanted fields; empty if it is not an object.
    pub fn select(&self, event: &RawJsonValue) -> Box<RawJsonValue> {
        let event: Map<String, Value> = serde_json::from_str(event.get()).unwrap_or_default();
        serde_json::value::to_raw_value(&self.select_in(event)).expect("a JSON value is JSON")
    }

    fn select_in(&self, object: Map<String, Value>) -> Map<String, Value> {
        let wanted = object.into_iter().filter_map(|(name, value)| {
            let node = self.branches.get(&name)?;
            let value = match value {
                _ if node.whole => Some(value),
                Value::Object(object) => {
                    Some(node.select_in(object)).filter(|rest| !rest.is_empty()).map(Value::Object)
                }
                _ => None,
            };
            Some((name, value?))
        });
        wanted.collect()
    }
}

fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = character == '\\' && matches!(characters.peek(), Some('.' | '\\'));
        let literal = if escaped { characters.next() } else { Some(character).filter(|character| *character != '.') };
        match (literal, parts.last_mut()) {
            (Some(literal), Some(part)) => part.push(literal),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn selected(paths: &[&str], event: Value) -> Value {
        let fields = EventFields::new(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        let raw = serde_json::value::to_raw_value(&event).unwrap();
        serde_json::from_str(fields.select(&raw).get()).unwrap()
    }

    #[test]
    fn only_wanted_fields_are_left() {
        let event =
            json!({ "type": "m", "content": { "body": "x", "m.a": { "b": 1, "c": 2 }, "\\": 3 }, "n": [{ "a": 1 }] });
        assert_eq!(selected(&["type"], event.clone()), json!({ "type": "m" }));
        assert_eq!(
            selected(&["content.body", "type"], event.clone()),
            json!({ "type": "m", "content": { "body": "x" } })
        );
        assert_eq!(selected(&["content"], event.clone())["content"], event["content"]);
        assert_eq!(selected(&["content.body", "content"], event.clone())["content"], event["content"]);
        assert_eq!(selected(&["content.m\\.a.b"], event.clone()), json!({ "content": { "m.a": { "b": 1 } } }));
        assert_eq!(selected(&["content.\\\\"], event.clone()), json!({ "content": { "\\": 3 } }));
        for nothing in ["", "content.m.a", "type.x", "n.a", "nothing"] {
            assert_eq!(selected(&[nothing], event.clone()), json!({}), "{nothing}");
        }
        assert_eq!(selected(&[], event), json!({}));
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange(path: String) {
            let _ = EventFields::new(&[path]);
        }

        #[test]
        fn an_escaped_name_is_one_part(name: String) {
            let escaped = name.replace('\\', "\\\\").replace('.', "\\.");
            prop_assert_eq!(parts(&escaped), vec![name]);
        }
    }
}
