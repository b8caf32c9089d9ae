//! Which multiaddresses a browser can dial.
use libp2p::Multiaddr;
use warren_browser::websocket::address::url;

const PEER: &str = "12D3KooWETLZBFBfkzvH3BQEtA1TJZPmjb4a18ss5TpwNU7DHDX6";

pub async fn every_websocket_address_becomes_a_url_and_no_other() {
    let of = |text: &str| url(&text.parse::<Multiaddr>().unwrap());
    for (address, expected) in [
        ("/ip4/127.0.0.1/tcp/8080/ws", "ws://127.0.0.1:8080/"),
        ("/ip6/::1/tcp/80/ws", "ws://[::1]:80/"),
        ("/dns/localhost/tcp/1/ws", "ws://localhost:1/"),
        ("/dns4/relay.example/tcp/443/wss", "wss://relay.example:443/"),
        ("/dns6/relay.example/tcp/443/tls/ws", "wss://relay.example:443/"),
    ] {
        assert_eq!(of(address).as_deref(), Some(expected));
        assert_eq!(of(&format!("{address}/p2p/{PEER}")).as_deref(), Some(expected));
    }
    for foreign in [
        "/ip4/127.0.0.1/tcp/8080",
        "/ip4/127.0.0.1/udp/8080/quic-v1",
        "/ip4/127.0.0.1/tcp/8080/tls",
        "/ip4/127.0.0.1/udp/8080/webrtc-direct",
        "/memory/1",
        "/dnsaddr/relay.example/tcp/1/ws",
        &format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{PEER}/p2p-circuit"),
        &format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{PEER}/p2p-circuit/p2p/{PEER}"),
        &format!("/p2p/{PEER}"),
    ] {
        assert_eq!(of(foreign), None, "{foreign}");
    }
}
