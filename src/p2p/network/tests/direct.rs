//! Direct connections between networks, with peer connections in memory.
use libp2p_webrtc_p2p::backend::memory::{MemoryNetwork, Paths};

use super::*;
use crate::p2p::connections::Path;

fn start(spawner: &Spawner, seed: u8, relays: &[&Relay], rtc: &MemoryNetwork) -> Tab {
    Tab::start_on(spawner, seed, relays, Some(Box::new(rtc.clone())), |answer| async { answer }.boxed_local())
}

impl Tab {
    pub(super) async fn reaches(&self, other: &Tab, path: Path) {
        let is_it = |status: &NetworkStatus| {
            status.peers.iter().any(|peer| peer.server == other.name && peer.path() == Some(path))
        };
        self.until(is_it).await;
    }

    pub(super) async fn answers(&self, asker: &Tab, path: &str) {
        let answer = asker.ask(&self.name, path).await.unwrap();
        assert!(self.is_answer(asker, path, &answer), "{answer}");
    }

    pub(super) fn direct_to(&self, other: &Tab) -> usize {
        self.network.0.connections.borrow().count(&other.network.status().peer_id, Path::Direct)
    }
}

pub(super) async fn direct(one: &Tab, other: &Tab) {
    join(one.reaches(other, Path::Direct), other.reaches(one, Path::Direct)).await;
}

#[test]
fn the_relay_introduces_and_may_go_away() {
    run(async |spawner: Spawner| {
        let (relay, rtc) = (Relay::start(&spawner, 120, 1020, generous()), MemoryNetwork::default());
        let (one, other) = (start(&spawner, 20, &[&relay], &rtc), start(&spawner, 21, &[&relay], &rtc));
        join(one.reachable(), other.reachable()).await;
        other.answers(&one, "/first").await;
        direct(&one, &other).await;
        relay.die().await;
        let offline = |status: &NetworkStatus| matches!(status.relays[0].state, RelayState::Offline { .. });
        join(one.until(offline), other.until(offline)).await;
        for (to, from) in [(&one, &other), (&other, &one)] {
            to.answers(from, "/without-a-relay").await;
            assert_eq!((from.direct_to(to), from.network.status().peers.len()), (1, 1));
        }
        assert_eq!(rtc.open_connections(), 2);
    });
}

#[test]
fn without_a_path_the_circuit_carries_everything() {
    run(async |spawner: Spawner| {
        let (relay, rtc) = (Relay::start(&spawner, 121, 1021, generous()), MemoryNetwork::default());
        rtc.set_paths(Paths::Blocked);
        let (one, other) = (start(&spawner, 22, &[&relay], &rtc), start(&spawner, 23, &[&relay], &rtc));
        join(one.reachable(), other.reachable()).await;
        other.answers(&one, "/").await;
        one.reaches(&other, Path::Relay).await;
        while rtc.connections_made() == 0 || rtc.open_connections() > 0 {
            RealTime.sleep_ms(5).await;
        }
        one.answers(&other, "/still").await;
        one.until(|status| {
            let attempt = status.peers.iter().find_map(|peer| peer.direct.as_ref());
            attempt.is_some_and(|attempt| attempt.failure.is_some() && !attempt.ours.is_empty())
        })
        .await;
        // It is tried again by itself.
        rtc.set_paths(Paths::Open);
        direct(&one, &other).await;
    });
}

#[test]
fn whoever_asks_first_there_is_one_connection() {
    run(async |spawner: Spawner| {
        let (relay, rtc) = (Relay::start(&spawner, 122, 1022, generous()), MemoryNetwork::default());
        for round in 0..10 {
            let (one, other) = (start(&spawner, 24, &[&relay], &rtc), start(&spawner, 25, &[&relay], &rtc));
            join(one.reachable(), other.reachable()).await;
            let path = format!("/{round}");
            join(one.answers(&other, &path), other.answers(&one, &path)).await;
            direct(&one, &other).await;
            assert_eq!((one.direct_to(&other), other.direct_to(&one)), (1, 1), "round {round}");
            one.network.stop();
            other.network.stop();
            while rtc.open_connections() > 0 {
                RealTime.sleep_ms(1).await;
            }
        }
    });
}

#[test]
fn a_direct_path_that_breaks_is_made_again() {
    run(async |spawner: Spawner| {
        let (relay, rtc) = (Relay::start(&spawner, 123, 1023, generous()), MemoryNetwork::default());
        let (one, other) = (start(&spawner, 26, &[&relay], &rtc), start(&spawner, 27, &[&relay], &rtc));
        join(one.reachable(), other.reachable()).await;
        other.answers(&one, "/before").await;
        direct(&one, &other).await;
        rtc.cut();
        one.until(|status| status.peers.iter().all(|peer| peer.path() != Some(Path::Direct))).await;
        join(other.answers(&one, "/there"), one.answers(&other, "/back")).await;
        direct(&one, &other).await;
        assert_eq!((one.direct_to(&other), other.direct_to(&one)), (1, 1));
    });
}

#[test]
fn a_peer_that_comes_back_without_a_farewell_is_met_again_at_once() {
    run(async |spawner: Spawner| {
        let (relay, rtc) = (Relay::start(&spawner, 124, 1024, generous()), MemoryNetwork::default());
        let one = start(&spawner, 28, &[&relay], &rtc);
        one.reachable().await;
        let mut other = start(&spawner, 29, &[&relay], &rtc);
        for round in 0..5 {
            other.reachable().await;
            one.answers(&other, "/there").await;
            other.answers(&one, "/back").await;
            direct(&one, &other).await;
            assert_eq!((one.direct_to(&other), other.direct_to(&one)), (1, 1), "round {round}");
            other.network.stop();
            other = start(&spawner, 29, &[&relay], &rtc);
        }
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    run(async |spawner: Spawner| {
        const LARGE_BYTES: usize = 24 * 1024 * 1024;
        let (relay, rtc) = (Relay::start(&spawner, 125, 1025, generous()), MemoryNetwork::default());
        let large = |mut answer: http::Response<Bytes>| {
            *answer.body_mut() = Bytes::from(vec![b'x'; LARGE_BYTES]);
            async { answer }.boxed_local()
        };
        let one = start(&spawner, 30, &[&relay], &rtc);
        let other = Tab::start_on(&spawner, 31, &[&relay], Some(Box::new(rtc.clone())), large);
        join(one.reachable(), other.reachable()).await;
        one.answers(&other, "/to-connect").await;
        direct(&one, &other).await;
        assert_eq!(one.ask(&other.name, "/large").await.unwrap().len(), LARGE_BYTES);
    });
}
