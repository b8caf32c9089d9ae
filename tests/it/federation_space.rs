//! Spaces over several servers, and servers that build them to harm.
use serde_json::{Value, json};

use warren::ports::Clock;

use crate::{
    client_space::{hierarchy, names, put_in, room, space},
    federation_network::{Link, Network},
    federation_peer::Peer,
    federation_scene::Scene,
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list},
};

fn summary(id: &str, kind: Option<&str>) -> Value {
    let mut summary = json!({
        "room_id": id, "name": id, "num_joined_members": 3, "world_readable": false, "guest_can_join": false,
        "join_rule": "public",
    });
    if let Some(kind) = kind {
        summary["room_type"] = kind.into();
    }
    summary
}

fn child_event(child: &str, via: &str) -> Value {
    json!({
        "type": "m.space.child", "state_key": child, "sender": "@eve:x.example", "content": { "via": [via] },
        "origin_server_ts": 1,
    })
}

fn hierarchy_answer(id: &str, children: &[String], via: &str) -> Value {
    let mut room = summary(id, Some("m.space"));
    room["children_state"] = children.iter().map(|child| child_event(child, via)).collect();
    json!({ "room": room, "children": [], "inaccessible_children": [] })
}

fn room_summary(server: &TestServer, room: &str, query: &str, token: Option<&str>) -> Answer {
    server.request("GET", &format!("/_matrix/client/v1/room_summary/{}?{query}", escaped(room)), token, Value::Null)
}

fn asked(peer: &Peer) -> usize {
    peer.take_heard().iter().filter(|(path, _)| path.contains("/hierarchy/")).count()
}

#[test]
fn a_space_is_walked_across_servers() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let root = space(&b, &bob, "root");
    let far = space(&a, &alice, "far");
    let [leaf, own] = [room(&a, &alice, "leaf"), room(&b, &bob, "own")];
    let secret = a.create_room(&alice, json!({ "name": "secret" }));
    let invited = a.create_room(&alice, json!({ "name": "invited" }));
    let allow = json!([{ "type": "m.room_membership", "room_id": own }]);
    let restricted = a.create_room(
        &alice,
        json!({ "name": "restricted", "initial_state": [
        { "type": "m.room.join_rules", "content": { "join_rule": "restricted", "allow": allow } },
    ] }),
    );
    for (n, child) in [&leaf, &secret, &invited, &restricted].into_iter().enumerate() {
        put_in(&a, &alice, &far, child, json!({ "order": n.to_string() }));
    }
    b.set_state(&bob, &root, "m.space.child", &far, json!({ "via": [a.server_name()], "order": "1" }));
    put_in(&b, &bob, &root, &own, json!({ "order": "2" }));
    a.act_on(&alice, &invited, "invite", &TestUser { id: bob.id.clone(), ..alice.clone() });
    network.settle();
    let walk = || names(&hierarchy(&b, &bob, &root, "").ok());
    assert_eq!(walk(), ["root", "far", "leaf", "invited", "own"], "the far server is in none of the allowed rooms");
    network.take_carried();
    assert_eq!(walk(), ["root", "far", "leaf", "invited", "own"]);
    let asked = |path: &str| network.take_carried().iter().filter(|request| request.path.contains(path)).count();
    assert_eq!(asked("/hierarchy/"), 0, "what was answered is remembered, also of which rooms nothing is told");

    // The server is let in where it has a user in the room that lets in.
    a.post(&format!("/_matrix/client/v3/join/{}?via={}", escaped(&own), b.server_name()), &alice.token, json!({})).ok();
    network.advance(6 * 60 * 1000);
    assert_eq!(walk(), ["root", "far", "leaf", "invited", "restricted", "own"]);
    network.cut(&a, &b);
    network.advance(6 * 60 * 1000);
    assert_eq!(walk(), ["root", "own"]);
}

#[test]
fn a_server_is_told_of_what_its_users_could_see() {
    let scene = Scene::new();
    let (server, alice) = (&scene.server, &scene.alice);
    let root = space(server, alice, "root");
    let club = scene.room.clone();
    let make = |name: &str, rule: Value| {
        let made = server.create_room(
            alice,
            json!({ "name": name, "initial_state": [
            { "type": "m.room.join_rules", "content": rule },
        ] }),
        );
        put_in(server, alice, &root, &made, json!({ "order": name, "suggested": name == "a" }));
        made
    };
    let [_a, b, _c] = [
        make("a", json!({ "join_rule": "knock" })),
        make("b", json!({ "join_rule": "invite" })),
        make("c", json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": club }] })),
    ];
    server.set_state(alice, &root, "m.space.child", "!unknown:x.example", json!({ "via": ["x.example"] }));
    let ask = |room: &str, query: &str| {
        let path = format!("/_matrix/federation/v1/hierarchy/{}{query}", escaped(room));
        scene.peer.ask(server, "GET", &path, Value::Null)
    };
    let level = ask(&root, "").ok();
    let told: Vec<_> = list(&level["children"]).iter().map(|room| room["name"].clone()).collect();
    assert_eq!(told, ["a", "c"]);
    assert_eq!(level["inaccessible_children"], json!([b]));
    assert_eq!((&level["room"]["room_id"], list(&level["room"]["children_state"]).len()), (&json!(root), 4));
    let suggested = ask(&root, "?suggested_only=true").ok();
    assert_eq!((list(&suggested["children"]).len(), list(&suggested["room"]["children_state"]).len()), (1, 1));

    ask(&b, "").is_error(404, "M_NOT_FOUND");
    ask("!unknown:x.example", "").is_error(404, "M_NOT_FOUND");
    ask("nonsense", "").is_error(400, "M_INVALID_PARAM");
    ask(&root, "?suggested_only=perhaps").is_error(400, "M_INVALID_PARAM");
    server.set_state(alice, &root, "m.room.server_acl", "", json!({ "allow": ["*"], "deny": [scene.peer.name()] }));
    ask(&root, "").is_error(404, "M_NOT_FOUND");
}

#[test]
fn a_hierarchy_without_end_is_walked_to_an_end() {
    let scene = Scene::new();
    let (server, alice, peer) = (&scene.server, &scene.alice, &scene.peer);
    let root = space(server, alice, "root");
    let bomb = format!("!bomb:{}", peer.name());
    server.set_state(alice, &root, "m.space.child", &bomb, json!({ "via": [peer.name()] }));
    let name = peer.name().to_string();
    // Each of the rooms is a space of more, whoever asks for it; the first of a thousand.
    peer.on("GET", "/hierarchy/", move |request| {
        let path = request.uri().path();
        let id = path.rsplit('/').next().unwrap().replace("%21", "!").replace("%3A", ":");
        let short = id.split(':').next().unwrap();
        let width = if short == "!bomb" { 1_000 } else { 20 };
        let children: Vec<String> = (0..width).map(|n| format!("{short}.{n}:{name}")).collect();
        let mut answer = hierarchy_answer(&id, &children, &name);
        // Two of them have to be asked for, the others are told of at once.
        answer["children"] = children[2..].iter().map(|child| summary(child, None)).collect();
        (200, answer)
    });
    peer.take_heard();
    let (mut pages, mut rooms, mut query) = (0, 0, "limit=100".to_owned());
    loop {
        let page = hierarchy(server, alice, &root, &query).ok();
        assert!(asked(peer) <= 30, "of requests for one page there are few");
        assert!(page.to_string().len() < 1_000_000);
        pages += 1;
        rooms += list(&page["rooms"]).len();
        let Some(next) = page["next_batch"].as_str() else { break };
        query = format!("limit=100&from={next}");
        assert!(pages < 500, "there is no end");
    }
    assert!((500..=2_000).contains(&rooms), "{rooms}");
    let deep = hierarchy(server, alice, &root, "limit=100").ok();
    let dots = list(&deep["rooms"]).iter().map(|room| room["room_id"].as_str().unwrap().matches('.').count());
    assert!(dots.max().unwrap() <= 21, "no deeper than twenty");
}

#[test]
fn a_server_that_lies_about_a_space_is_believed_in_nothing_else() {
    let scene = Scene::new();
    let (server, alice, peer) = (&scene.server, &scene.alice, &scene.peer);
    let root = space(server, alice, "root");
    let known = server.create_room(alice, json!({ "name": "known" }));
    let far = format!("!far:{}", peer.name());
    server.set_state(alice, &root, "m.space.child", &far, json!({ "via": [peer.name()] }));
    let via = peer.name().to_string();
    let says = |answer: Value| {
        peer.says("GET", "/hierarchy/", 200, answer);
        // What was answered before is too old by now.
        scene.network.advance(6 * 60 * 1000);
        names(&hierarchy(server, alice, &root, "").ok())
    };
    let stray = "!stray:x.example".to_owned();
    let named = "!named:x.example".to_owned();
    let mut answer = hierarchy_answer(&far, &[named.clone(), known.clone()], &via);
    let mut lie = summary(&known, None);
    lie["name"] = "a lie".into();
    let mut riddle = summary(&named, None);
    riddle["join_rule"] = "org.example.riddle".into();
    riddle["world_readable"] = true.into();
    answer["children"] = json!([summary(&stray, None), lie, riddle]);
    assert_eq!(says(answer.clone()), ["root", &far, "known", &named], "rooms we are in and rooms it does not name");
    answer["children"] = json!([]);
    answer["inaccessible_children"] = json!([known, root]);
    assert_eq!(
        says(answer.clone()),
        ["root", &far],
        "a room it is not, though it says so; the unnamed it knows nothing of"
    );

    assert_eq!(says(hierarchy_answer(&root, &[], &via)), ["root"], "it tells of another room");
    let mut wrong = hierarchy_answer(&far, &[], &via);
    wrong["room"]["children_state"] = json!([
        { "type": "m.space.child", "state_key": "nonsense", "sender": "@e:x", "content": { "via": ["x"] }, "origin_server_ts": 1 },
        { "type": "m.room.name", "state_key": known, "sender": "@e:x", "content": { "via": ["x"] }, "origin_server_ts": 1 },
        { "type": "m.space.child", "state_key": known, "sender": "e", "content": { "via": ["x"] }, "origin_server_ts": 1 },
        { "type": "m.space.child", "state_key": known, "content": { "via": ["x"] } },
        5,
    ]);
    assert_eq!(says(wrong), ["root", &far]);
    for nonsense in [json!({}), json!([]), json!({ "room": {} }), json!({ "room": summary(&far, None) })] {
        assert_eq!(says(nonsense), ["root"]);
    }
    let mut large = hierarchy_answer(&far, &[], &via);
    large["room"]["topic"] = "x".repeat(600_000).into();
    assert_eq!(says(large), ["root"], "an answer too large to be one");
}

#[test]
fn a_server_that_stalls_holds_up_a_walk_for_seconds_only() {
    let scene = Scene::new();
    let (server, alice, peer) = (&scene.server, &scene.alice, &scene.peer);
    let root = space(server, alice, "root");
    for n in 0..20 {
        let far = format!("!far{n}:{}", peer.name());
        server.set_state(alice, &root, "m.space.child", &far, json!({ "via": [peer.name()] }));
    }
    let own = room(server, alice, "own");
    put_in(server, alice, &root, &own, json!({}));
    scene.network.link(server.server_name(), peer.name(), Link::Stalling);
    let path = format!("/_matrix/client/v1/rooms/{}/hierarchy", escaped(&root));
    let begun_ms = scene.network.surroundings.clock.now_ms();
    let page = scene.network.patiently(&server.start("GET", &path, Some(&alice.token))).ok();
    let took_ms = scene.network.surroundings.clock.now_ms() - begun_ms;
    assert!((5_000..=20_000).contains(&took_ms), "{took_ms}");
    assert_eq!(names(&page), ["root"]);
    assert!(page["next_batch"].is_string(), "there is more, which the next page goes on with");
}

#[test]
fn a_summary_is_learnt_from_servers_that_know_the_room() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let public =
        a.create_room(&alice, json!({ "name": "Public", "preset": "public_chat", "room_alias_name": "public" }));
    let private = a.create_room(&alice, json!({ "name": "Private" }));
    let via = format!("via={}", a.server_name());
    let told = room_summary(&b, &public, &via, Some(&bob.token)).ok();
    assert_eq!(
        (&told["name"], &told["membership"], &told["room_id"]),
        (&json!("Public"), &json!("leave"), &json!(public))
    );
    let told = room_summary(&b, &public, &via, None).ok();
    assert_eq!((&told["name"], &told["membership"]), (&json!("Public"), &Value::Null));
    let alias = format!("#public:{}", a.server_name());
    assert_eq!(room_summary(&b, &alias, "", None).ok()["name"], "Public", "the alias's server is asked");
    room_summary(&b, &private, &via, Some(&bob.token)).is_error(404, "M_NOT_FOUND");
    // Invited, one learns of it; others on the same server do not.
    a.act_on(&alice, &private, "invite", &TestUser { id: bob.id.clone(), ..alice.clone() });
    network.settle();
    let told = room_summary(&b, &private, &via, Some(&bob.token)).ok();
    assert_eq!((&told["name"], &told["membership"]), (&json!("Private"), &json!("invite")));
    let carol = b.register("carol");
    room_summary(&b, &private, &via, Some(&carol.token)).is_error(404, "M_NOT_FOUND");
    room_summary(&b, &private, &via, None).is_error(404, "M_NOT_FOUND");
    room_summary(&b, "!nowhere:x.example", "via=not%20a%20name", None).is_error(400, "M_INVALID_PARAM");
    network.cut(&a, &b);
    network.advance(6 * 60 * 1000);
    room_summary(&b, &public, &via, Some(&bob.token)).is_error(404, "M_NOT_FOUND");
    // What came with the invite is known all the same, and to nobody else.
    let told = room_summary(&b, &private, "", Some(&bob.token)).ok();
    let expected = json!({
        "room_id": private, "name": "Private", "num_joined_members": 1, "join_rule": "invite", "world_readable": false,
        "guest_can_join": false, "room_version": "12", "membership": "invite",
    });
    assert_eq!(told, expected);
    room_summary(&b, &private, "", Some(&carol.token)).is_error(404, "M_NOT_FOUND");
    b.try_leave(&bob, &private).ok();
    room_summary(&b, &private, "", Some(&bob.token)).is_error(404, "M_NOT_FOUND");
}
