//! Invites to whoever has an address elsewhere: an identity server, played by a key, says who that is.
use ruma::{OwnedUserId, signatures::sign_json};
use serde_json::{Value, json};
use warren::{api, domain::identity::Identity};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, object},
    federation_scene::Scene,
    harness::{Answer, TestServer, TestUser, request},
    talk::escaped,
};

const TOKEN: &str = "abc123";

/// The identity server.
fn identity_server() -> Identity {
    Identity::named([55; 32], "id.example".try_into().unwrap())
}

fn base64(identity: &Identity) -> String {
    ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(identity.public_key().0.to_vec()).encode()
}

/// Alice asks whoever has the address, as a server with an identity server would for her.
fn invite_address(server: &TestServer, alice: &TestUser, room: &str) {
    let key = base64(&identity_server());
    let content = json!({
        "display_name": "b...@e...",
        "key_validity_url": "https://id.example/valid",
        "public_key": key,
        "public_keys": [{ "public_key": key }],
    });
    server.set_state(alice, room, "m.room.third_party_invite", TOKEN, content);
}

/// What an identity server signs once it knows who has the address.
fn signed_by(identity: &Identity, user: &str, token: &str) -> Value {
    let mut object = object(json!({ "mxid": user, "token": token }));
    sign_json("id.example", identity.key_pair(), &mut object).unwrap();
    serde_json::to_value(object).unwrap()
}

fn content(signed: Value) -> Value {
    json!({ "membership": "invite", "third_party_invite": { "display_name": "made up", "signed": signed } })
}

fn exchange(peer: &Peer, server: &TestServer, room: &str, body: Value) -> Answer {
    let path = format!("/_matrix/federation/v1/exchange_third_party_invite/{}", escaped(room));
    let answer = peer.ask(server, "PUT", &path, body);
    server.settle();
    answer
}

fn partial(room: &str, sender: &str, target: &OwnedUserId, content: Value) -> Value {
    json!({ "type": "m.room.member", "room_id": room, "sender": sender, "state_key": target, "content": content })
}

#[test]
fn an_invite_to_an_address_becomes_one_to_whoever_has_it() {
    let scene = Scene::new();
    let (server, alice, room) = (&scene.server, &scene.alice, &scene.room);
    invite_address(server, alice, room);
    let fay = scene.peer.user("fay");
    let signed = signed_by(&identity_server(), fay.as_str(), TOKEN);
    let body = partial(room, &alice.id, &fay, content(signed.clone()));
    assert_eq!(exchange(&scene.peer, server, room, body.clone()).ok(), json!({}));
    assert_eq!(server.membership(room, fay.as_str()).as_deref(), Some("invite"));
    let state = server.state_of(room);
    let event = server.inspected_event(&state[&("m.room.member".to_owned(), fay.to_string())]).unwrap();
    let event: Value = serde_json::from_str(&event.json).unwrap();
    assert_eq!(event["sender"], alice.id);
    assert_eq!(event["content"]["third_party_invite"]["signed"], signed);
    assert_eq!(event["content"]["third_party_invite"]["display_name"], "b...@e...", "as Alice called them");
}

#[test]
fn what_the_identity_server_did_not_say_is_no_invite() {
    let scene = Scene::new();
    let (server, alice, room, peer) = (&scene.server, &scene.alice, &scene.room, &scene.peer);
    let fay = peer.user("fay");
    let good = || content(signed_by(&identity_server(), fay.as_str(), TOKEN));
    let refused = |body: Value, status: u16, errcode: &str| {
        exchange(peer, server, room, body).is_error(status, errcode);
        assert_eq!(server.membership(room, fay.as_str()), None);
    };
    // Before Alice has invited anybody.
    refused(partial(room, &alice.id, &fay, good()), 403, "M_FORBIDDEN");
    invite_address(server, alice, room);
    let other_key = Identity::named([56; 32], "id.example".try_into().unwrap());
    for wrong in [
        content(signed_by(&other_key, fay.as_str(), TOKEN)),
        content(signed_by(&identity_server(), fay.as_str(), "another")),
        content(signed_by(&identity_server(), peer.user("gil").as_str(), TOKEN)),
        content(json!({ "mxid": fay, "token": TOKEN })),
        content(json!({})),
        content(json!("signed")),
    ] {
        refused(partial(room, &alice.id, &fay, wrong), 403, "M_FORBIDDEN");
    }
    // Somebody of this server who did not invite, and somebody of another.
    let bob = server.register("bob");
    server.join(&bob, room);
    refused(partial(room, &bob.id, &fay, good()), 403, "M_FORBIDDEN");
    refused(partial(room, scene.eve.as_str(), &fay, good()), 403, "M_FORBIDDEN");
    // Not whole, or not an invite.
    for field in ["room_id", "sender", "state_key", "content", "type"] {
        let mut body = partial(room, &alice.id, &fay, good());
        body.as_object_mut().unwrap().remove(field);
        refused(body, 400, "M_MISSING_PARAM");
    }
    let mut of_type = partial(room, &alice.id, &fay, good());
    of_type["type"] = json!("m.room.topic");
    refused(of_type, 400, "M_INVALID_PARAM");
    let mut of_another_room = partial(room, &alice.id, &fay, good());
    of_another_room["room_id"] = json!("!elsewhere:example.org");
    refused(of_another_room, 400, "M_INVALID_PARAM");
    let mut join = good();
    join["membership"] = json!("join");
    refused(partial(room, &alice.id, &fay, join), 400, "M_INVALID_PARAM");
    for bad in [json!({ "membership": "invite" }), json!({ "membership": 1 }), json!([])] {
        refused(partial(room, &alice.id, &fay, bad), 400, "M_INVALID_PARAM");
    }
    // For somebody of another server, and to a room that is not here.
    let stranger: OwnedUserId = "@fay:elsewhere.example".try_into().unwrap();
    let of_another = content(signed_by(&identity_server(), stranger.as_str(), TOKEN));
    exchange(peer, server, room, partial(room, &alice.id, &stranger, of_another)).is_error(403, "M_FORBIDDEN");
    exchange(peer, server, "!nowhere:example.org", partial("!nowhere:example.org", &alice.id, &fay, good()))
        .is_error(404, "M_NOT_FOUND");
    // Taken back by Alice.
    server.set_state(alice, room, "m.room.third_party_invite", TOKEN, json!({}));
    refused(partial(room, &alice.id, &fay, good()), 403, "M_FORBIDDEN");
}

/// What an identity server signs for whoever opens the link it sent.
fn shown(identity: &Identity, sender: &str, user: &str, token: &str) -> Value {
    let mut object = object(json!({ "sender": sender, "mxid": user, "token": token }));
    sign_json("id.example", identity.key_pair(), &mut object).unwrap();
    serde_json::to_value(object).unwrap()
}

#[test]
fn who_shows_an_invite_to_an_address_is_let_in() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.create_room(&alice, json!({ "preset": "private_chat" }));
    invite_address(&a, &alice, &room);
    let join = |server: &TestServer, user: &TestUser, shown: Value| {
        let path = format!("/_matrix/client/v3/join/{}?server_name={}", escaped(&room), a.server_name());
        let body = json!({ "third_party_signed": shown }).to_string();
        network.patiently(&server.queue(request("POST", &path, Some(&user.token), body)))
    };
    let other = Identity::named([56; 32], "id.example".try_into().unwrap());
    let carol = a.register("carol");
    for (server, user) in [(&b, &bob), (&a, &carol)] {
        let mut altered = shown(&identity_server(), &alice.id, &user.id, TOKEN);
        altered["extra"] = json!(1);
        altered["token"] = json!("another");
        for wrong in [
            shown(&other, &alice.id, &user.id, TOKEN),
            shown(&identity_server(), &alice.id, &alice.id, TOKEN),
            shown(&identity_server(), &alice.id, &user.id, "another"),
            shown(&identity_server(), &user.id, &user.id, TOKEN),
            altered,
        ] {
            assert_eq!(join(server, user, wrong).errcode(), "M_FORBIDDEN");
            assert_ne!(a.membership(&room, &user.id).as_deref(), Some("join"));
        }
        join(server, user, json!({ "mxid": user.id })).is_error(400, "M_MISSING_PARAM");
        join(server, user, shown(&identity_server(), &alice.id, &user.id, TOKEN)).ok();
        assert_eq!(a.membership(&room, &user.id).as_deref(), Some("join"));
        // Once in, nothing is left to redeem.
        join(server, user, shown(&identity_server(), &alice.id, &user.id, TOKEN)).ok();
    }
    let joined = b.state_of(&room);
    let member = a.inspected_event(&joined[&("m.room.member".to_owned(), carol.id.clone())]).unwrap();
    assert!(member.json.contains(r#""membership":"join""#));
}

#[test]
fn a_key_that_would_have_to_be_asked_about_lets_nobody_in() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.create_room(&alice, json!({ "preset": "private_chat" }));
    let key = base64(&identity_server());
    let url = "https://id.example/valid";
    let join = || {
        let path = format!("/_matrix/client/v3/rooms/{}/join", escaped(&room));
        let shown = shown(&identity_server(), &alice.id, &bob.id, TOKEN);
        server.post(&path, &bob.token, json!({ "third_party_signed": shown }))
    };
    for public_keys in [json!([{ "public_key": key, "key_validity_url": url }]), json!([]), json!("none"), json!([{}])]
    {
        let content =
            json!({ "display_name": "b", "key_validity_url": url, "public_key": key, "public_keys": public_keys });
        server.set_state(&alice, &room, "m.room.third_party_invite", TOKEN, content);
        join().is_error(403, "M_FORBIDDEN");
        assert_eq!(server.membership(&room, &bob.id), None);
    }
    invite_address(&server, &alice, &room);
    join().ok();
    assert_eq!(server.membership(&room, &bob.id).as_deref(), Some("join"));
}

fn bound(user: &str, invites: Value) -> api::Request {
    let body = json!({ "medium": "email", "address": "bob@example.org", "mxid": user, "invites": invites });
    request("PUT", "/_matrix/federation/v1/3pid/onbind", None, body.to_string())
}

#[test]
fn an_identity_servers_notice_has_the_inviter_asked() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let (room, identity_peer) = (a.create_room(&alice, json!({})), network.peer());
    invite_address(&a, &alice, &room);
    let signed = signed_by(&identity_server(), &bob.id, TOKEN);
    let invite = json!({
        "medium": "email", "address": "bob@example.org", "mxid": bob.id, "room_id": room, "sender": alice.id,
        "signed": signed,
    });
    let notice = |invites: Value| {
        let answer = b.send_as(identity_peer.key(), bound(&bob.id, invites));
        network.settle();
        answer
    };
    // What was not signed for Bob goes nowhere.
    let mut of_another = invite.clone();
    of_another["mxid"] = json!(alice.id);
    notice(json!([of_another])).is_error(400, "M_INVALID_PARAM");
    let mut signed_for_another = invite.clone();
    signed_for_another["signed"] = signed_by(&identity_server(), &alice.id, TOKEN);
    notice(json!([signed_for_another])).is_error(400, "M_INVALID_PARAM");
    let many: Vec<_> = (0..21).map(|_| invite.clone()).collect();
    notice(json!(many)).is_error(413, "M_TOO_LARGE");
    notice(json!([{}])).is_error(400, "M_MISSING_PARAM");
    notice(json!("none")).is_error(400, "M_BAD_JSON");
    let nobody = format!("@nobody:{}", b.server_name());
    b.send_as(identity_peer.key(), bound(&nobody, json!([]))).is_error(404, "M_NOT_FOUND");
    b.send_as(identity_peer.key(), bound(&alice.id, json!([]))).is_error(404, "M_NOT_FOUND");
    assert_eq!(a.membership(&room, &bob.id), None);

    assert_eq!(notice(json!([invite])).ok(), json!({}));
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("invite"));
    assert!(b.sync(&bob, None, "")["rooms"]["invite"][&room].is_object(), "Bob is told of it");
    b.join_via(&bob, &room, a.server_name()).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
}
