//! What one tab chooses, and whether many that think differently of each other come to rest.
use proptest::prelude::*;

use super::*;

const START_MS: u64 = 1_000_000;
const STEP_MS: u64 = 30_000;

fn peers(count: usize) -> Vec<PeerId> {
    let mut peers: Vec<_> = (0..count).map(|_| PeerId::random()).collect();
    peers.sort();
    peers
}

fn wanting(budget: usize, weights: &[(PeerId, u32)]) -> Favourites {
    let mut favourites = Favourites::new(budget);
    favourites.at(START_MS);
    favourites.want(weights.iter().copied().collect());
    favourites
}

/// Chooses, and has the connection made at once if it may be.
fn connect(favourites: &mut Favourites, peer: PeerId) -> Choice {
    let choice = favourites.choose(peer, |_| false);
    if choice == Choice::Connect {
        favourites.made(peer);
        favourites.tried(&peer);
    }
    choice
}

const NO_ROOM: Choice = Choice::NotNow { until_ms: None };

#[test]
fn only_who_is_clearly_more_wanted_displaces_anybody_and_only_after_a_while() {
    let p = peers(5);
    let mut favourites = wanting(2, &[(p[0], 5), (p[1], 4), (p[2], 5), (p[3], 6), (p[4], 9)]);
    assert_eq!(connect(&mut favourites, p[0]), Choice::Connect);
    assert_eq!(connect(&mut favourites, p[1]), Choice::Connect);
    assert_eq!(connect(&mut favourites, p[3]), NO_ROOM, "they are new");
    favourites.at(START_MS + LIFETIME_MIN_MS);
    assert_eq!(connect(&mut favourites, p[2]), NO_ROOM, "not clearly more wanted");
    assert_eq!(connect(&mut favourites, p[3]), Choice::Replace(p[1]), "the least wanted goes");
    assert_eq!(connect(&mut favourites, p[4]), NO_ROOM, "one at a time");
    favourites.evicted(p[1]);
    favourites.gone(&p[1]);
    favourites.made(p[3]);
    favourites.tried(&p[3]);
    assert_eq!(connect(&mut favourites, p[4]), Choice::Replace(p[0]));
}

#[test]
fn without_opinions_all_are_alike_and_nobody_is_evicted() {
    let p = peers(4);
    let mut favourites = Favourites::new(3);
    p[..3].iter().for_each(|peer| assert_eq!(connect(&mut favourites, *peer), Choice::Connect));
    favourites.at(START_MS);
    assert_eq!(connect(&mut favourites, p[3]), NO_ROOM);
    assert!(!favourites.admits(&p[3], &p[..3].iter().copied().collect()));
    favourites.gone(&p[0]);
    assert_eq!(connect(&mut favourites, p[3]), Choice::Connect);
}

#[test]
fn whoever_is_evicted_stays_away_longer_each_time() {
    let p = peers(1);
    let mut favourites = wanting(2, &[(p[0], 5)]);
    let mut now_ms = START_MS;
    let mut waits = Vec::new();
    for _ in 0..6 {
        favourites.evicted(p[0]);
        assert!(!favourites.admits(&p[0], &BTreeSet::new()));
        let Choice::NotNow { until_ms: Some(until_ms) } = favourites.choose(p[0], |_| false) else { panic!() };
        waits.push(until_ms - now_ms);
        now_ms = until_ms;
        favourites.at(now_ms);
        assert!(favourites.admits(&p[0], &BTreeSet::new()));
    }
    assert_eq!(waits[..4], [1, 2, 4, 8].map(|times| times * EVICTED_MIN_MS));
    assert_eq!(waits[5], EVICTED_MAX_MS);
    favourites.at(now_ms + FORGOTTEN_MS + 1);
    favourites.evicted(p[0]);
    let until_ms = Some(now_ms + FORGOTTEN_MS + 1 + EVICTED_MIN_MS);
    assert_eq!(favourites.choose(p[0], |_| false), Choice::NotNow { until_ms }, "long ago is forgotten");
}

#[test]
fn a_peer_in_the_middle_of_an_exchange_is_not_chosen_but_cannot_keep_its_place_so() {
    let p = peers(3);
    let first_ms = START_MS + LIFETIME_MIN_MS;
    let all_busy_until = |until_ms: u64| {
        let mut favourites = wanting(2, &[(p[0], 2), (p[1], 3), (p[2], 9)]);
        connect(&mut favourites, p[0]);
        connect(&mut favourites, p[1]);
        for at_ms in [first_ms, until_ms] {
            favourites.at(at_ms);
            assert_eq!(favourites.choose(p[2], |_| true), NO_ROOM);
        }
        favourites
    };
    let mut favourites = all_busy_until(first_ms + BUSY_MAX_MS - 1);
    assert_eq!(favourites.choose(p[2], |peer| *peer == p[0]), Choice::Replace(p[1]), "the idle one goes");
    let mut favourites = all_busy_until(first_ms + BUSY_MAX_MS - 1);
    favourites.at(first_ms + BUSY_MAX_MS);
    assert_eq!(favourites.choose(p[2], |_| true), Choice::Replace(p[0]), "it was busy whenever it was looked at");
}

#[test]
fn nobody_is_evicted_for_a_peer_that_refused_until_it_asks() {
    let p = peers(2);
    let mut favourites = wanting(1, &[(p[0], 2), (p[1], 9)]);
    connect(&mut favourites, p[0]);
    favourites.refused(p[1]);
    favourites.at(START_MS + LIFETIME_MIN_MS);
    assert_eq!(favourites.choose(p[1], |_| false), NO_ROOM);
    let others = [p[0]].into();
    assert!(!favourites.admits(&p[1], &others), "there is no room yet");
    assert_eq!(favourites.choose(p[1], |_| false), Choice::Replace(p[0]), "it seems to have some for us");
    favourites.tried(&p[1]);
    assert!(!favourites.admits(&p[1], &others));
    assert_eq!(favourites.choose(p[1], |_| false), NO_ROOM, "asking again and again is of no use");
    favourites.at(START_MS + LIFETIME_MIN_MS + FAVOURED_MIN_MS);
    assert_eq!(favourites.choose(p[1], |_| false), Choice::Replace(p[0]));
}

#[test]
fn strangers_get_what_is_left_and_no_more_than_their_share() {
    let p = peers(40);
    let friends: Vec<_> = p[..20].iter().map(|peer| (*peer, 2)).collect();
    let mut favourites = wanting(24, &friends);
    let admitted = |favourites: &mut Favourites, peers: &[PeerId]| {
        let is_let_in = |peer: &&PeerId| {
            let others = favourites.held.keys().copied().collect();
            let admitted = favourites.admits(peer, &others);
            if admitted {
                favourites.made(**peer);
            }
            admitted
        };
        peers.iter().filter(is_let_in).count()
    };
    assert_eq!(admitted(&mut favourites, &p[20..]), 6, "a quarter of 24");
    assert_eq!(admitted(&mut favourites, &p[..20]), 18);
    favourites.at(START_MS + LIFETIME_MIN_MS);
    let Choice::Replace(evicted) = favourites.choose(p[18], |_| false) else { panic!("a friend displaces a stranger") };
    assert!(p[20..].contains(&evicted));
}

#[test]
fn a_free_place_is_for_the_most_wanted_of_those_who_wait() {
    let p = peers(4);
    let mut favourites = wanting(1, &[(p[0], 9), (p[1], 5), (p[2], 6)]);
    connect(&mut favourites, p[0]);
    assert_eq!(connect(&mut favourites, p[2]), NO_ROOM);
    favourites.gone(&p[0]);
    assert_eq!(connect(&mut favourites, p[1]), NO_ROOM);
    assert!(!favourites.admits(&p[1], &BTreeSet::new()) && favourites.admits(&p[2], &BTreeSet::new()));
    favourites.left(&p[2]);
    assert_eq!(connect(&mut favourites, p[1]), Choice::Connect);
}

#[test]
fn who_has_no_circuit_is_spared_once_and_strangers_never() {
    let p = peers(3);
    let mut favourites = wanting(1, &[(p[0], 2), (p[1], 9)]);
    connect(&mut favourites, p[0]);
    favourites.at(START_MS + LIFETIME_MIN_MS);
    assert_eq!(favourites.choose(p[1], |_| false), Choice::Replace(p[0]));
    favourites.evicted(p[0]);
    assert!(favourites.spare(p[0]));
    favourites.tried(&p[1]);
    assert_eq!(favourites.choose(p[1], |_| false), NO_ROOM);
    favourites.left(&p[1]);
    assert!(favourites.admits(&p[0], &BTreeSet::new()), "it was not evicted after all");
    favourites.at(START_MS + LIFETIME_MIN_MS + SPARED_MS);
    assert_eq!(favourites.choose(p[1], |_| false), Choice::Replace(p[0]));
    assert!(!favourites.spare(p[0]), "it may be pretending");
    assert!(!favourites.spare(p[2]));
}

#[test]
fn the_past_is_bounded() {
    let mut favourites = wanting(3, &[]);
    for _ in 0..2 * REMEMBERED_MAX {
        favourites.refused(PeerId::random());
    }
    assert_eq!(favourites.past.len(), REMEMBERED_MAX);
}

/// Tabs that can all reach each other, each with its own opinion of the others.
struct World {
    ids: Vec<PeerId>,
    tabs: Vec<Favourites>,
    budget: usize,
    now_ms: u64,
    evictions: usize,
    /// Attempts that the other side refused.
    refusals: usize,
}

impl World {
    fn new(budget: usize, opinions: &[Vec<u32>]) -> Self {
        let ids = peers(opinions.len());
        let tabs = opinions.iter().map(|weights| {
            let weights = ids.iter().copied().zip(weights.iter().copied());
            wanting(budget, &weights.collect::<Vec<_>>())
        });
        Self { tabs: tabs.collect(), ids, budget, now_ms: START_MS, evictions: 0, refusals: 0 }
    }

    fn unlink(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.ids[a], self.ids[b]);
        assert!(self.tabs[a].gone(&id_b) && self.tabs[b].gone(&id_a), "both sides agree on what there is");
    }

    /// Everybody looks at everybody once.
    fn turn(&mut self) {
        self.now_ms += STEP_MS;
        self.tabs.iter_mut().for_each(|tab| tab.at(self.now_ms));
        for a in 0..self.tabs.len() {
            for b in (0..self.tabs.len()).filter(|b| *b != a) {
                if !self.tabs[a].holds(&self.ids[b]) {
                    self.try_to_connect(a, b);
                }
                self.check();
            }
        }
    }

    fn try_to_connect(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.ids[a], self.ids[b]);
        match self.tabs[a].choose(id_b, |_| false) {
            Choice::NotNow { .. } => return,
            Choice::Connect => {}
            Choice::Replace(evicted) => {
                self.tabs[a].evicted(evicted);
                let evicted = self.ids.iter().position(|id| *id == evicted).unwrap();
                self.unlink(a, evicted);
                self.evictions += 1;
            }
        }
        let others = self.tabs[b].held.keys().copied().collect();
        if self.tabs[b].admits(&id_a, &others) {
            self.tabs[a].made(id_b);
            self.tabs[b].made(id_a);
        } else {
            self.tabs[a].refused(id_b);
            self.refusals += 1;
        }
        self.tabs[a].tried(&id_b);
    }

    fn check(&self) {
        for tab in &self.tabs {
            assert!(tab.held.len() + tab.making.len() <= self.budget, "never more than the budget");
        }
    }

    fn links(&self) -> Vec<Vec<PeerId>> {
        self.tabs.iter().map(|tab| tab.held.keys().copied().collect()).collect()
    }

    fn places_are_used(&self) -> bool {
        let free: Vec<usize> = (0..self.tabs.len()).filter(|n| self.tabs[*n].held.len() < self.budget).collect();
        free.iter().all(|a| free.iter().all(|b| a == b || self.tabs[*a].holds(&self.ids[*b])))
    }

    fn turns(&mut self, ms: u64) {
        (0..ms / STEP_MS).for_each(|_| self.turn());
    }
}

const HOUR_MS: u64 = 3_600_000;

/// Evictions by one tab for one peer after `hours`, at the most: the wait after each doubles until it is a day.
fn evictions_for_one_max(hours: u64) -> usize {
    let (mut count, mut at_ms, mut wait_ms) = (1, 0, FAVOURED_MIN_MS);
    while at_ms < hours * HOUR_MS {
        at_ms += wait_ms;
        wait_ms = (2 * wait_ms).min(FAVOURED_MAX_MS);
        count += 1;
    }
    count
}

#[test]
fn three_who_each_prefer_the_next_do_not_go_round_for_ever() {
    // Each is content with one and would rather have another: no choice satisfies all of them.
    let mut world = World::new(1, &[vec![0, 9, 3], vec![3, 0, 9], vec![9, 3, 0]]);
    world.turns(HOUR_MS);
    let first = world.evictions;
    assert!(first > 0, "this is about evictions");
    world.turns(23 * HOUR_MS);
    assert!(world.evictions <= 3 * evictions_for_one_max(24), "{} evictions in a day", world.evictions);
    let after_a_day = world.evictions;
    world.turns(24 * HOUR_MS);
    assert!(world.evictions - after_a_day <= 2 * 3, "{} on the second day", world.evictions - after_a_day);
}

#[test]
fn one_who_wants_and_one_who_does_not_come_to_rest() {
    // The first wants the second most; the second would rather have the others, who are content with either.
    let mut world = World::new(2, &[vec![0, 10, 2, 2], vec![2, 0, 9, 9], vec![5, 5, 0, 5], vec![5, 5, 5, 0]]);
    world.turns(4 * HOUR_MS);
    let (links, evictions) = (world.links(), world.evictions);
    world.turns(24 * HOUR_MS);
    assert_eq!((world.links(), world.evictions), (links, evictions));
    assert!(evictions <= 4 && world.refusals < 200, "{evictions} evictions, {} refusals in 28 h", world.refusals);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tabs_that_agree_on_who_matters_come_to_rest(
        budget in 1..4usize, weights in proptest::collection::vec(2..11u32, 3..7)
    ) {
        let mut world = World::new(budget, &vec![weights.clone(); weights.len()]);
        world.turns(12 * HOUR_MS);
        let evictions = world.evictions;
        world.turns(4 * HOUR_MS);
        prop_assert!(world.evictions - evictions <= weights.len(), "{} evictions since", world.evictions - evictions);
        // No place stays empty that two could fill, but for as long as one of them may still be waiting.
        let waiting_turns = REFUSED_MAX_MS / STEP_MS + 1;
        let used = (0..2 * waiting_turns).any(|_| {
            world.turn();
            world.places_are_used()
        });
        prop_assert!(used, "two who could be connected are not: {:?}", world.links());
    }

    #[test]
    fn whatever_tabs_think_of_each_other_evictions_become_rare(
        budget in 1..4usize,
        opinions in (3..7usize).prop_flat_map(|n| proptest::collection::vec(proptest::collection::vec(0..11u32, n), n)),
    ) {
        let pairs = opinions.len() * (opinions.len() - 1);
        let mut world = World::new(budget, &opinions);
        for hours in [6, 12, 24] {
            world.turns((START_MS + hours * HOUR_MS).saturating_sub(world.now_ms));
            let most = pairs * evictions_for_one_max(hours);
            prop_assert!(world.evictions <= most, "{} evictions in {hours} h among {pairs} pairs", world.evictions);
        }
    }

    #[test]
    fn no_course_of_events_exceeds_the_budget_or_forgets_a_place(
        budget in 1..5usize, steps in proptest::collection::vec((0..10usize, 0..9u8, 0..400_000u64), 1..300)
    ) {
        let p = peers(10);
        let mut favourites = wanting(budget, &p.iter().copied().zip(0..).collect::<Vec<_>>());
        let mut now_ms = START_MS;
        for (n, what, pass_ms) in steps {
            now_ms += pass_ms;
            favourites.at(now_ms);
            let peer = p[n];
            match what {
                0..4 if !favourites.holds(&peer) => match favourites.choose(peer, |other| other.to_bytes()[5] % 2 == 0) {
                    Choice::Replace(evicted) => {
                        prop_assert!(favourites.holds(&evicted) && evicted != peer);
                        prop_assert!(favourites.weight(&evicted) + CLEARLY_MORE_WANTED <= favourites.weight(&peer));
                        favourites.evicted(evicted);
                        favourites.gone(&evicted);
                    }
                    Choice::Connect => {}
                    Choice::NotNow { until_ms } => prop_assert!(until_ms.is_none_or(|until_ms| until_ms > now_ms)),
                },
                4 if favourites.making.contains(&peer) => favourites.made(peer),
                4 => {
                    let others = favourites.held.keys().copied().collect();
                    if favourites.admits(&peer, &others) {
                        favourites.made(peer);
                    }
                }
                5 => drop(favourites.gone(&peer)),
                6 => favourites.refused(peer),
                7 => favourites.failed(peer),
                _ => favourites.left(&peer),
            }
            if what != 0 {
                favourites.tried(&peer);
            }
            let taken: BTreeSet<_> = favourites.held.keys().chain(&favourites.making).collect();
            prop_assert!(taken.len() <= budget, "{} of {budget}", taken.len());
        }
    }
}
