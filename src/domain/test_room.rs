//! A room for tests of the domain: real identities, real signatures, a clock that is a number.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, UInt,
    api::client::room::create_room::v3::RoomPreset,
    canonical_json::try_from_json_map,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};

use super::{
    event::{
        Pdu,
        draft::{Draft, Position, auth_types, seal},
        reference,
    },
    identity::{DEFAULT_SUFFIX, Identity},
    room::{
        preset::{CreateRequest, initial_events, random_room_id},
        resolve::StateMap,
    },
    room_version::rules,
};

/// The time of the first event, in milliseconds.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed([n; 32], DEFAULT_SUFFIX).unwrap()
}

/// User `n` lives on a server of their own, that of `identity(n)`.
pub(crate) fn user(n: u8) -> OwnedUserId {
    format!("@u{n}:{}", identity(n).server_name()).parse().unwrap()
}

pub(crate) fn object(json: serde_json::Value) -> CanonicalJsonObject {
    let serde_json::Value::Object(map) = json else { panic!("not an object: {json}") };
    try_from_json_map(map).unwrap()
}

/// What user 0 asks for in tests: a public room.
pub(crate) fn create_request(version: &RoomVersionId) -> CreateRequest {
    CreateRequest {
        creator: user(0),
        version: version.clone(),
        preset: RoomPreset::PublicChat,
        creation_content: CanonicalJsonObject::new(),
        creator_profile: CanonicalJsonObject::new(),
        power_level_override: CanonicalJsonObject::new(),
        alias: None,
        initial_state: vec![],
        name: None,
        topic: None,
        invite: vec![],
    }
}

/// A room without forks: every event follows the one before.
pub(crate) struct TestRoom {
    pub version: RoomVersionId,
    pub rules: RoomVersionRules,
    pub room_id: OwnedRoomId,
    pub events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    pub state: StateMap,
    pub head: OwnedEventId,
    pub clock_ms: u64,
}

impl TestRoom {
    pub(crate) fn new(version: RoomVersionId) -> Self {
        Self::created(&create_request(&version))
    }

    pub(crate) fn created(request: &CreateRequest) -> Self {
        let rules = rules(&request.version).unwrap();
        let derived = rules.authorization.room_create_event_id_as_room_id;
        let stated = (!derived).then(|| random_room_id(7, identity(0).server_name()));
        let mut initial = initial_events(request, &rules).unwrap().into_iter();
        let create = initial.next().unwrap().into_draft(stated, user(0));
        let position = Position {
            prev_events: vec![],
            auth_events: vec![],
            hashes: BTreeMap::new(),
            depth: 1,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(START_MS).unwrap()),
        };
        let create = Rc::new(seal(create, position, &identity(0), &rules).unwrap());
        let mut room = Self {
            version: request.version.clone(),
            rules,
            room_id: create.room_id.clone(),
            events: BTreeMap::new(),
            state: StateMap::new(),
            head: create.event_id.clone(),
            clock_ms: START_MS,
        };
        room.push(&create);
        for event in initial {
            let draft = event.into_draft(Some(room.room_id.clone()), user(0));
            let pdu = room.seal(draft);
            room.push(&pdu);
        }
        room
    }

    pub(crate) fn draft(&self, sender: u8, kind: &str, state_key: Option<&str>, content: serde_json::Value) -> Draft {
        Draft {
            room_id: Some(self.room_id.clone()),
            sender: user(sender),
            kind: TimelineEventType::from(kind),
            state_key: state_key.map(ToOwned::to_owned),
            content: object(content),
            redacts: None,
        }
    }

    /// Seals `draft` after the head, authorized by the current state.
    pub(crate) fn seal(&mut self, draft: Draft) -> Rc<Pdu> {
        let position = self.position(&draft);
        self.seal_at(draft, position)
    }

    pub(crate) fn seal_at(&self, draft: Draft, mut position: Position) -> Rc<Pdu> {
        // A test that cites what the room does not have gets by without its hash, as peers may.
        for id in position.prev_events.iter().chain(&position.auth_events) {
            position.hashes.entry(id.clone()).or_default();
        }
        let signer = (0..=u8::MAX).find(|n| user(*n) == draft.sender).expect("senders are users of this file");
        Rc::new(seal(draft, position, &identity(signer), &self.rules).unwrap())
    }

    pub(crate) fn position(&mut self, draft: &Draft) -> Position {
        self.clock_ms += 1_000;
        let (prev_events, auth_events) = (vec![self.head.clone()], authorizing(draft, &self.state, &self.rules));
        Position {
            hashes: hashes(prev_events.iter().chain(&auth_events), &self.events, &self.rules),
            prev_events,
            auth_events,
            depth: self.events[&self.head].depth + 1,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(self.clock_ms).unwrap()),
        }
    }

    /// Takes the event in as accepted.
    pub(crate) fn push(&mut self, pdu: &Rc<Pdu>) {
        self.head = pdu.event_id.clone();
        if let Some(key) = pdu.state_map_key() {
            self.state.insert(key, pdu.event_id.clone());
        }
        self.events.insert(pdu.event_id.clone(), pdu.clone());
    }

    pub(crate) fn send(&mut self, sender: u8, kind: &str, content: serde_json::Value) -> Rc<Pdu> {
        self.add(sender, kind, None, content)
    }

    pub(crate) fn set(&mut self, sender: u8, kind: &str, state_key: &str, content: serde_json::Value) -> Rc<Pdu> {
        self.add(sender, kind, Some(state_key), content)
    }

    pub(crate) fn member(&mut self, sender: u8, target: u8, membership: &str) -> Rc<Pdu> {
        let content = serde_json::json!({ "membership": membership });
        self.set(sender, "m.room.member", user(target).as_str(), content)
    }

    fn add(&mut self, sender: u8, kind: &str, state_key: Option<&str>, content: serde_json::Value) -> Rc<Pdu> {
        let draft = self.draft(sender, kind, state_key, content);
        let pdu = self.seal(draft);
        self.push(&pdu);
        pdu
    }

    pub(crate) fn lookup<'a>(&'a self) -> impl Fn(&StateEventType, &str) -> Option<Rc<Pdu>> + 'a {
        lookup(&self.state, &self.events)
    }

    pub(crate) fn auth_events_of(&self, pdu: &Pdu) -> Vec<Rc<Pdu>> {
        pdu.auth_events.iter().map(|id| self.events[id].clone()).collect()
    }
}

/// The part of `state` that authorizes `draft`; nothing for one too malformed to tell.
pub(crate) fn authorizing(draft: &Draft, state: &StateMap, rules: &RoomVersionRules) -> Vec<OwnedEventId> {
    auth_types(&draft.kind, &draft.sender, draft.state_key.as_deref(), &draft.content, &rules.authorization)
        .unwrap_or_default()
        .iter()
        .filter_map(|key| state.get(key).cloned())
        .collect()
}

pub(crate) fn lookup<'a>(
    state: &'a StateMap,
    events: &'a BTreeMap<OwnedEventId, Rc<Pdu>>,
) -> impl Fn(&StateEventType, &str) -> Option<Rc<Pdu>> + 'a {
    |kind, key| state.get(&(kind.clone(), key.to_owned())).and_then(|id| events.get(id)).cloned()
}

/// The hashes that events after these name them by, in room versions that want such.
pub(crate) fn hashes<'a>(
    ids: impl Iterator<Item = &'a OwnedEventId>,
    events: &BTreeMap<OwnedEventId, Rc<Pdu>>,
    rules: &RoomVersionRules,
) -> BTreeMap<OwnedEventId, String> {
    let named = ids.filter(|_| reference::has_hashes(rules)).filter_map(|id| events.get(id));
    named.map(|event| (event.event_id.clone(), event.reference_hash(rules))).collect()
}

pub(crate) fn rejected_copy(pdu: &Pdu) -> Rc<Pdu> {
    let mut copy = pdu.clone();
    copy.rejected = true;
    Rc::new(copy)
}
