//! Values that make no sense, and some that nearly do, for requests that are made up.
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Number, Value};

/// Names in braces stand for what is there once the server runs.
const STRINGS: &[&str] = &[
    "{alice}",
    "{bob}",
    "{room}",
    "{private}",
    "{event}",
    "{alias}",
    "{since}",
    "{server}",
    "",
    "m.room.message",
    "m.room.member",
    "m.room.power_levels",
    "m.room.redaction",
    "m.room.create",
    "m.reaction",
    "m.thread",
    "m.replace",
    "m.annotation",
    "m.reference",
    "m.read",
    "m.read.private",
    "m.fully_read",
    "m.push_rules",
    "m.ignored_user_list",
    "m.login.password",
    "m.login.dummy",
    "m.id.user",
    "join",
    "leave",
    "invite",
    "ban",
    "knock",
    "public",
    "private",
    "b",
    "f",
    "0",
    "1",
    "12",
    "999999999999999999999",
    "-1",
    "1.5",
    "true",
    "null",
    "@",
    "@x:y",
    "!x:y",
    "!x",
    "#x:y",
    "$x",
    "*",
    "%",
    "\u{0}",
    "\u{202e}é😀",
    "a b",
    "../..",
    "http://127.0.0.1:1/_matrix/push/v1/notify",
    "displayname",
    "content",
    "override",
    "sender",
    "room",
    "global",
    "http",
    "mxc://x/y",
    "[\"a\"]",
    "{\"room\":{}}",
    "org.example.x",
    "{eve}",
    "{peer}",
    "m.typing",
    "m.receipt",
    "m.presence",
    "org.warren.heads",
    "ed25519:self",
];

const FIELDS: &[&str] = &[
    "type",
    "content",
    "state_key",
    "user_id",
    "room_id",
    "event_id",
    "reason",
    "membership",
    "body",
    "msgtype",
    "m.relates_to",
    "rel_type",
    "key",
    "m.in_reply_to",
    "redacts",
    "users",
    "users_default",
    "events",
    "ban",
    "name",
    "topic",
    "preset",
    "visibility",
    "room_alias_name",
    "invite",
    "initial_state",
    "creation_content",
    "room_version",
    "power_level_content_override",
    "is_direct",
    "auth",
    "session",
    "identifier",
    "user",
    "username",
    "password",
    "device_id",
    "token",
    "refresh_token",
    "display_name",
    "displayname",
    "avatar_url",
    "typing",
    "timeout",
    "order",
    "thread_id",
    "m.fully_read",
    "m.read",
    "filter",
    "room",
    "timeline",
    "limit",
    "types",
    "not_types",
    "rooms",
    "lazy_load_members",
    "event_fields",
    "presence",
    "status_msg",
    "actions",
    "pattern",
    "conditions",
    "kind",
    "enabled",
    "set_tweak",
    "value",
    "is",
    "search_term",
    "generic_search_term",
    "since",
    "servers",
    "devices",
    "new_password",
    "new_version",
    "via",
    "alias",
    "alt_aliases",
    "join_rule",
    "allow",
    "score",
    "suspended",
    "locked",
    "app_id",
    "pushkey",
    "data",
    "url",
    "lang",
    "append",
    "delay",
    "action",
    "m.mentions",
    "user_ids",
    "m.new_content",
    "pdus",
    "edus",
    "edu_type",
    "origin",
    "origin_server_ts",
    "prev_events",
    "auth_events",
    "depth",
    "hashes",
    "sha256",
    "signatures",
    "sender",
    "third_party_invite",
    "join_authorised_via_users_server",
    "event",
    "invite_room_state",
    "earliest_events",
    "latest_events",
    "min_depth",
    "state",
    "auth_chain",
    "pdu_ids",
    "auth_chain_ids",
    "push",
    "event_ids",
    "server_keys",
    "absent",
    "answer",
];

/// What the names in braces stand for in one scene.
pub struct Names(pub Vec<(&'static str, String)>);

impl Names {
    pub fn meant_by(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, meant)| text.replace(name, meant))
    }

    pub fn in_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.meant_by(text).into(),
            Value::Array(items) => items.iter().map(|item| self.in_value(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| (self.meant_by(name), self.in_value(field)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![9 => select(STRINGS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = Number> {
    let whole = select(vec![0, 1, -1, 50, 100, 1 << 53, i64::MAX, i64::MIN]).prop_map(Number::from);
    prop_oneof![4 => whole, 1 => any::<f64>().prop_map(|float| Number::from_f64(float).unwrap_or_else(|| 0.into()))]
}

pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::from),
        3 => number().prop_map(Value::Number),
        6 => text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![1 => vec(inner.clone(), 0..4).prop_map(Value::from), 3 => object_of(inner).prop_map(Value::from)]
    })
}

pub fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![9 => select(FIELDS).prop_map(str::to_owned), 1 => text()];
    vec((name, inner), 0..6).prop_map(Map::from_iter)
}

pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Few in every run of the tests; as many as are asked for otherwise.
pub fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(few)
}
