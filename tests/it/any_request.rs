//! Whatever a client asks, in whatever order, it gets an answer, and never one that says the homeserver broke.
//!
//! `PROPTEST_CASES=100000 cargo test --test it any_request` goes on for longer; `docs/security.md` says how long it has been
//! run. A failure prints the shortest conversation that it found.
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;
use warren::api::{self, Origin};

use crate::{
    harness::{TestServer, request},
    made_up::{Names, cases, escaped, object_of, text, value},
};

/// Longer than anything here waits: a sync, typing, a delayed event.
const LONG_MS: u64 = 200_000;
/// A request may wait so often, for one server after another.
const TRIES_MAX: usize = 10;

const QUERY: &[&str] = &[
    "dir",
    "from",
    "to",
    "limit",
    "since",
    "timeout",
    "filter",
    "full_state",
    "use_state_after",
    "set_presence",
    "ts",
    "membership",
    "not_membership",
    "at",
    "user_id",
    "username",
    "kind",
    "via",
    "server_name",
    "server",
    "before",
    "after",
    "only",
    "include",
    "recurse",
    "max_depth",
    "suggested_only",
    "token",
    "room_id",
    "format",
    "access_token",
    "org.matrix.msc4140.delay",
];

/// One request, with names in braces for what is not known yet.
#[derive(Clone, Debug)]
struct Asked {
    operation: prop::sample::Index,
    /// For the variables of the path; `None` takes what fits.
    path: Vec<Option<String>>,
    query: Vec<(&'static str, String)>,
    /// Whose token: Alice's, Bob's, nobody's, none.
    by: u8,
    body: Value,
}

fn asked() -> impl Strategy<Value = Asked> {
    let query = vec((select(QUERY), text()), 0..3);
    let body = prop_oneof![12 => object_of(value()).prop_map(Value::from), 1 => value()];
    let path = vec(prop_oneof![3 => Just(None), 1 => text().prop_map(Some)], 5);
    (any::<prop::sample::Index>(), path, query, 0..8_u8, body).prop_map(|(operation, path, query, by, body)| Asked {
        operation,
        path,
        query,
        by,
        body,
    })
}

/// A server with something to ask about.
struct Scene {
    server: TestServer,
    names: Names,
    tokens: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let room = server.public_room(&alice);
        server.join(&bob, &room);
        let private = server.create_room(&alice, serde_json::json!({ "preset": "private_chat" }));
        let event = server.say(&bob, &room, "hello");
        let since = server.sync(&alice, None, "")["next_batch"].as_str().unwrap().to_owned();
        let name = server.server_name().to_string();
        let names = Names(vec![
            ("{alias}", format!("#x:{name}")),
            ("{server}", name),
            ("{alice}", alice.id.to_string()),
            ("{bob}", bob.id.to_string()),
            ("{room}", room),
            ("{private}", private),
            ("{event}", event),
            ("{since}", since),
        ]);
        Self { server, names, tokens: [alice.token, bob.token] }
    }

    fn path(&self, template: &str, given: &[Option<String>]) -> String {
        let mut given = given.iter();
        let segments = template.split('/').map(|segment| match segment.strip_prefix('{') {
            None => segment.to_owned(),
            Some(variable) => {
                let chosen = given.next().cloned().flatten();
                escaped(
                    &self.names.meant_by(&chosen.unwrap_or_else(|| fitting(variable.trim_end_matches('}')).to_owned())),
                )
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    fn ask(&self, asked: &Asked) {
        let operations = operations();
        let operation = asked.operation.get(&operations);
        let query = asked.query.iter().map(|(name, text)| format!("{name}={}", escaped(&self.names.meant_by(text))));
        let path = self.path(operation.path, &asked.path);
        let uri = format!("{path}?{}", query.collect::<Vec<_>>().join("&"));
        let token = match asked.by {
            0 => None,
            1 => Some("nobody"),
            n => Some(self.tokens[usize::from(n % 2)].as_str()),
        };
        let body = if operation.method == "GET" { String::new() } else { self.names.in_value(&asked.body).to_string() };
        let pending = self.server.queue_as(Origin::Client, request(&operation.method, &uri, token, body));
        self.server.settle();
        let waited = (0..TRIES_MAX).find_map(|_| {
            let answer = pending.take();
            if answer.is_none() {
                self.server.advance(LONG_MS);
            }
            answer
        });
        let answer = waited.unwrap_or_else(|| panic!("{} {uri} was not answered", operation.method));
        let status = answer.status.as_u16();
        assert_ne!(status, 500, "{} {uri}: {}", operation.method, answer.body);
        let says_why = answer.body["errcode"].is_string() || (status == 401 && answer.body["flows"].is_array());
        assert!(status < 400 || says_why, "{} {uri}: {status} {}", operation.method, answer.body);
    }
}

fn operations() -> Vec<api::Operation> {
    let of_servers = |path: &str| path.starts_with("/_matrix/federation") || path.starts_with("/_matrix/key");
    api::operations().into_iter().filter(|operation| !of_servers(operation.path)).collect()
}

/// What a variable of a path usually holds.
fn fitting(variable: &str) -> &'static str {
    match variable {
        "room_id" | "room_id_or_alias" => "{room}",
        "user_id" => "{alice}",
        "event_id" => "{event}",
        "room_alias" => "{alias}",
        "event_type" => "m.room.message",
        "receipt_type" => "m.read",
        "rel_type" => "m.thread",
        "kind" => "content",
        "field" => "displayname",
        "filter_id" => "0",
        _ => "x",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::with_cases(cases(30)) })]

    #[test]
    fn gets_an_answer_that_is_no_fault(conversation in vec(asked(), 1..30)) {
        let scene = Scene::new();
        for asked in &conversation {
            scene.ask(asked);
        }
    }
}
