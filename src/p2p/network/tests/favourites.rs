//! Which peers are connected directly when there are more than may be, and what becomes of the others.
use libp2p_webrtc_p2p::backend::memory::MemoryNetwork;

use super::{direct::direct, *};
use crate::{
    p2p::{connections::Path, favourites::LIFETIME_MIN_MS},
    ports::Wanted,
};

/// Real time that can be set forward.
#[derive(Clone, Default)]
struct Jumping(Rc<Cell<u64>>);

impl Jumping {
    fn forward(&self, ms: u64) {
        self.0.set(self.0.get() + ms);
    }
}

impl Clock for Jumping {
    fn now_ms(&self) -> u64 {
        RealTime.now_ms() + self.0.get()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        RealTime.sleep_ms(duration_ms)
    }
}

/// Tabs at one relay, with one clock and peer connections in memory.
struct Scene {
    spawner: Spawner,
    relay: Relay,
    rtc: MemoryNetwork,
    clock: Jumping,
}

impl Scene {
    fn new(spawner: Spawner, seed: u8) -> Self {
        let relay = Relay::start(&spawner, seed, 900 + u64::from(seed), generous());
        Self { spawner, relay, rtc: MemoryNetwork::default(), clock: Jumping::default() }
    }

    async fn tab(&self, seed: u8, direct_peers_max: usize) -> Tab {
        self.tab_with(seed, direct_peers_max, |answer| async { answer }.boxed_local()).await
    }

    async fn tab_with(
        &self,
        seed: u8,
        direct_peers_max: usize,
        delay: impl Fn(http::Response<Bytes>) -> LocalBoxFuture<'static, http::Response<Bytes>> + 'static,
    ) -> Tab {
        let bound: (usize, Rc<dyn Clock>) = (direct_peers_max, Rc::new(self.clock.clone()));
        let rtc: Option<Box<dyn RtcBackend>> = Some(Box::new(self.rtc.clone()));
        let tab = Tab::start_bounded(&self.spawner, seed, &[&self.relay], rtc, bound, delay);
        tab.reachable().await;
        tab
    }
}

impl Tab {
    fn wants(&self, others: &[(&Tab, u32)]) {
        let wanted = others.iter().map(|(tab, weight)| Wanted { server: tab.name.clone(), weight: *weight });
        self.network.set_wanted(wanted.collect());
    }

    fn direct_peers(&self) -> usize {
        self.network.status().peers.iter().filter(|peer| peer.path() == Some(Path::Direct)).count()
    }

    async fn refused_by(&self, other: &Tab) {
        let failed = |status: &NetworkStatus| {
            let attempts =
                status.peers.iter().filter(|peer| peer.server == other.name).filter_map(|peer| peer.direct.as_ref());
            attempts.into_iter().any(|attempt| attempt.failure.is_some())
        };
        self.until(failed).await;
    }

    async fn talks_with(&self, other: &Tab) {
        other.answers(self, "/there").await;
        self.answers(other, "/back").await;
    }
}

#[test]
fn the_most_wanted_are_direct_and_the_others_keep_their_circuit() {
    run(async |spawner: Spawner| {
        let scene = Scene::new(spawner, 130);
        let hub = scene.tab(40, 2).await;
        let others = [scene.tab(41, 24).await, scene.tab(42, 24).await, scene.tab(43, 24).await];
        let [first, second, third] = &others;
        hub.wants(&[(first, 5), (second, 6), (third, 9)]);
        for other in [first, second] {
            hub.talks_with(other).await;
            direct(&hub, other).await;
        }
        hub.talks_with(third).await;
        join(hub.reaches(third, Path::Relay), third.refused_by(&hub)).await;
        assert_eq!(hub.direct_peers(), 2, "they are too new to be evicted");
        scene.clock.forward(LIFETIME_MIN_MS);
        hub.wants(&[(first, 5), (second, 6), (third, 9)]);
        direct(&hub, third).await;
        join(hub.reaches(first, Path::Relay), first.reaches(&hub, Path::Relay)).await;
        for other in &others {
            hub.talks_with(other).await;
            assert!(hub.direct_peers() <= 2);
        }
        assert_eq!((hub.direct_to(first), hub.direct_to(second), hub.direct_to(third)), (0, 1, 1));
    });
}

#[test]
fn nobody_is_evicted_in_the_middle_of_an_exchange() {
    run(async |spawner: Spawner| {
        let scene = Scene::new(spawner, 131);
        let hub = scene.tab(44, 1).await;
        // Answers the third request, and those after it, when it is told to.
        let (asked, (release, released)) = (Rc::new(Cell::new(0)), oneshot::channel::<()>());
        let (count, released) = (asked.clone(), released.shared());
        let slow = scene.tab_with(45, 24, move |answer| {
            count.set(count.get() + 1);
            let (nth, released) = (count.get(), released.clone());
            async move {
                if nth > 1 {
                    let _ = released.await;
                }
                answer
            }
            .boxed_local()
        });
        let slow = slow.await;
        let wanted = scene.tab(46, 24).await;
        hub.wants(&[(&slow, 2), (&wanted, 9)]);
        slow.answers(&hub, "/first").await;
        direct(&hub, &slow).await;
        let exchange = hub.ask(&slow.name, "/slow");
        let meanwhile = async {
            while asked.get() < 2 {
                RealTime.sleep_ms(1).await;
            }
            scene.clock.forward(LIFETIME_MIN_MS);
            hub.talks_with(&wanted).await;
            wanted.refused_by(&hub).await;
            hub.wants(&[(&slow, 2), (&wanted, 9)]);
            hub.talks_with(&wanted).await;
            assert_eq!((hub.direct_to(&slow), hub.direct_to(&wanted)), (1, 0));
            release.send(()).unwrap();
        };
        let (answer, ()) = join(exchange, meanwhile).await;
        assert!(slow.is_answer(&hub, "/slow", &answer.unwrap()));
        assert_eq!(asked.get(), 2, "it was asked once");
        hub.wants(&[(&slow, 2), (&wanted, 9)]);
        direct(&hub, &wanted).await;
        hub.reaches(&slow, Path::Relay).await;
        slow.answers(&hub, "/after").await;
    });
}

#[test]
fn strangers_fill_a_part_of_the_places_and_friends_get_theirs() {
    run(async |spawner: Spawner| {
        let scene = Scene::new(spawner, 132);
        let hub = scene.tab(47, 4).await;
        let friend = scene.tab(48, 24).await;
        hub.wants(&[(&friend, 2)]);
        let mut strangers = Vec::new();
        for seed in 49..53 {
            let stranger = scene.tab(seed, 24).await;
            hub.answers(&stranger, "/let-me-in").await;
            match strangers.is_empty() {
                true => direct(&hub, &stranger).await,
                false => stranger.refused_by(&hub).await,
            }
            strangers.push(stranger);
        }
        assert_eq!(hub.direct_peers(), 1, "one of four places");
        hub.answers(&friend, "/it-is-me").await;
        direct(&hub, &friend).await;
        for stranger in &strangers {
            hub.talks_with(stranger).await;
        }
    });
}

#[test]
fn a_peer_that_wants_us_more_than_we_want_it_leaves_us_alone() {
    run(async |spawner: Spawner| {
        let scene = Scene::new(spawner, 133);
        let hub = scene.tab(53, 1).await;
        let (kept, other) = (scene.tab(54, 24).await, scene.tab(55, 1).await);
        hub.wants(&[(&kept, 6), (&other, 5)]);
        other.wants(&[(&hub, 10)]);
        hub.talks_with(&kept).await;
        direct(&hub, &kept).await;
        let made = scene.rtc.connections_made();
        other.talks_with(&hub).await;
        other.refused_by(&hub).await;
        scene.clock.forward(LIFETIME_MIN_MS);
        for _ in 0..5 {
            hub.wants(&[(&kept, 6), (&other, 5)]);
            other.wants(&[(&hub, 10)]);
            other.talks_with(&hub).await;
        }
        assert_eq!((hub.direct_to(&kept), hub.direct_to(&other)), (1, 0));
        assert!(scene.rtc.connections_made() <= made + 5, "a refused offer is not made again at once");
        // When there is room the two come together.
        kept.network.stop();
        scene.clock.forward(LIFETIME_MIN_MS);
        hub.reaches(&other, Path::Direct).await;
    });
}
