//! The keys of servers: what this one publishes, what it tells of others', and what it believes.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    CanonicalJsonObject, OwnedServerName, ServerName,
    serde::Base64,
    signatures::{PublicKeyMap, sign_json, verify_json},
};
use serde_json::{Value, json};
use warren::{
    domain::{
        identity::{FormerKey, PublicKey},
        server_keys::{KEYS_BELIEVED_MAX_MS, SignedAt},
    },
    homeserver::{
        Options,
        key_ring::{self, FETCH_AGAIN_MS, Need, SOONER_MAX, notary::NOTARY_SERVERS_MAX},
    },
    ports::Clock,
    storage::memory::MemoryDisk,
};

use crate::{
    federation_network::{Link, Network},
    federation_peer::{Peer, object},
    harness::{Answer, TestServer, request},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn base64(key: PublicKey) -> String {
    Base64::<ruma::serde::base64::Standard, _>::new(key.0.to_vec()).encode()
}

/// What a peer publishes, unsigned.
fn keys(peer: &Peer, valid_until_ms: u64) -> Value {
    json!({
        "server_name": peer.name(),
        "verify_keys": { "ed25519:self": { "key": base64(peer.key()) } },
        "old_verify_keys": {},
        "valid_until_ts": valid_until_ms,
        "org.example.more": { "kept": true },
    })
}

fn signed(peer: &Peer, keys: Value) -> Value {
    let mut object = object(keys);
    sign_json(peer.name().as_str(), peer.identity.key_pair(), &mut object).unwrap();
    serde_json::to_value(object).unwrap()
}

/// From now on the peer publishes its keys, good for a day.
pub fn publishes(network: &Network, peer: &Peer) {
    publishes_until(peer, network.surroundings.clock.now_ms() + DAY_MS);
}

pub fn publishes_until(peer: &Peer, valid_until_ms: u64) {
    peer.says("GET", "/_matrix/key/v2/server", 200, signed(peer, keys(peer, valid_until_ms)));
}

fn ask(server: &TestServer, by: &Peer, query: &str) -> Answer {
    server.send_as(by.key(), request("GET", &format!("/_matrix/key/v2/query/{query}"), None, ""))
}

fn ask_many(server: &TestServer, by: &Peer, body: Value) -> Answer {
    server.send_as(by.key(), request("POST", "/_matrix/key/v2/query", None, body.to_string()))
}

/// Whether a server signed it, with the only key it has.
fn is_signed_by(keys: &Value, server: &ServerName, key: PublicKey) -> bool {
    let mut object: CanonicalJsonObject = serde_json::from_value(keys.clone()).unwrap();
    let own = keys["signatures"][server.as_str()].clone();
    object.insert("signatures".to_owned(), serde_json::from_value(json!({ server.as_str(): own })).unwrap());
    let known: PublicKeyMap =
        [(server.to_string(), [("ed25519:self".to_owned(), Base64::new(key.0.to_vec()))].into())].into();
    verify_json(&known, &object).is_ok()
}

fn own_key(server: &TestServer) -> PublicKey {
    PublicKey::of_server_name(server.server_name()).unwrap()
}

#[test]
fn a_server_publishes_its_keys_signed_with_one_of_them() {
    let network = Network::new();
    let former = FormerKey { id: "ed25519:old".to_owned(), key: [7; 32], expired_ms: 1_600_000_000_000 };
    let options = Options { former_keys: vec![former], ..Options::default() };
    let (server, peer) = (network.server_with(MemoryDisk::default(), options), network.peer());
    let keys = server.send_as(peer.key(), request("GET", "/_matrix/key/v2/server", None, "")).ok();
    assert_eq!(keys["server_name"], server.server_name().as_str());
    assert_eq!(keys["verify_keys"], json!({ "ed25519:self": { "key": base64(own_key(&server)) } }));
    let old = json!({ "key": base64(PublicKey([7; 32])), "expired_ts": 1_600_000_000_000u64 });
    assert_eq!(keys["old_verify_keys"], json!({ "ed25519:old": old }));
    assert!(keys["valid_until_ts"].as_u64().unwrap() > server.clock.now_ms() + 60 * 60 * 1000);
    assert!(is_signed_by(&keys, server.server_name(), own_key(&server)));
    // Asked as a notary it tells its own, and those of another server like it.
    assert_eq!(ask(&server, &peer, server.server_name().as_str()).ok()["server_keys"], json!([keys]));
    let other = network.server();
    let told = ask(&server, &peer, other.server_name().as_str()).ok();
    let told = &told["server_keys"][0];
    assert!(is_signed_by(told, other.server_name(), own_key(&other)));
    assert!(is_signed_by(told, server.server_name(), own_key(&server)));
}

#[test]
fn a_notary_passes_on_what_it_fetched_with_its_signature() {
    let network = Network::new();
    let (server, peer, example) = (network.server(), network.peer(), network.peer_named("example.org"));
    publishes(&network, &example);
    let told = ask(&server, &peer, "example.org").ok();
    let [told] = told["server_keys"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert!(is_signed_by(told, example.name(), example.key()));
    assert!(is_signed_by(told, server.server_name(), own_key(&server)));
    assert_eq!(told["org.example.more"], json!({ "kept": true }), "what was signed is told whole");
    assert_eq!(example.take_heard().len(), 1);
    // What is known is told without asking, until half of its life is over.
    ask(&server, &peer, "example.org").ok();
    network.advance(DAY_MS / 2 - 1);
    ask(&server, &peer, "example.org").ok();
    assert_eq!(example.take_heard().len(), 0);
    network.advance(2);
    publishes(&network, &example);
    let refreshed = ask(&server, &peer, "example.org").ok();
    assert_eq!(example.take_heard().len(), 1);
    assert_ne!(refreshed["server_keys"][0]["valid_until_ts"], told["valid_until_ts"]);
    // Longer than it is good: it is asked again, but not all the time.
    let later = network.surroundings.clock.now_ms() + 2 * DAY_MS;
    network.advance(FETCH_AGAIN_MS);
    for _ in 0..5 {
        let query = format!("example.org?minimum_valid_until_ts={later}");
        assert_eq!(ask(&server, &peer, &query).ok()["server_keys"].as_array().unwrap().len(), 1);
    }
    assert_eq!(example.take_heard().len(), 1);
    // Once the server is gone, what it said last is told still.
    network.link(server.server_name(), example.name(), Link::Down);
    network.advance(5 * DAY_MS);
    assert_eq!(ask(&server, &peer, "example.org").ok()["server_keys"].as_array().unwrap().len(), 1);
}

#[test]
fn a_notary_tells_of_many_at_once_and_leaves_out_whom_it_cannot_reach() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let (a, b) = (network.peer_named("a.example"), network.peer_named("b.example:8448"));
    publishes(&network, &a);
    publishes(&network, &b);
    let mut wanted = json!({ "a.example": { "ed25519:self": { "minimum_valid_until_ts": 1 } }, "b.example:8448": {} });
    wanted["nobody.example"] = json!({ "ed25519:x": {} });
    wanted[server.server_name().as_str()] = json!({});
    let told = ask_many(&server, &peer, json!({ "server_keys": wanted })).ok();
    let names: BTreeSet<_> =
        told["server_keys"].as_array().unwrap().iter().map(|keys| keys["server_name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["a.example", "b.example:8448", server.server_name().as_str()]));
    assert_eq!(ask_many(&server, &peer, json!({ "server_keys": {} })).ok(), json!({ "server_keys": [] }));
    assert_eq!(ask(&server, &peer, "nobody.example").ok(), json!({ "server_keys": [] }));
}

#[test]
fn questions_that_are_none_are_refused() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    for query in ["no%20name", "%F0%9F%90%87.example", "example.org?minimum_valid_until_ts=soon"] {
        ask(&server, &peer, query).is_error(400, "M_INVALID_PARAM");
    }
    for query in ["example.org?minimum_valid_until_ts=-1", "example.org?minimum_valid_until_ts=1.5"] {
        ask(&server, &peer, query).is_error(400, "M_INVALID_PARAM");
    }
    ask_many(&server, &peer, json!({})).is_error(400, "M_MISSING_PARAM");
    for bad in [json!(null), json!([]), json!({ "no name": {} }), json!({ "a.example": [] }), json!({ "a.example": 1 })]
    {
        ask_many(&server, &peer, json!({ "server_keys": bad })).is_error(400, "M_BAD_JSON");
    }
    let bad_time = json!({ "a.example": { "ed25519:a": { "minimum_valid_until_ts": "soon" } } });
    ask_many(&server, &peer, json!({ "server_keys": bad_time })).is_error(400, "M_BAD_JSON");
    let many: serde_json::Map<_, _> = (0..=NOTARY_SERVERS_MAX).map(|n| (format!("s{n}.example"), json!({}))).collect();
    ask_many(&server, &peer, json!({ "server_keys": many })).is_error(413, "M_TOO_LARGE");
    assert!(network.take_carried().is_empty(), "nobody was asked for it");
}

#[test]
fn keys_that_are_not_what_they_should_be_are_not_passed_on() {
    let network = Network::new();
    let (server, peer, example) = (network.server(), network.peer(), network.peer_named("example.org"));
    let until_ms = network.surroundings.clock.now_ms() + DAY_MS;
    let good = signed(&example, keys(&example, until_ms));
    let mut lying = good.clone();
    lying["valid_until_ts"] = json!(until_ms + 1);
    let mut by_another = keys(&example, until_ms);
    by_another["verify_keys"]["ed25519:self"]["key"] = json!(base64(peer.key()));
    let mut many = keys(&example, until_ms);
    for n in 0..40 {
        many["verify_keys"][format!("ed25519:{n}")] = json!({ "key": base64(example.key()) });
    }
    let mut huge = keys(&example, until_ms);
    huge["padding"] = json!("x".repeat(100_000));
    let mut of_another = keys(&example, until_ms);
    of_another["server_name"] = json!("another.org");
    let answers = [
        keys(&example, until_ms),
        lying,
        signed(&example, by_another),
        signed(&example, many),
        signed(&example, huge),
        signed(&example, of_another),
        json!({}),
        json!([]),
        json!("no keys"),
    ];
    for answer in answers {
        example.says("GET", "/_matrix/key/v2/server", 200, answer.clone());
        network.advance(FETCH_AGAIN_MS);
        assert_eq!(ask(&server, &peer, "example.org").ok(), json!({ "server_keys": [] }), "{answer}");
    }
    example.says("GET", "/_matrix/key/v2/server", 500, good.clone());
    network.advance(FETCH_AGAIN_MS);
    assert_eq!(ask(&server, &peer, "example.org").ok(), json!({ "server_keys": [] }));
    example.says("GET", "/_matrix/key/v2/server", 200, good);
    network.advance(FETCH_AGAIN_MS);
    assert_eq!(ask(&server, &peer, "example.org").ok()["server_keys"].as_array().unwrap().len(), 1);
}

#[test]
fn a_notary_cannot_be_made_to_ask_without_end() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    network.take_carried();
    for round in 0..5 {
        let wanted: serde_json::Map<_, _> =
            (0..NOTARY_SERVERS_MAX).map(|n| (format!("s{n}-{round}.example"), json!({}))).collect();
        assert_eq!(ask_many(&server, &peer, json!({ "server_keys": wanted })).ok(), json!({ "server_keys": [] }));
    }
    assert_eq!(network.take_carried().len(), 60, "the budget of everybody who asks");
    // One that is away is not asked all the time, and asking for it takes nothing from the budget of others.
    network.advance(60_000);
    (0..100).for_each(|_| drop(ask(&server, &peer, "away.example").ok()));
    assert_eq!(network.take_carried().len(), 1);
    let example = network.peer_named("example.org");
    publishes(&network, &example);
    assert_eq!(ask(&server, &peer, "example.org").ok()["server_keys"].as_array().unwrap().len(), 1);
}

/// What the server knows to have been good keys of another then, having seen to it that it knows.
fn good(server: &TestServer, of: &ServerName, signed: SignedAt) -> BTreeSet<String> {
    let need = Need { key_ids: BTreeSet::new(), signed };
    server.run(key_ring::ensure(&server.homeserver, of, &need)).unwrap();
    let keys = server.homeserver.keys_known(of, signed).unwrap_or_default();
    keys.into_values().flat_map(|keys| keys.into_keys()).collect()
}

#[test]
fn the_ring_keeps_keys_over_a_restart_and_believes_them_for_a_week_at_most() {
    let network = Network::new();
    let (server, example) = (network.server(), network.peer_named("example.org"));
    let clock = network.surroundings.clock.clone();
    let fetched_ms = clock.now_ms();
    example.says("GET", "/_matrix/key/v2/server", 200, signed(&example, keys(&example, fetched_ms + 1_000 * DAY_MS)));
    let own: BTreeSet<_> = ["ed25519:self".to_owned()].into();
    assert_eq!(good(&server, example.name(), SignedAt::Ms(fetched_ms)), own);
    let server = network.restart(server);
    network.link(server.server_name(), example.name(), Link::Down);
    assert_eq!(good(&server, example.name(), SignedAt::Ms(fetched_ms)), own);
    assert_eq!(good(&server, example.name(), SignedAt::Ms(fetched_ms + KEYS_BELIEVED_MAX_MS)), own);
    assert!(good(&server, example.name(), SignedAt::Ms(fetched_ms + KEYS_BELIEVED_MAX_MS + 1)).is_empty());
    assert_eq!(good(&server, example.name(), SignedAt::AnyTime), own, "in old rooms they are good for ever");
    // Names that certify their key need nobody to be asked.
    network.take_carried();
    let peer = network.peer();
    assert_eq!(good(&server, peer.name(), SignedAt::AnyTime), own);
    assert_eq!(good(&server, server.server_name(), SignedAt::AnyTime), own);
    assert!(network.take_carried().is_empty());
}

#[test]
fn many_who_need_the_same_keys_ask_once_and_a_missing_key_is_asked_for_again() {
    let network = Network::new();
    let (server, example) = (network.server(), network.peer_named("example.org"));
    publishes(&network, &example);
    network.link(server.server_name(), example.name(), Link::Slow(1_000));
    let now_ms = network.surroundings.clock.now_ms();
    let need = Need { key_ids: ["ed25519:self".to_owned()].into(), signed: SignedAt::Ms(now_ms) };
    let homeserver = server.homeserver.clone();
    let all =
        futures::future::join_all((0..20).map(|_| Box::pin(key_ring::ensure(&homeserver, example.name(), &need))));
    let network_clock = network.surroundings.clock.clone();
    let timed = async {
        let advancing = async { network_clock.advance(1_000) };
        futures::future::join(all, async {
            crate::fakes::yield_once().await;
            advancing.await;
        })
        .await
        .0
    };
    assert!(server.run(timed).into_iter().all(|result| result.is_ok()));
    assert_eq!(example.take_heard().len(), 1);
    // A key nobody has heard of is asked for at once, and then once a minute.
    let other = Need { key_ids: ["ed25519:new".to_owned()].into(), ..need };
    let ask = || server.run(key_ring::ensure(&server.homeserver, example.name(), &other)).unwrap();
    network.link(server.server_name(), example.name(), Link::Up);
    (0..5).for_each(|_| ask());
    assert_eq!(example.take_heard().len(), 1);
    network.advance(FETCH_AGAIN_MS - 1);
    (0..5).for_each(|_| ask());
    assert_eq!(example.take_heard().len(), 0);
    network.advance(1);
    (0..5).for_each(|_| ask());
    assert_eq!(example.take_heard().len(), 1);
}

#[test]
fn keys_that_are_made_up_have_a_server_asked_a_few_times_a_minute() {
    let network = Network::new();
    let (server, example) = (network.server(), network.peer_named("example.org"));
    publishes(&network, &example);
    let needs = |id: &str| {
        let signed = SignedAt::Ms(network.surroundings.clock.now_ms());
        let need = Need { key_ids: [id.to_owned()].into(), signed };
        server.run(key_ring::ensure(&server.homeserver, example.name(), &need)).unwrap();
    };
    needs("ed25519:self");
    (0..100).for_each(|n| needs(&format!("ed25519:made-up-{n}")));
    assert_eq!(example.take_heard().len(), 1 + SOONER_MAX);
    // One that does not answer is asked once.
    let away = ServerName::parse("away.example").unwrap();
    network.take_carried();
    for n in 0..100 {
        let need = Need { key_ids: [format!("ed25519:{n}")].into(), signed: SignedAt::AnyTime };
        server.run(key_ring::ensure(&server.homeserver, &away, &need)).unwrap();
    }
    assert_eq!(network.take_carried().len(), 1);
}

#[test]
fn a_notary_is_believed_that_signs_and_that_we_trust() {
    let network = Network::new();
    let notary = network.peer();
    let options = Options { notaries: vec![notary.name().to_owned()], ..Options::default() };
    let server = network.server_with(MemoryDisk::default(), options);
    // Out of reach: only the notary knows it.
    let example: Rc<Peer> = Rc::new(Peer::named(77, "example.org"));
    let name: OwnedServerName = example.name().to_owned();
    let now_ms = network.surroundings.clock.now_ms();
    let published = signed(&example, keys(&example, now_ms + DAY_MS));
    let also_by = |peer: &Peer| signed(peer, published.clone());
    let notary_says = |keys: Value| {
        notary.says("POST", "/_matrix/key/v2/query", 200, json!({ "server_keys": [keys] }));
        network.advance(FETCH_AGAIN_MS);
    };
    // Not signed by the notary, and signed by somebody else.
    for keys in [published.clone(), also_by(&network.peer()), json!({}), json!({ "server_name": "another.org" })] {
        notary_says(keys);
        assert!(good(&server, &name, SignedAt::Ms(now_ms)).is_empty());
    }
    // The notary made it up: the server's own signature is missing.
    notary_says(signed(&notary, keys(&example, now_ms + DAY_MS)));
    assert!(good(&server, &name, SignedAt::Ms(now_ms)).is_empty());
    notary_says(also_by(&notary));
    assert_eq!(good(&server, &name, SignedAt::Ms(now_ms)), ["ed25519:self".to_owned()].into());
}
