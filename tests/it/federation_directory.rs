//! Published rooms and aliases between servers, and servers that lie about theirs.
use serde_json::{Value, json};

use crate::{
    federation_network::{Link, Network},
    federation_scene::Scene,
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list},
};

fn public_rooms_of(asked: &TestServer, whose: &str, query: &str) -> Answer {
    asked.request("GET", &format!("/_matrix/client/v3/publicRooms?server={whose}{query}"), None, Value::Null)
}

fn look_up(server: &TestServer, alias: &str) -> Answer {
    server.request("GET", &format!("/_matrix/client/v3/directory/room/{}", escaped(alias)), None, Value::Null)
}

fn listed(n: usize) -> Value {
    json!({ "room_id": format!("!{n}:x.example"), "num_joined_members": n, "world_readable": false, "guest_can_join": false })
}

#[test]
fn the_rooms_of_another_server_are_asked_for() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    for (name, kind) in [("Burrow", None), ("Den", Some("m.space")), ("Sett", None)] {
        let creation = kind.map_or(json!({}), |kind: &str| json!({ "type": kind }));
        a.create_room(&alice, json!({ "visibility": "public", "name": name, "creation_content": creation }));
    }
    b.create_room(&bob, json!({ "visibility": "public", "name": "Own" }));
    let whose = a.server_name().to_string();
    let all = public_rooms_of(&b, &whose, "").ok();
    assert_eq!((list(&all["chunk"]).len(), &all["total_room_count_estimate"]), (3, &json!(3)));
    let first = public_rooms_of(&b, &whose, "&limit=2").ok();
    let next = first["next_batch"].as_str().unwrap();
    let second = public_rooms_of(&b, &whose, &format!("&limit=2&since={next}")).ok();
    assert_eq!(list(&second["chunk"]).len(), 1);
    let path = format!("/_matrix/client/v3/publicRooms?server={whose}");
    let search = |filter: Value| b.post(&path, &bob.token, json!({ "filter": filter })).ok()["chunk"].clone();
    assert_eq!(search(json!({ "generic_search_term": "den" }))[0]["name"], "Den");
    assert_eq!(list(&search(json!({ "room_types": [null] }))).len(), 2);
    let carried = network.take_carried();
    assert!(carried.iter().any(|request| request.body["filter"]["generic_search_term"] == "den"));

    public_rooms_of(&b, &whose, "&since=nonsense").is_error(502, "M_UNKNOWN");
    network.link(a.server_name(), b.server_name(), Link::Down);
    public_rooms_of(&b, &whose, "").is_error(502, "M_UNKNOWN");
    public_rooms_of(&b, "not%20a%20name", "").is_error(400, "M_INVALID_PARAM");
}

#[test]
fn other_servers_get_this_ones_list_and_no_other() {
    let scene = Scene::new();
    let ask = |method: &str, query: &str, body: Value| {
        scene.peer.ask(&scene.server, method, &format!("/_matrix/federation/v1/publicRooms{query}"), body)
    };
    assert_eq!(ask("GET", "", Value::Null).ok(), json!({ "chunk": [], "total_room_count_estimate": 0 }));
    let path = format!("/_matrix/client/v3/directory/list/room/{}", escaped(&scene.room));
    scene.server.put(&path, &scene.alice.token, json!({})).ok();
    let page = ask("GET", "?limit=5", Value::Null).ok();
    assert_eq!(page["chunk"][0]["room_id"], scene.room.as_str());
    assert_eq!(page["chunk"][0]["num_joined_members"], 2);
    let none = ask("POST", "", json!({ "filter": { "generic_search_term": "nothing like it" } })).ok();
    assert_eq!(none["chunk"], json!([]));
    ask("GET", "?limit=x", Value::Null).is_error(400, "M_INVALID_PARAM");
    ask("GET", "?since=x", Value::Null).is_error(400, "M_INVALID_PARAM");
    ask("POST", "", json!({ "filter": 1 })).is_error(400, "M_BAD_JSON");
}

#[test]
fn a_directory_without_end_is_cut() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let whose = peer.name().to_string();
    let page = json!({ "chunk": (0..2_000).map(listed).collect::<Vec<_>>(), "next_batch": "t".repeat(5_000) });
    peer.says("GET", "/publicRooms", 200, page);
    let answer = public_rooms_of(&server, &whose, "&limit=10").ok();
    assert_eq!((list(&answer["chunk"]).len(), &answer["next_batch"]), (10, &Value::Null));
    assert_eq!(list(&public_rooms_of(&server, &whose, "").ok()["chunk"]).len(), 100);
    assert_eq!(list(&public_rooms_of(&server, &whose, "&limit=100000").ok()["chunk"]).len(), 500);
    let heard = peer.take_heard();
    assert!(heard.iter().all(|(path, _)| path.contains("limit=")), "it is told how many: {heard:?}");

    // A million entries are not even read.
    peer.says("GET", "/publicRooms", 200, json!({ "chunk": (0..20_000).map(listed).collect::<Vec<_>>() }));
    public_rooms_of(&server, &whose, "").is_error(502, "M_UNKNOWN");
    peer.says("GET", "/publicRooms", 200, json!({ "chunk": [{ "room_id": "nonsense" }] }));
    public_rooms_of(&server, &whose, "").is_error(502, "M_UNKNOWN");
    peer.says("GET", "/publicRooms", 200, json!([]));
    public_rooms_of(&server, &whose, "").is_error(502, "M_UNKNOWN");
}

#[test]
fn an_alias_of_another_server_leads_into_its_room() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_alias_name": "burrow" }));
    let alias = format!("#burrow:{}", a.server_name());
    let expected = json!({ "room_id": room, "servers": [a.server_name()] });
    assert_eq!(look_up(&b, &alias).ok(), expected);
    let join = |server: &TestServer, user: &TestUser, alias: &str| {
        server.post(&format!("/_matrix/client/v3/join/{}", escaped(alias)), &user.token, json!({}))
    };
    assert_eq!(join(&b, &bob, &alias).ok()["room_id"], room.as_str());
    // The servers the alias names are tried as well: its own may be unable to let anybody in.
    a.leave(&alice, &room);
    network.settle();
    let named = look_up(&c, &alias).ok()["servers"].clone();
    assert!(list(&named).contains(&json!(b.server_name())), "{named}");
    assert_eq!(join(&c, &carol, &alias).ok()["room_id"], room.as_str());

    let unknown = format!("#nothing:{}", a.server_name());
    look_up(&b, &unknown).is_error(404, "M_NOT_FOUND");
    join(&b, &bob, &unknown).is_error(404, "M_NOT_FOUND");
    network.cut(&a, &b);
    look_up(&b, &alias).is_error(502, "M_UNKNOWN");
    join(&b, &bob, &alias).is_error(502, "M_UNKNOWN");
}

#[test]
fn other_servers_ask_for_aliases_of_this_one() {
    let scene = Scene::new();
    let alias = format!("#burrow:{}", scene.server.server_name());
    let path = format!("/_matrix/client/v3/directory/room/{}", escaped(&alias));
    scene.server.put(&path, &scene.alice.token, json!({ "room_id": scene.room })).ok();
    let ask = |query: &str| {
        scene.peer.ask(&scene.server, "GET", &format!("/_matrix/federation/v1/query/directory{query}"), Value::Null)
    };
    let answer = ask(&format!("?room_alias={}", escaped(&alias))).ok();
    assert_eq!(answer["room_id"], scene.room.as_str());
    assert_eq!(answer["servers"], json!([scene.server.server_name(), scene.peer.name()]));
    ask(&format!("?room_alias=%23x:{}", scene.server.server_name())).is_error(404, "M_NOT_FOUND");
    // Nobody is asked on behalf of another.
    ask(&format!("?room_alias=%23x:{}", scene.peer.name())).is_error(404, "M_NOT_FOUND");
    ask("?room_alias=x").is_error(400, "M_INVALID_PARAM");
    ask("").is_error(400, "M_MISSING_PARAM");
}

#[test]
fn an_alias_that_leads_astray_is_nobodys_loss() {
    let scene = Scene::new();
    let (server, peer, alice) = (&scene.server, &scene.peer, &scene.alice);
    let alias = format!("#trap:{}", peer.name());
    let says = |status: u16, body: Value| peer.says("GET", "/query/directory", status, body);
    let many: Vec<String> = (0..1_000).map(|n| format!("s{n}.example")).collect();
    says(200, json!({ "room_id": scene.room, "servers": many }));
    assert_eq!(list(&look_up(server, &alias).ok()["servers"]).len(), 50);
    for (status, body) in [
        (200, json!({ "room_id": "nonsense", "servers": [] })),
        (200, json!({ "room_id": scene.room, "servers": ["not a name"] })),
        (200, json!({ "room_id": scene.room, "servers": vec!["x.example"; 10_000] })),
        (200, json!({})),
        (500, json!({ "errcode": "M_UNKNOWN", "error": "?" })),
    ] {
        says(status, body);
        look_up(server, &alias).is_error(502, "M_UNKNOWN");
    }
    says(404, json!({ "errcode": "M_NOT_FOUND", "error": "?" }));
    look_up(server, &alias).is_error(404, "M_NOT_FOUND");

    // It may lead to a room of ours that it has nothing to do with: the room decides who gets in.
    let private = server.create_room(alice, json!({}));
    let mallory = server.register("mallory");
    says(200, json!({ "room_id": private, "servers": [] }));
    let join = server.post(&format!("/_matrix/client/v3/join/{}", escaped(&alias)), &mallory.token, json!({}));
    join.is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_room_takes_no_foreign_name_that_does_not_lead_to_it() {
    let scene = Scene::new();
    let (server, peer, alice) = (&scene.server, &scene.peer, &scene.alice);
    let call = |content: Value| {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.canonical_alias", escaped(&scene.room));
        server.put(&path, &alice.token, content)
    };
    let alias = |n: usize| format!("#a{n}:{}", peer.name());
    let answer = |room: &str| json!({ "room_id": room, "servers": [] });
    peer.says("GET", "/query/directory", 200, answer("!other:x.example"));
    call(json!({ "alias": alias(1) })).is_error(400, "M_BAD_ALIAS");
    peer.unlearn();
    call(json!({ "alt_aliases": [alias(1)] })).is_error(400, "M_BAD_ALIAS");
    peer.says("GET", "/query/directory", 200, answer(&scene.room));
    call(json!({ "alias": alias(1), "alt_aliases": [alias(2)] })).ok();
    // What it is called already is not asked about again; a new name cannot be checked while its server is away.
    scene.network.link(server.server_name(), peer.name(), Link::Down);
    call(json!({ "alias": alias(2), "alt_aliases": [alias(1)] })).ok();
    call(json!({ "alias": alias(2), "alt_aliases": [alias(3)] })).is_error(400, "M_BAD_ALIAS");
    scene.network.link(server.server_name(), peer.name(), Link::Up);
    peer.take_heard();
    call(json!({ "alt_aliases": (10..40).map(alias).collect::<Vec<_>>() })).is_error(400, "M_INVALID_PARAM");
    assert!(peer.take_heard().iter().all(|(path, _)| !path.contains("/query/directory")), "nobody was asked");
    for wrong in [json!({ "alias": 5 }), json!({ "alt_aliases": "x" }), json!({ "alt_aliases": [null] })] {
        call(wrong).is_error(400, "M_INVALID_PARAM");
    }
    call(json!({ "alias": null, "alt_aliases": null })).ok();
}
