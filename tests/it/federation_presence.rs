//! Presence between homeservers.
use serde_json::{Value, json};

use crate::{
    federation_network::Network,
    federation_scene::Scene,
    harness::{TestServer, TestUser},
    talk::{list, next_batch, sync_path},
};

const QUIET: &str = "&set_presence=offline";

fn told(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = list(&answer["presence"]["events"]).iter();
    events.map(|event| (text(&event["sender"]), text(&event["content"]["presence"]))).collect()
}

fn status(server: &TestServer, viewer: &TestUser, user: &str) -> Value {
    server.get(&format!("/_matrix/client/v3/presence/{user}/status"), &viewer.token).ok()
}

/// The presence that was sent over the network since the last call.
fn sent(network: &Network) -> Vec<Value> {
    let carried = network.take_carried().into_iter().filter(|one| one.path.contains("/send/"));
    let edus = carried.flat_map(|one| list(&one.body["edus"]).to_vec());
    edus.filter(|edu| edu["edu_type"] == "m.presence").map(|mut edu| edu["content"]["push"].take()).collect()
}

#[test]
fn presence_crosses_to_servers_that_share_a_room() {
    let (network, (here, alice), (there, bob)) = Network::pair();
    let elsewhere = network.server();
    let room = here.public_room(&alice);
    here.sync(&alice, None, "");
    there.join_via(&bob, &room, here.server_name()).ok();
    let since = next_batch(&there.sync(&bob, None, QUIET));
    network.advance(1_000);
    assert_eq!(told(&there.sync(&bob, Some(&since), QUIET)), [(alice.id.clone(), "online".to_owned())]);
    sent(&network);
    for n in 0..3 {
        let body = json!({ "presence": "online", "status_msg": format!("busy {n}") });
        here.put(&format!("/_matrix/client/v3/presence/{}/status", alice.id), &alice.token, body).ok();
    }
    network.advance(1_000);
    let told = sent(&network);
    assert_eq!(told.len(), 1, "what changes quickly is told once, to those concerned: {told:?}");
    assert_eq!(told[0][0]["status_msg"], "busy 2");
    assert_eq!(status(&there, &bob, &alice.id)["status_msg"], "busy 2");
    drop(elsewhere);
    // She goes; nothing is said of her after that.
    network.advance(30_000);
    network.advance(1_000);
    assert_eq!(status(&there, &bob, &alice.id)["presence"], "offline");
    sent(&network);
    network.advance(3_600_000);
    assert_eq!(sent(&network), [] as [Value; 0]);
}

#[test]
fn servers_that_were_away_are_told_when_they_are_met() {
    let (network, (here, alice), (there, bob)) = Network::pair();
    let room = here.public_room(&alice);
    there.join_via(&bob, &room, here.server_name()).ok();
    network.cut(&here, &there);
    here.get(&sync_path(None, 30_000, ""), &alice.token).ok();
    network.advance(1_000);
    assert_eq!(status(&there, &bob, &alice.id)["presence"], "offline");
    network.reconnect(&here, &there);
    network.advance(1_000);
    assert_eq!(status(&there, &bob, &alice.id)["presence"], "online");
}

#[test]
fn servers_speak_for_their_own_users_in_shared_rooms_only() {
    let scene = Scene::new();
    let (server, user, eve) = (&scene.server, &scene.alice, scene.eve.as_str());
    let edus = std::cell::Cell::new(0);
    let say = |content: Value| {
        edus.set(edus.get() + 1);
        let edu = json!({ "edu_type": "m.presence", "content": content });
        scene.peer.send(server, &format!("t{}", edus.get()), &[], &[edu]).ok();
    };
    let peer = scene.peer.name().to_owned();
    let stranger = format!("@stranger:{peer}");
    let update =
        |user: &str| json!({ "user_id": user, "presence": "online", "last_active_ago": 5, "currently_active": true });
    let push = json!([
        update(&stranger),
        update(&user.id),
        update("@bob:example.org"),
        { "user_id": eve, "presence": "dancing" },
        { "user_id": eve },
        7,
    ]);
    say(json!({ "push": push }));
    say(json!({ "push": 7 }));
    assert_eq!(status(server, user, &user.id)["presence"], "offline");
    assert_eq!(status(server, user, eve)["presence"], "offline");
    let mut online = update(eve);
    online["status_msg"] = "x".repeat(2_000).into();
    say(json!({ "push": [online] }));
    let shown = json!({ "presence": "online", "last_active_ago": 5, "currently_active": true });
    assert_eq!(status(server, user, eve), shown);
    server.advance(30 * 60_000);
    assert_eq!(status(server, user, eve)["presence"], "offline", "nobody is believed for ever");
}
