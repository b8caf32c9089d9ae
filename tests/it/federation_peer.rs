//! A server that is only a key: it signs whatever a test wants said, true or not, and answers as scripted.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, RoomVersionId, ServerName, UInt,
    api::federation::authentication::XMatrix, canonical_json::try_from_json_map, events::StateEventType,
    room_version_rules::RoomVersionRules, signatures::sign_json,
};
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    domain::{
        event::{
            Pdu,
            draft::{self, Draft, Position, auth_types},
            reference,
        },
        identity::{DEFAULT_SUFFIX, Identity, PublicKey},
        room_version,
    },
};

use crate::{
    harness::{Answer, TestServer},
    talk::escaped,
};

/// The time of the first event a peer makes, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;

type Script = Rc<dyn Fn(&http::Request<Bytes>) -> (u16, Value)>;

pub struct Peer {
    pub identity: Identity,
    /// By method and a part of the path; the last that fits answers.
    scripts: RefCell<Vec<(&'static str, String, Script)>>,
    heard: RefCell<Vec<(String, Value)>>,
}

impl Peer {
    pub fn new(seed: u8) -> Self {
        Self::of(Identity::from_seed([seed.wrapping_add(100); 32], DEFAULT_SUFFIX).unwrap())
    }

    /// A peer whose name says nothing of its key.
    pub fn named(seed: u8, name: &str) -> Self {
        Self::of(Identity::named([seed.wrapping_add(100); 32], name.try_into().unwrap()))
    }

    fn of(identity: Identity) -> Self {
        Self { identity, scripts: RefCell::default(), heard: RefCell::default() }
    }

    pub fn name(&self) -> &ServerName {
        self.identity.server_name()
    }

    pub fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    pub fn user(&self, localpart: &str) -> OwnedUserId {
        format!("@{localpart}:{}", self.name()).parse().unwrap()
    }

    /// From now on answers requests of this method whose path contains `part`.
    pub fn on(
        &self,
        method: &'static str,
        part: impl Into<String>,
        script: impl Fn(&http::Request<Bytes>) -> (u16, Value) + 'static,
    ) {
        self.scripts.borrow_mut().push((method, part.into(), Rc::new(script)));
    }

    /// As `on`, always with the same answer.
    pub fn says(&self, method: &'static str, part: impl Into<String>, status: u16, body: Value) {
        self.on(method, part, move |_| (status, body.clone()));
    }

    /// Forgets every script.
    pub fn unlearn(&self) {
        self.scripts.borrow_mut().clear();
    }

    /// Path and body of every request since the last call.
    pub fn take_heard(&self) -> Vec<(String, Value)> {
        self.heard.take()
    }

    pub fn answer(&self, request: &http::Request<Bytes>) -> http::Response<Bytes> {
        let path = request.uri().to_string();
        let body = serde_json::from_slice(request.body()).unwrap_or_default();
        self.heard.borrow_mut().push((path.clone(), body));
        let script = self
            .scripts
            .borrow()
            .iter()
            .rev()
            .find(|(method, part, _)| request.method() == *method && path.contains(part.as_str()))
            .map(|(_, _, script)| script.clone());
        let (status, body) = match script {
            Some(script) => script(request),
            // A peer accepts what it is sent, unless told otherwise, and knows nothing.
            None if path.contains("/_matrix/federation/v1/send/") => (200, json!({ "pdus": {} })),
            None => (404, json!({ "errcode": "M_NOT_FOUND", "error": "This peer knows nothing." })),
        };
        http::Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap()
    }

    /// A request signed as the specification asks.
    pub fn request(&self, to: &ServerName, method: &str, path: &str, body: &Value) -> api::Request {
        self.request_as(self.name(), to, method, path, body)
    }

    /// A request that claims to come from `origin`, signed with this peer's key.
    pub fn request_as(
        &self,
        origin: &ServerName,
        to: &ServerName,
        method: &str,
        path: &str,
        body: &Value,
    ) -> api::Request {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = http::Request::builder().method(method).uri(path).body(body).unwrap();
        let header = self.x_matrix(origin, to, &request);
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("authorization", header.parse().unwrap());
        http::Request::from_parts(parts, body)
    }

    /// The header that signs `request`.
    pub fn x_matrix(&self, origin: &ServerName, to: &ServerName, request: &api::Request) -> String {
        let Ok(mut object) = XMatrix::request_object(request, origin, to) else {
            // Numbers that canonical JSON does not know.
            let header = warren::domain::signed_request::sign(request, &self.identity, to).unwrap();
            return http::HeaderValue::from(&header).to_str().unwrap().to_owned();
        };
        sign_json(origin.as_str(), self.identity.key_pair(), &mut object).unwrap();
        let signature =
            object["signatures"].as_object().unwrap()[origin.as_str()].as_object().unwrap()["ed25519:self"].clone();
        let signature = signature.as_str().unwrap().to_owned();
        format!(r#"X-Matrix origin="{origin}",destination="{to}",key="ed25519:self",sig="{signature}""#)
    }

    /// Asks a homeserver over its own connection, or by HTTPS if its name says nothing of its key.
    pub fn ask(&self, server: &TestServer, method: &str, path: &str, body: Value) -> Answer {
        let origin = match PublicKey::of_server_name(self.name()) {
            Some(key) => Origin::Peer(key),
            None => Origin::Https,
        };
        server.send_by(origin, self.request(server.server_name(), method, path, &body))
    }

    /// Sends a transaction.
    pub fn send(&self, server: &TestServer, txn_id: &str, pdus: &[Value], edus: &[Value]) -> Answer {
        let body = json!({ "origin": self.name(), "origin_server_ts": START_MS, "pdus": pdus, "edus": edus });
        let answer = self.ask(server, "PUT", &format!("/_matrix/federation/v1/send/{txn_id}"), body);
        server.settle();
        answer
    }

    /// Sends one event; answers with what the server says went wrong with it.
    #[track_caller]
    pub fn send_pdu(&self, server: &TestServer, pdu: &Pdu) -> Option<String> {
        let answer = self.send(server, &format!("{}", crate::talk::next_txn()), &[value(pdu)], &[]).ok();
        answer["pdus"][pdu.event_id.as_str()]["error"].as_str().map(ToOwned::to_owned)
    }
}

/// The event as JSON.
pub fn value(pdu: &Pdu) -> Value {
    serde_json::from_str(pdu.json()).unwrap()
}

pub fn object(json: Value) -> CanonicalJsonObject {
    let Value::Object(map) = json else { panic!("not an object: {json}") };
    try_from_json_map(map).unwrap()
}

/// A room as a peer knows it: enough to make the next event of it, rightly or wrongly.
#[derive(Clone)]
pub struct PeerRoom {
    pub version: RoomVersionId,
    pub rules: RoomVersionRules,
    pub id: String,
    pub events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    pub state: BTreeMap<(String, String), OwnedEventId>,
    pub heads: Vec<OwnedEventId>,
    pub depth: u64,
    clock_ms: u64,
}

impl PeerRoom {
    /// A public room of the peer's, with one member.
    pub fn create(peer: &Peer, creator: &OwnedUserId, version: &RoomVersionId) -> Self {
        let rules = room_version::rules(version).unwrap();
        let named = rules.authorization.room_create_event_id_as_room_id;
        let id = if named { String::new() } else { format!("!room{}:{}", crate::talk::next_txn(), peer.name()) };
        let clock_ms = START_MS + crate::talk::next_txn();
        let mut room = Self {
            version: version.clone(),
            rules,
            id,
            events: BTreeMap::new(),
            state: BTreeMap::new(),
            heads: Vec::new(),
            depth: 0,
            clock_ms,
        };
        room.begin(peer, creator);
        room
    }

    fn begin(&mut self, peer: &Peer, creator: &OwnedUserId) {
        let rules = self.rules.authorization.clone();
        let mut content = json!({ "room_version": self.version });
        if !rules.use_room_create_sender {
            content["creator"] = json!(creator);
        }
        let create = self.make(peer, creator, "m.room.create", Some(""), content);
        self.id = create.room_id.to_string();
        self.push(&create);
        let users = if rules.explicitly_privilege_room_creators { json!({}) } else { json!({ creator.as_str(): 100 }) };
        let joined = json!({ "membership": "join" });
        self.add(peer, creator, "m.room.member", Some(creator.as_str()), joined);
        self.add(peer, creator, "m.room.power_levels", Some(""), json!({ "users": users }));
        self.add(peer, creator, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        self.add(peer, creator, "m.room.history_visibility", Some(""), json!({ "history_visibility": "shared" }));
    }

    /// The first events of a room like this one, under this one's id.
    pub fn rebuilt(&self, peer: &Peer, creator: &OwnedUserId) -> Self {
        let mut room = self.clone();
        (room.heads, room.depth) = (Vec::new(), 0);
        (room.events, room.state) = (BTreeMap::new(), BTreeMap::new());
        room.begin(peer, creator);
        room
    }

    /// Joins a user of the peer to a room of a homeserver, as any server would.
    pub fn join(peer: &Peer, server: &TestServer, room: &str, user: &OwnedUserId) -> Self {
        let (version, join) = Self::make_join(peer, server, room, user);
        let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(room), escaped(join.event_id.as_str()));
        let answer = peer.ask(server, "PUT", &path, value(&join)).ok();
        server.settle();
        Self::learn(room, &version, &answer, &join)
    }

    /// The signed join from a homeserver's template, not yet sent back.
    pub fn make_join(peer: &Peer, server: &TestServer, room: &str, user: &OwnedUserId) -> (RoomVersionId, Pdu) {
        let path = format!("/_matrix/federation/v1/make_join/{}/{user}?{}", escaped(room), offered());
        let template = peer.ask(server, "GET", &path, Value::Null).ok();
        let version: RoomVersionId = template["room_version"].as_str().unwrap().try_into().unwrap();
        let rules = room_version::rules(&version).unwrap();
        let mut event = object(template["event"].clone());
        event.insert(
            "origin_server_ts".to_owned(),
            object(json!({ "ts": START_MS + crate::talk::next_txn() }))["ts"].clone(),
        );
        (version, draft::seal_template(event, &peer.identity, &rules).unwrap())
    }

    /// What the answer to send_join tells of a room.
    pub fn learn(room: &str, version: &RoomVersionId, answer: &Value, join: &Pdu) -> Self {
        let rules = room_version::rules(version).unwrap();
        let mut known = Self {
            version: version.clone(),
            rules,
            id: room.to_owned(),
            events: BTreeMap::new(),
            state: BTreeMap::new(),
            heads: Vec::new(),
            depth: 0,
            clock_ms: START_MS + 1_000,
        };
        for raw in answer["auth_chain"].as_array().unwrap().iter().chain(answer["state"].as_array().unwrap()) {
            let pdu = known.parse(raw);
            known.events.insert(pdu.event_id.clone(), Rc::new(pdu));
        }
        for raw in answer["state"].as_array().unwrap() {
            let pdu = known.parse(raw);
            known.state.insert(key_of(&pdu).unwrap(), pdu.event_id.clone());
        }
        known.push(&Rc::new(join.clone()));
        known
    }

    /// An event as it arrived.
    pub fn parse(&self, raw: &Value) -> Pdu {
        let object = object(raw.clone());
        let id = warren::domain::event::check::event_id_of(&object.clone().into(), &self.rules).unwrap();
        Pdu::from_canonical(id, serde_json::to_string(&object).unwrap(), &self.rules).unwrap()
    }

    /// Events of the state that authorize such an event.
    pub fn auth_events(&self, draft: &Draft) -> Vec<OwnedEventId> {
        let types = auth_types(
            &draft.kind,
            &draft.sender,
            draft.state_key.as_deref(),
            &draft.content,
            &self.rules.authorization,
        );
        let place = |(kind, key): (StateEventType, String)| self.state.get(&(kind.to_string(), key)).cloned();
        types.unwrap_or_default().into_iter().filter_map(place).collect()
    }

    pub fn draft(&self, sender: &OwnedUserId, kind: &str, state_key: Option<&str>, content: Value) -> Draft {
        Draft {
            room_id: (!self.id.is_empty()).then(|| self.id.as_str().try_into().unwrap()),
            sender: sender.clone(),
            kind: kind.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content: object(content),
            redacts: None,
        }
    }

    /// Where the next event goes.
    pub fn position(&mut self, draft: &Draft) -> Position {
        self.clock_ms += 1;
        let (prev_events, auth_events) = (self.heads.clone(), self.auth_events(draft));
        Position {
            hashes: self.hashes(prev_events.iter().chain(&auth_events)),
            prev_events,
            auth_events,
            depth: self.depth + 1,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(self.clock_ms).unwrap()),
        }
    }

    /// The hashes that stand beside the ids of events in room versions 1 and 2.
    fn hashes<'a>(&self, ids: impl Iterator<Item = &'a OwnedEventId>) -> BTreeMap<OwnedEventId, String> {
        let known = ids.filter(|_| reference::has_hashes(&self.rules)).filter_map(|id| self.events.get(id));
        known.map(|event| (event.event_id.clone(), event.reference_hash(&self.rules))).collect()
    }

    /// An event on top of the room, signed by `peer` whoever the sender is; the room does not have it yet.
    pub fn make(
        &mut self,
        peer: &Peer,
        sender: &OwnedUserId,
        kind: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Rc<Pdu> {
        let draft = self.draft(sender, kind, state_key, content);
        let position = self.position(&draft);
        self.seal(peer, draft, position)
    }

    pub fn seal(&self, peer: &Peer, draft: Draft, position: Position) -> Rc<Pdu> {
        Rc::new(draft::seal(draft, position, &peer.identity, &self.rules).unwrap())
    }

    /// Takes the event as the room's newest.
    pub fn push(&mut self, pdu: &Rc<Pdu>) {
        self.heads = vec![pdu.event_id.clone()];
        self.depth = self.depth.max(pdu.depth);
        if let Some(key) = key_of(pdu) {
            self.state.insert(key, pdu.event_id.clone());
        }
        self.events.insert(pdu.event_id.clone(), pdu.clone());
    }

    pub fn add(
        &mut self,
        peer: &Peer,
        sender: &OwnedUserId,
        kind: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Rc<Pdu> {
        let pdu = self.make(peer, sender, kind, state_key, content);
        self.push(&pdu);
        pdu
    }

    pub fn say(&mut self, peer: &Peer, sender: &OwnedUserId, text: &str) -> Rc<Pdu> {
        self.add(peer, sender, "m.room.message", None, json!({ "msgtype": "m.text", "body": text }))
    }

    /// Has the peer answer as a server of the room whom `user` asks to let it in.
    pub fn lets_in(&self, peer: &Peer, user: &str) {
        let (sender, content) = (user.try_into().unwrap(), json!({ "membership": "join" }));
        let template = value(&self.clone().make(peer, &sender, "m.room.member", Some(user), content));
        peer.says("GET", "/make_join/", 200, json!({ "room_version": self.version, "event": template }));
        let told = json!({ "state": self.state_events(), "auth_chain": self.auth_chain() });
        peer.says("PUT", "/send_join/", 200, told);
    }

    pub fn state_events(&self) -> Vec<Value> {
        self.state.values().map(|id| value(&self.events[id])).collect()
    }

    pub fn auth_chain(&self) -> Vec<Value> {
        self.events.values().filter(|event| event.state_key.is_some()).map(|event| value(event)).collect()
    }
}

/// Every room version, as a request offers it.
fn offered() -> String {
    room_version::SUPPORTED.map(|version| format!("ver={version}")).join("&")
}

fn key_of(pdu: &Pdu) -> Option<(String, String)> {
    Some((pdu.kind.to_string(), pdu.state_key.clone()?))
}
