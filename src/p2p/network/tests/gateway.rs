//! A homeserver and its gateway, which is one of its relays: what goes through, both ways, and what does not.
use futures::future::Either as Selected;

use super::*;
use crate::{
    domain::zone::Found,
    p2p::{
        http::{ClientStream, ExchangeLimits, Handler},
        streams,
    },
    ports::Reach,
};

const ZONE: &str = "tabs.example.org";
const LIMITS: ExchangeLimits = ExchangeLimits { stall_ms: 10_000, total_ms: 10_000, answer_body_bytes: 4_096 };

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct GatewayBehaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

/// A relay at `/memory/<port>` that answers as a gateway with what it heard, and asks whoever connects for `/asked`.
struct GatewayRelay {
    address: Multiaddr,
    /// What the peers answered, or that they opened no stream.
    answers: RefCell<mpsc::UnboundedReceiver<Option<String>>>,
    _alive: oneshot::Sender<()>,
}

impl GatewayRelay {
    fn start(spawner: &Spawner, seed: u8, port: u64) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let local = keypair.public().to_peer_id();
        let behaviour = GatewayBehaviour {
            relay: relay::Behaviour::new(local, generous()),
            identify: identify::Behaviour::new(identify::Config::new("/relay/1".to_owned(), keypair.public())),
            ping: ping::Behaviour::default(),
            streams: streams::Behaviour::new([Spoken::Gateway]),
        };
        let config = swarm::Config::without_executor().with_idle_connection_timeout(PATIENCE);
        let mut swarm = Swarm::new(base(&keypair), behaviour, local, config);
        let address: Multiaddr = format!("/memory/{port}").parse().unwrap();
        swarm.listen_on(address.clone()).unwrap();
        swarm.add_external_address(address.clone());
        let (alive, mut died) = oneshot::channel();
        let (sender, answers) = mpsc::unbounded();
        let tasks = spawner.clone();
        spawner.spawn(Box::pin(async move {
            while let Selected::Left((Some(event), _)) = select(swarm.next(), &mut died).await {
                match event {
                    swarm::SwarmEvent::Behaviour(GatewayBehaviourEvent::Streams(incoming)) => {
                        assert_eq!(incoming.spoken, Spoken::Gateway);
                        let handler: Handler = Rc::new(|request| {
                            let host = request.headers()["host"].to_str().unwrap();
                            let text = format!("carried {} to {host}", request.uri());
                            async { http::Response::new(Bytes::from(text)) }.boxed_local()
                        });
                        let budget = crate::p2p::http::Budget::new(1 << 20);
                        tasks.spawn(Box::pin(async move {
                            crate::p2p::http::serve(incoming.stream, handler, async || (), Rc::new(RealTime), budget)
                                .await;
                        }));
                    }
                    swarm::SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                        let (answer, opened) = oneshot::channel();
                        swarm.behaviour_mut().streams.open(peer_id, connection_id, Spoken::Gateway, answer);
                        let sender = sender.clone();
                        tasks.spawn(Box::pin(async move {
                            sender.unbounded_send(asked(opened.await).await).unwrap_or(());
                        }));
                    }
                    _ => {}
                }
            }
        }));
        let address = address.with(libp2p::multiaddr::Protocol::P2p(local));
        Self { address, answers: RefCell::new(answers), _alive: alive }
    }

    fn gateway(&self) -> Gateway {
        let Some(libp2p::multiaddr::Protocol::P2p(peer)) = self.address.iter().last() else { unreachable!() };
        Gateway { peer: peer.to_string(), zone: ZONE.to_owned() }
    }

    async fn next_answer(&self) -> Option<String> {
        std::future::poll_fn(|context| self.answers.borrow_mut().poll_next_unpin(context)).await.unwrap()
    }
}

/// What a peer answers on the stream, if there is one and it is served.
async fn asked(opened: Result<Result<HttpStream, OpenError>, oneshot::Canceled>) -> Option<String> {
    let mut stream = ClientStream::new(opened.ok()?.ok()?).await.ok()?;
    let request = http::Request::get("/asked").header("host", "a.example").body(Bytes::new()).unwrap();
    let answer = stream.exchange(request, LIMITS, &RealTime).await.ok()?;
    Some(String::from_utf8(answer.into_body().to_vec()).unwrap())
}

fn network(spawner: &Spawner, seed: u8, suffix: &str, relays: &[&GatewayRelay], gateway: Option<Gateway>) -> Network {
    let identity = Rc::new(Identity::from_seed([seed; 32], suffix).unwrap());
    let options = NetworkOptions {
        identity,
        relays: relays.iter().map(|relay| relay.address.to_string()).collect(),
        rtc: None,
        direct_peers_max: DIRECT_PEERS_MAX,
        has_ice_servers: false,
        gateway,
        clock: Rc::new(RealTime),
        entropy: Rc::new(RealTime),
        tasks: Rc::new(spawner.clone()),
    };
    let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    Network::new(options, base(&keypair), swarm::Config::without_executor())
}

/// Tells of the servers that were met.
fn start(network: &Network) -> mpsc::UnboundedReceiver<OwnedServerName> {
    let (sender, met) = mpsc::unbounded();
    let handler: PeerHandler = Rc::new(|caller, _| {
        let text = match caller {
            Caller::Gateway(key) => format!("told by the gateway {}", key.label()),
            Caller::Peer(_) => "told by a peer".to_owned(),
        };
        async { http::Response::new(Bytes::from(text)) }.boxed_local()
    });
    let observer = move |event| {
        if let NetworkEvent::PeerConnected(server) = event {
            sender.unbounded_send(server).unwrap_or(());
        }
    };
    network.run(handler, Rc::new(observer));
    met
}

fn web() -> OwnedServerName {
    ServerName::parse("example.org").unwrap()
}

async fn ask(network: &Network, signed: bool) -> Result<String, TransportError> {
    let mut request = http::Request::get("/_matrix/federation/v1/version");
    if signed {
        request = request.header("authorization", "X-Matrix whatever");
    }
    let answer = network.request(web(), Lane::Queries, request.body(Bytes::new()).unwrap()).await?;
    Ok(String::from_utf8(answer.into_body().to_vec()).unwrap())
}

#[test]
fn servers_of_the_web_are_reached_through_the_gateway() {
    run(async |spawner: Spawner| {
        let relay = GatewayRelay::start(&spawner, 150, 1050);
        let network = network(&spawner, 51, ZONE, &[&relay], Some(relay.gateway()));
        assert_eq!(network.reach(&web()), Reach::Later, "not connected yet");
        let mut met = start(&network);
        let answer = ask(&network, true).await.unwrap();
        assert_eq!(answer, "carried /_matrix/federation/v1/version to example.org");
        assert_eq!(met.next().await.unwrap(), web());
        assert_eq!((network.connected(), network.reach(&web())), (vec![web()], Reach::Now));
        assert_eq!(Transport::found(&network, &web()), Found::OnTheWeb);
        // The gateway believes nothing that is not signed, so nothing like that is sent.
        let unsigned = ask(&network, false).await.unwrap_err();
        assert!(matches!(unsigned, TransportError::Unreachable { .. }), "{unsigned}");
        // It is asked itself by the name it has.
        let own = relay.gateway().server_name().unwrap();
        let request = http::Request::get("/_matrix/key/v2/query/x").body(Bytes::new()).unwrap();
        let answer = network.request(own.clone(), Lane::Queries, request).await.unwrap();
        assert_eq!(answer.body(), &Bytes::from(format!("carried /_matrix/key/v2/query/x to {own}")));
    });
}

#[test]
fn the_gateway_asks_us_and_no_other_relay_does_in_its_place() {
    run(async |spawner: Spawner| {
        let (relay, other) = (GatewayRelay::start(&spawner, 152, 1052), GatewayRelay::start(&spawner, 153, 1053));
        let network = network(&spawner, 52, ZONE, &[&relay, &other], Some(relay.gateway()));
        let _met = start(&network);
        let key = Identity::from_seed([152; 32], ZONE).unwrap().public_key();
        assert_eq!(relay.next_answer().await, Some(format!("told by the gateway {}", key.label())));
        assert_eq!(other.next_answer().await, None, "its stream is reset");
    });
}

#[test]
fn without_a_gateway_for_our_name_there_is_no_way_to_the_web() {
    run(async |spawner: Spawner| {
        let relay = GatewayRelay::start(&spawner, 154, 1054);
        let never = |network: &Network| match network.reach(&web()) {
            Reach::Never { reason } => reason,
            reach => panic!("{reach:?}"),
        };
        let alt = network(&spawner, 53, "alt", &[&relay], Some(relay.gateway()));
        let _met = start(&alt);
        assert!(never(&alt).contains(".alt"), "{}", never(&alt));
        let error = ask(&alt, true).await.unwrap_err();
        assert!(matches!(error, TransportError::NeverReachable { .. }), "{error}");
        // One that was made on a page with a gateway may find it again: what waits for the web goes on waiting.
        let elsewhere = network(&spawner, 54, "other.example", &[&relay], Some(relay.gateway()));
        let _met = start(&elsewhere);
        assert!(never(&elsewhere).contains(".other.example"));
        let error = ask(&elsewhere, true).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        let without = network(&spawner, 55, ZONE, &[&relay], None);
        let _met = start(&without);
        assert!(never(&without).contains("no gateway"));
        // What is no gateway is none: neither a relay of ours, nor of a zone that is one.
        let strangers = Gateway { peer: PeerId::random().to_string(), zone: ZONE.to_owned() };
        let malformed = Gateway { zone: "Not A Zone".to_owned(), ..relay.gateway() };
        for gateway in [strangers, malformed] {
            assert!(never(&network(&spawner, 56, ZONE, &[&relay], Some(gateway))).contains("no gateway"));
        }
    });
}
