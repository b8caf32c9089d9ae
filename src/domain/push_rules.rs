//! Which push rule decides about an event for a user (client-server API, "Push Rules").
//!
//! The rules and the predefined ones are ruma's. Matching is done here: ruma's takes `*` and letter case of names and ids
//! for patterns, knows no other notification levels than `room`, follows a body by recursion and compiles patterns that
//! grow too large for it, both of which end the program.
mod glob;

use std::{collections::BTreeMap, ops::RangeBounds};

use ruma::{
    UInt, UserId,
    events::room::power_levels::UserPowerLevel,
    push::{Action, AnyPushRuleRef, PushCondition, Ruleset, ScalarJsonValue},
};
use serde_json::Value;

use self::glob::Cover;

/// The level it takes to notify everybody of what the power levels do not mention.
const NOTIFICATION_LEVEL_DEFAULT: i64 = 50;

/// An event as rules see it: the clients' format, taken apart once for however many users.
pub struct Event {
    event: Value,
    /// The body without regard to case.
    body: Option<String>,
}

/// Whom an event may notify, in the room as it is.
pub struct Listener<'a> {
    pub user: &'a UserId,
    /// What the room calls the user.
    pub displayname: Option<&'a str>,
    pub members: u64,
    /// What the sender may do; `None` if the room's power levels cannot be read.
    pub sender: Option<&'a SenderPower>,
}

/// The power that the sender has, and that notifying everybody in some way takes.
pub struct SenderPower {
    pub level: UserPowerLevel,
    pub notifications: BTreeMap<String, i64>,
}

impl Event {
    /// `event` is in the format of clients.
    pub fn new(event: Value) -> Self {
        let body = event.pointer("/content/body").and_then(Value::as_str).map(str::to_lowercase);
        Self { event, body }
    }

    /// What a dot-separated path leads to (appendices, "Dot-separated property paths").
    fn property(&self, path: &str) -> Option<&Value> {
        segments(path).iter().try_fold(&self.event, |value, segment| value.as_object()?.get(segment))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.property(path)?.as_str()
    }

    fn body_has(&self, pattern: &str) -> bool {
        self.body.as_ref().is_some_and(|body| glob::matches(&pattern.to_lowercase(), body, Cover::Words))
    }
}

/// The rule that decides: the first enabled one that matches, in order of kind and then of place. Nobody is notified of
/// what they sent themselves.
pub fn deciding<'r>(rules: &'r Ruleset, event: &Event, listener: &Listener<'_>) -> Option<AnyPushRuleRef<'r>> {
    if event.text("sender") == Some(listener.user.as_str()) {
        return None;
    }
    rules.iter().find(|rule| rule.enabled() && matches(*rule, event, listener))
}

/// What the deciding rule says to do; nothing without one.
pub fn actions<'r>(rules: &'r Ruleset, event: &Event, listener: &Listener<'_>) -> &'r [Action] {
    deciding(rules, event, listener).map_or(&[], AnyPushRuleRef::actions)
}

fn matches(rule: AnyPushRuleRef<'_>, event: &Event, listener: &Listener<'_>) -> bool {
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
            rule.conditions.iter().all(|condition| holds(condition, event, listener))
        }
        AnyPushRuleRef::Content(rule) => event.body_has(&rule.pattern),
        AnyPushRuleRef::Room(rule) => event.text("room_id") == Some(rule.rule_id.as_str()),
        AnyPushRuleRef::Sender(rule) => event.text("sender") == Some(rule.rule_id.as_str()),
        // A kind that ruma does not know today.
        _ => false,
    }
}

fn holds(condition: &PushCondition, event: &Event, listener: &Listener<'_>) -> bool {
    match condition {
        PushCondition::EventMatch(data) if data.key == "content.body" => event.body_has(&data.pattern),
        PushCondition::EventMatch(data) => event
            .text(&data.key)
            .is_some_and(|value| glob::matches(&data.pattern.to_lowercase(), &value.to_lowercase(), Cover::Whole)),
        #[expect(deprecated, reason = "rules that users made with it still hold")]
        PushCondition::ContainsDisplayName => listener.displayname.is_some_and(|name| {
            let name = name.to_lowercase();
            event.body.as_ref().is_some_and(|body| !name.is_empty() && glob::has_words(&name, body))
        }),
        PushCondition::RoomMemberCount(data) => {
            UInt::try_from(listener.members).is_ok_and(|members| data.is.contains(&members))
        }
        PushCondition::SenderNotificationPermission(data) => listener.sender.is_some_and(|sender| {
            let required = sender.notifications.get(data.key.as_str()).copied().unwrap_or(NOTIFICATION_LEVEL_DEFAULT);
            match sender.level {
                UserPowerLevel::Infinite => true,
                UserPowerLevel::Int(level) => i64::from(level) >= required,
                _ => false,
            }
        }),
        PushCondition::EventPropertyIs(data) => {
            event.property(&data.key).is_some_and(|value| equals(value, &data.value))
        }
        PushCondition::EventPropertyContains(data) => event
            .property(&data.key)
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|value| equals(value, &data.value))),
        // An unknown condition holds for no event.
        _ => false,
    }
}

/// Equal without any conversion: a number is no string, and 1.0 no integer.
fn equals(value: &Value, wanted: &ScalarJsonValue) -> bool {
    match wanted {
        ScalarJsonValue::Null => value.is_null(),
        ScalarJsonValue::Bool(wanted) => value.as_bool() == Some(*wanted),
        ScalarJsonValue::Integer(wanted) => value.as_i64() == Some(i64::from(*wanted)),
        ScalarJsonValue::String(wanted) => value.as_str() == Some(wanted),
    }
}

/// A backslash takes the meaning from a dot or a backslash, and is itself before anything else.
fn segments(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(c) = characters.next() {
        let last = segments.last_mut().expect("there is always one");
        match (c, characters.peek()) {
            ('\\', Some('.' | '\\')) => last.extend(characters.next()),
            ('.', _) => segments.push(String::new()),
            _ => last.push(c),
        }
    }
    segments
}

#[cfg(test)]
mod tests;
