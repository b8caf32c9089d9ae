//! What servers say of their users' devices (server-server API, "Device Management"): what is believed of it, and which
//! update follows which.
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// The most bytes the id of a listed device may have.
pub const LISTED_ID_MAX_BYTES: usize = 255;
/// The most bytes the name of a listed device may have.
pub const LISTED_NAME_MAX_BYTES: usize = 1_024;
/// The most bytes the keys of one device may have, signatures included.
pub const DEVICE_KEYS_MAX_BYTES: usize = 16 << 10;
/// The most updates one may say it follows.
pub const PREV_IDS_MAX: usize = 20;
/// How many updates of one user's list are remembered, the latest.
pub const SEEN_IDS_MAX: usize = 20;
/// The largest number that JSON carries safely.
const STREAM_ID_MAX: u64 = (1 << 53) - 1;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadDevice {
    #[error("it is no update of a device: {0}")]
    Unreadable(String),
    #[error("the id of a device has 1 to {LISTED_ID_MAX_BYTES} bytes")]
    Id,
    #[error("the name of a device has at most {LISTED_NAME_MAX_BYTES} bytes")]
    Name,
    #[error("the keys of a device have at most {DEVICE_KEYS_MAX_BYTES} bytes")]
    KeysTooLarge,
    #[error("the keys are those of another user or device")]
    KeysOfAnother,
    #[error("a stream_id is at most 2^53 - 1, and an update follows {PREV_IDS_MAX} others at most")]
    Sequence,
}

/// The content of an `m.device_list_update`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Update {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    #[serde(default)]
    pub device_display_name: Option<String>,
    pub stream_id: u64,
    #[serde(default)]
    pub prev_id: Vec<u64>,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub keys: Option<Map<String, Value>>,
}

impl Update {
    /// Reads what a server sent; whose user it is about is for the caller to ask.
    pub fn read(content: &str) -> Result<Self, BadDevice> {
        let update: Self = serde_json::from_str(content).map_err(|error| BadDevice::Unreadable(error.to_string()))?;
        let ids = std::iter::once(&update.stream_id).chain(&update.prev_id);
        if update.prev_id.len() > PREV_IDS_MAX || ids.copied().any(|id| id > STREAM_ID_MAX) {
            return Err(BadDevice::Sequence);
        }
        check(&update.user_id, update.device_id.as_str(), update.device_display_name.as_deref(), update.keys.as_ref())?;
        Ok(update)
    }
}

/// Whether a device of `user` may be listed so.
pub fn check(
    user: &UserId,
    device_id: &str,
    name: Option<&str>,
    keys: Option<&Map<String, Value>>,
) -> Result<(), BadDevice> {
    if device_id.is_empty() || device_id.len() > LISTED_ID_MAX_BYTES {
        return Err(BadDevice::Id);
    }
    if name.is_some_and(|name| name.len() > LISTED_NAME_MAX_BYTES) {
        return Err(BadDevice::Name);
    }
    let Some(keys) = keys else { return Ok(()) };
    if serde_json::to_vec(keys).map_or(usize::MAX, |json| json.len()) > DEVICE_KEYS_MAX_BYTES {
        return Err(BadDevice::KeysTooLarge);
    }
    let says = |field: &str| keys.get(field).and_then(Value::as_str);
    if says("user_id") != Some(user.as_str()) || says("device_id") != Some(device_id) {
        return Err(BadDevice::KeysOfAnother);
    }
    Ok(())
}

/// What an update is to a list of which we have seen these updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One that came before.
    Repeated,
    /// The next one: what it says is to be put into the list.
    Next,
    /// Something is missing before it, or its numbers make no sense: the list must be asked for.
    AfterGap,
}

/// `newest` is the update that the list is as new as.
pub fn place(newest: u64, seen: &[u64], update: &Update) -> Place {
    if seen.contains(&update.stream_id) {
        return Place::Repeated;
    }
    let known = |id: &u64| seen.contains(id);
    let follows = !update.prev_id.is_empty() && update.prev_id.iter().all(known) && update.stream_id > newest;
    if follows { Place::Next } else { Place::AfterGap }
}

/// Remembers one more update.
pub fn note_seen(seen: &mut Vec<u64>, stream_id: u64) {
    if seen.contains(&stream_id) {
        return;
    }
    seen.push(stream_id);
    let too_many = seen.len().saturating_sub(SEEN_IDS_MAX);
    seen.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(stream_id: u64, prev_id: &[u64]) -> Update {
        let content =
            json!({ "user_id": "@a:b.example", "device_id": "D", "stream_id": stream_id, "prev_id": prev_id });
        Update::read(&content.to_string()).unwrap()
    }

    #[test]
    fn what_follows_what_was_seen_is_next_and_nothing_else_is() {
        let seen = [3, 4];
        assert_eq!(place(4, &seen, &update(5, &[4])), Place::Next);
        assert_eq!(place(4, &seen, &update(9, &[3, 4])), Place::Next);
        assert_eq!(place(4, &seen, &update(4, &[3])), Place::Repeated);
        for (stream_id, prev_id) in [(5, &[] as &[u64]), (6, &[5]), (6, &[4, 5]), (2, &[3]), (6, &[6])] {
            assert_eq!(place(4, &seen, &update(stream_id, prev_id)), Place::AfterGap, "{stream_id} {prev_id:?}");
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut seen = Vec::new();
        (0..100).for_each(|id| note_seen(&mut seen, id));
        note_seen(&mut seen, 99);
        assert_eq!((seen.len(), seen[0], seen[SEEN_IDS_MAX - 1]), (SEEN_IDS_MAX, 80, 99));
    }

    #[test]
    fn an_update_that_says_too_much_or_of_another_is_none() {
        let keys = |user: &str, device: &str, pad: usize| json!({ "user_id": user, "device_id": device, "algorithms": [], "keys": {}, "signatures": {}, "pad": "x".repeat(pad) });
        let read = |change: &dyn Fn(&mut Value)| {
            let mut content = json!({
                "user_id": "@a:b.example", "device_id": "D", "device_display_name": "Mine", "stream_id": 2,
                "prev_id": [1], "deleted": false, "keys": keys("@a:b.example", "D", 0), "more": {},
            });
            change(&mut content);
            Update::read(&content.to_string()).map(drop)
        };
        assert_eq!(read(&|_| {}), Ok(()));
        assert_eq!(read(&|it| it["device_display_name"] = Value::Null), Ok(()));
        assert_eq!(read(&|it| it["keys"] = Value::Null), Ok(()));
        let wrong: [(&str, Value); 8] = [
            ("user_id", json!("a")),
            ("user_id", Value::Null),
            ("device_id", json!(7)),
            ("stream_id", json!("2")),
            ("stream_id", json!(-2)),
            ("prev_id", json!(1)),
            ("deleted", json!("no")),
            ("keys", json!([])),
        ];
        for (field, value) in wrong {
            let outcome = read(&|it| it[field] = value.clone());
            assert!(matches!(outcome, Err(BadDevice::Unreadable(_))), "{field} {value}");
        }
        assert_eq!(read(&|it| it["device_id"] = json!("")), Err(BadDevice::Id));
        assert_eq!(read(&|it| it["device_id"] = json!("d".repeat(256))), Err(BadDevice::Id));
        assert_eq!(read(&|it| it["device_display_name"] = json!("n".repeat(1_025))), Err(BadDevice::Name));
        assert_eq!(read(&|it| it["keys"] = keys("@a:b.example", "D", 16 << 10)), Err(BadDevice::KeysTooLarge));
        assert_eq!(read(&|it| it["keys"] = keys("@x:b.example", "D", 0)), Err(BadDevice::KeysOfAnother));
        assert_eq!(read(&|it| it["keys"] = keys("@a:b.example", "E", 0)), Err(BadDevice::KeysOfAnother));
        assert_eq!(read(&|it| it["keys"] = json!({})), Err(BadDevice::KeysOfAnother));
        assert_eq!(read(&|it| it["stream_id"] = json!(1_u64 << 53)), Err(BadDevice::Sequence));
        assert_eq!(read(&|it| it["prev_id"] = json!(vec![0; 21])), Err(BadDevice::Sequence));
    }
}
