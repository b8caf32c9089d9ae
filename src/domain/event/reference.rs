//! How events name other events: by id, and in room versions 1 and 2 by id and hash.
use std::{collections::BTreeMap, fmt};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, OwnedEventId,
    room_version_rules::{EventsReferenceFormatVersion, RoomVersionRules},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

/// An entry of `prev_events` or `auth_events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Id(OwnedEventId),
    /// With hashes, which nobody checks: the id is what servers know an event by, also where two have the same
    /// (docs/security.md).
    Hashed(OwnedEventId),
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = Reference;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event id, or a pair of an event id and hashes")
    }

    fn visit_str<E: Error>(self, id: &str) -> Result<Reference, E> {
        EventId::parse(id).map(Reference::Id).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Reference, A::Error> {
        let id: OwnedEventId = pair.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        pair.next_element::<BTreeMap<String, IgnoredAny>>()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        match pair.next_element::<IgnoredAny>()? {
            None => Ok(Reference::Hashed(id)),
            Some(_) => Err(A::Error::invalid_length(3, &self)),
        }
    }
}

/// Whether events of this room version put hashes beside the ids of others.
pub fn has_hashes(rules: &RoomVersionRules) -> bool {
    rules.events_reference_format == EventsReferenceFormatVersion::V1
}

/// The ids, if all are named as the room version does.
pub fn ids(references: Vec<Reference>, rules: &RoomVersionRules) -> Option<Vec<OwnedEventId>> {
    let hashed = has_hashes(rules);
    let id = |reference| match reference {
        Reference::Id(id) => Some(id).filter(|_| !hashed),
        Reference::Hashed(id) => Some(id).filter(|_| hashed),
    };
    references.into_iter().map(id).collect()
}

/// Whether every entry of a JSON array names an event as the room version does.
pub fn are_references(list: &[CanonicalJsonValue], rules: &RoomVersionRules) -> bool {
    let json = serde_json::to_string(list).expect("canonical JSON serializes");
    serde_json::from_str(&json).is_ok_and(|references| ids(references, rules).is_some())
}

/// The events as an event of the room version names them; `None` if it wants a hash that is not there.
pub fn to_json(
    ids: Vec<OwnedEventId>,
    hashes: &BTreeMap<OwnedEventId, String>,
    rules: &RoomVersionRules,
) -> Option<CanonicalJsonValue> {
    let one = |id: OwnedEventId| {
        if !has_hashes(rules) {
            return Some(CanonicalJsonValue::from(id.to_string()));
        }
        let hash = hashes.get(&id)?.clone();
        let hashes = CanonicalJsonObject::from([("sha256".to_owned(), hash.into())]);
        Some(CanonicalJsonValue::Array(vec![id.to_string().into(), hashes.into()]))
    };
    ids.into_iter().map(one).collect::<Option<Vec<_>>>().map(CanonicalJsonValue::Array)
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;
    use serde_json::{Value, json};

    use super::*;

    fn read(list: Value, version: RoomVersionId) -> Option<Vec<OwnedEventId>> {
        ids(serde_json::from_value(list).ok()?, &version.rules().unwrap())
    }

    #[test]
    fn events_are_named_as_the_room_version_does() {
        let (id, old) = ("$abc", "$abc:x.alt");
        let pair = json!([[old, { "sha256": "whatever" }]]);
        for (version, hashed) in [(RoomVersionId::V1, true), (RoomVersionId::V2, true), (RoomVersionId::V3, false)] {
            assert_eq!(read(pair.clone(), version.clone()).is_some(), hashed);
            assert_eq!(read(json!([id]), version.clone()).is_some(), !hashed);
            assert_eq!(read(json!([]), version), Some(vec![]));
        }
        for malformed in [
            json!([[old]]),
            json!([[old, "hash"]]),
            json!([[old, {}, {}]]),
            json!([[5, {}]]),
            json!([[]]),
            json!([5]),
            json!([null]),
            json!([["no id", {}]]),
            json!([old, [old, {}]]),
        ] {
            assert_eq!(read(malformed.clone(), RoomVersionId::V1), None, "{malformed}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let id = EventId::parse("$abc:x.alt").unwrap();
        let hashes = BTreeMap::from([(id.clone(), "hash".to_owned())]);
        let rules = RoomVersionId::V1.rules().unwrap();
        let written = to_json(vec![id.clone()], &hashes, &rules).unwrap();
        assert_eq!(serde_json::to_value(&written).unwrap(), json!([["$abc:x.alt", { "sha256": "hash" }]]));
        assert!(are_references(written.as_array().unwrap(), &rules));
        assert!(!are_references(written.as_array().unwrap(), &RoomVersionId::V3.rules().unwrap()));
        assert_eq!(to_json(vec![id], &BTreeMap::new(), &rules), None);
    }
}
