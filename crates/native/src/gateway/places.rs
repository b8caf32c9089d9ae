//! Places for requests of the web that are under way, so that nobody keeps others out: when all are taken, who waits gets that
//! of whoever has the most of them and has had it for long.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use warren::p2p::gateway::Refusal;

/// Requests of one address, and of all, that are under way: each may have a body of 8 MiB in memory. Further ones wait, with
/// nothing but their heads read: a server that tells a hundred tabs at once is no flood, and takes a refusal for an outage.
const UNDER_WAY_PER_ADDRESS_MAX: usize = 32;
const UNDER_WAY_MAX: usize = 256;
/// A request waits so long for its turn, below the minute that servers of the web wait for an answer.
const TURN_MAX: Duration = Duration::from_secs(20);
/// Whoever has a place keeps it so long, whoever waits. Nearly every request takes less.
pub const KEPT_MIN: Duration = Duration::from_secs(5);
/// Who waits looks again this soon at most, and this late at least, whether somebody has had a place for long enough.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Of those that were told to leave, so many may still be about to. They do so as soon as they are heard.
const LEAVING_MAX: usize = 8;
/// Addresses whose places are remembered; beyond it those without a request are forgotten. A connection has one request at a
/// time, so there are never more with one than there are connections.
const ADDRESSES_KEPT: usize = 1_024;
/// Addresses that begin alike are a neighbour's: what somebody gets that rents addresses by the hundred.
const NEIGHBOURHOOD_BITS_V4: u32 = 24;
const NEIGHBOURHOOD_BITS_V6: u32 = 48;

/// Places for each address and for all.
#[derive(Default)]
pub struct Places {
    all: Rc<RefCell<Floor>>,
    of_address: RefCell<BTreeMap<IpAddr, Arc<Semaphore>>>,
}

/// Given back when dropped.
pub struct Place {
    seat: Seat,
    _own: OwnedSemaphorePermit,
}

impl Place {
    /// Ends when the place is somebody else's.
    pub async fn lost(&self) {
        while !self.seat.is_to_leave() {
            self.seat.called.notified().await;
        }
    }
}

impl Places {
    /// One address's own come first, so that its queue takes none of the others'; then whose neighbours have the fewest.
    pub async fn take(&self, address: IpAddr) -> Result<Place, Refusal> {
        let own = self.of(address);
        let turn = async {
            let own = own.acquire_owned().await.expect("nobody closes the semaphores");
            let seat = Seat::new(&self.all, neighbourhood(address));
            seat.wait().await;
            Place { seat, _own: own }
        };
        timeout(TURN_MAX, turn).await.map_err(|_| {
            let message = "Too many requests are under way.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", message)
        })
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut of_address = self.of_address.borrow_mut();
        if of_address.len() >= ADDRESSES_KEPT {
            of_address.retain(|_, places| Arc::strong_count(places) > 1);
        }
        of_address.entry(address).or_insert_with(|| Arc::new(Semaphore::new(UNDER_WAY_PER_ADDRESS_MAX))).clone()
    }
}

/// What whoever lost a place is told.
pub fn put_out() -> Refusal {
    let message = "The request took long, and others had waited for its place. Try again later.";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", message)
}

/// Addresses of one provider's customer, or of one rack.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let rest = 32 - NEIGHBOURHOOD_BITS_V4;
            Ipv4Addr::from_bits(address.to_bits() >> rest << rest).into()
        }
        IpAddr::V6(address) => {
            let rest = 128 - NEIGHBOURHOOD_BITS_V6;
            Ipv6Addr::from_bits(address.to_bits() >> rest << rest).into()
        }
    }
}

/// A request that has a place or waits for one; leaves either when dropped.
struct Seat {
    id: u64,
    of: Rc<RefCell<Floor>>,
    /// Wakes it: when its turn has come, and when its place is taken from it.
    called: Rc<Notify>,
}

impl Seat {
    fn new(of: &Rc<RefCell<Floor>>, neighbours: IpAddr) -> Self {
        let called = Rc::new(Notify::new());
        let id = of.borrow_mut().enter(neighbours, called.clone());
        Self { id, of: of.clone(), called }
    }

    async fn wait(&self) {
        while self.of.borrow().waiting.contains_key(&self.id) {
            let now = Instant::now();
            let due = self.of.borrow_mut().make_room(now);
            let wait = due.map_or(LOOK_AGAIN_MAX, |due| due.saturating_duration_since(now));
            let wait = wait.clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX);
            tokio::select! { () = self.called.notified() => {} () = sleep(wait) => {} }
        }
    }

    fn is_to_leave(&self) -> bool {
        self.of.borrow().held.get(&self.id).is_some_and(|held| held.leaves)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut floor = self.of.borrow_mut();
        floor.waiting.remove(&self.id);
        floor.held.remove(&self.id);
        floor.admit();
    }
}

struct Held {
    neighbours: IpAddr,
    since: Instant,
    called: Rc<Notify>,
    /// Whether it was told to leave.
    leaves: bool,
}

struct Waiting {
    neighbours: IpAddr,
    called: Rc<Notify>,
}

/// Who has a place and who waits, by the order in which they came.
#[derive(Default)]
struct Floor {
    next: u64,
    held: BTreeMap<u64, Held>,
    waiting: BTreeMap<u64, Waiting>,
}

impl Floor {
    fn enter(&mut self, neighbours: IpAddr, called: Rc<Notify>) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, Waiting { neighbours, called });
        self.admit();
        self.next
    }

    /// Gives free places to whose neighbours have the fewest, and among those to who came first.
    fn admit(&mut self) {
        while self.held.len() < UNDER_WAY_MAX
            && let Some(id) = self.next_in_turn(&self.shares(), &BTreeSet::new())
            && let Some(Waiting { neighbours, called }) = self.waiting.remove(&id)
        {
            called.notify_one();
            self.held.insert(id, Held { neighbours, since: Instant::now(), called, leaves: false });
        }
    }

    /// How many places each neighbourhood has, without those that are about to be free.
    fn shares(&self) -> BTreeMap<IpAddr, usize> {
        let mut shares = BTreeMap::new();
        for held in self.held.values().filter(|held| !held.leaves) {
            *shares.entry(held.neighbours).or_default() += 1;
        }
        shares
    }

    /// Of those who wait, but for `provided`.
    fn next_in_turn(&self, shares: &BTreeMap<IpAddr, usize>, provided: &BTreeSet<u64>) -> Option<u64> {
        let share = |waiting: &Waiting| shares.get(&waiting.neighbours).copied().unwrap_or(0);
        let waiting = self.waiting.iter().filter(|(id, _)| !provided.contains(id));
        waiting.min_by_key(|(id, waiting)| (share(waiting), **id)).map(|(id, _)| *id)
    }

    /// Has one leave for whoever is next in turn, if others have more than that one and one of theirs has had its place for long.
    /// Answers when one of theirs has had it for long, or had.
    fn make_room(&mut self, now: Instant) -> Option<Instant> {
        let leaving = self.held.values().filter(|held| held.leaves).count();
        if leaving >= LEAVING_MAX {
            return None;
        }
        // Those that leave already do so for whoever comes before that one.
        let (mut shares, mut provided) = (self.shares(), BTreeSet::new());
        for _ in 0..leaving {
            let id = self.next_in_turn(&shares, &provided)?;
            *shares.entry(self.waiting[&id].neighbours).or_default() += 1;
            provided.insert(id);
        }
        let next = self.next_in_turn(&shares, &provided)?;
        let least = shares.get(&self.waiting[&next].neighbours).copied().unwrap_or(0);
        let has_more = |held: &&mut Held| !held.leaves && shares[&held.neighbours] > least;
        let out = self.held.values_mut().filter(has_more);
        let out =
            out.min_by_key(|held| (held.since + KEPT_MIN > now, usize::MAX - shares[&held.neighbours], held.since))?;
        let due = out.since + KEPT_MIN;
        if due <= now {
            out.leaves = true;
            out.called.notify_one();
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join, join_all};

    use super::*;

    /// Each a neighbourhood of its own.
    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, number, 2])
    }

    async fn take(places: &Places, address: IpAddr, count: usize) -> Vec<Place> {
        join_all((0..count).map(|_| places.take(address))).await.into_iter().flatten().collect()
    }

    /// Holds all places in the name of eight addresses, until each is taken away.
    async fn hold_all(places: &Places, address_of: impl Fn(u8) -> IpAddr) -> Vec<Place> {
        let mut held = Vec::new();
        for number in 1..=8 {
            held.extend(take(places, address_of(number), UNDER_WAY_PER_ADDRESS_MAX).await);
        }
        assert_eq!(held.len(), UNDER_WAY_MAX);
        held
    }

    async fn until_lost(place: Place) {
        place.lost().await;
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_for_each_and_for_all_and_given_back() {
        let places = Places::default();
        let mut held = take(&places, address(1), UNDER_WAY_PER_ADDRESS_MAX + 5).await;
        assert_eq!(held.len(), UNDER_WAY_PER_ADDRESS_MAX, "five waited in vain");
        // Who waits for itself keeps nobody else waiting.
        for number in 2..=8 {
            held.extend(take(&places, address(number), UNDER_WAY_PER_ADDRESS_MAX).await);
        }
        assert_eq!(held.len(), UNDER_WAY_MAX);
        // Here they do not leave when they are told to.
        let refusal = places.take(address(10)).await.err().unwrap();
        assert_eq!((refusal.status.as_u16(), refusal.errcode), (503, "M_LIMIT_EXCEEDED"));
        held.truncate(1);
        assert!(places.take(address(10)).await.is_ok());
        drop(held);
        assert!(places.all.borrow().held.is_empty() && places.all.borrow().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_many_places_for_long_makes_room_for_who_has_none() {
        let places = Places::default();
        let held = hold_all(&places, address).await;
        let begun = Instant::now();
        let holding = join_all(held.into_iter().map(until_lost));
        let newcomers = async {
            let all = join_all((0..3).map(|_| places.take(address(10)))).await;
            assert!(begun.elapsed() >= KEPT_MIN && begun.elapsed() < 2 * KEPT_MIN, "{:?}", begun.elapsed());
            assert!(all.iter().all(Result::is_ok));
            assert_eq!(places.all.borrow().held.len(), UNDER_WAY_MAX, "no more have left than had to");
            // One that has had them for as long is no better than the others, nor worse.
            assert_eq!(places.all.borrow().shares()[&neighbourhood(address(10))], 3);
            all
        };
        tokio::select! { _ = holding => panic!("all have left"), all = newcomers => drop(all) }
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_share_and_who_has_the_fewest_comes_first() {
        let places = Places::default();
        let neighbour = |number: u8| IpAddr::from([192, 0, 2, number]);
        let held = hold_all(&places, neighbour).await;
        let holding = join_all(held.into_iter().map(until_lost));
        let coming = async {
            // Others of the same neighbourhood came first, and it has everything already.
            let more = async { join_all((20..60).map(|number| places.take(neighbour(number)))).await };
            let one = async {
                tokio::task::yield_now().await;
                places.take(address(10)).await
            };
            let (more, one) = join(more, one).await;
            assert!(one.is_ok() && more.iter().all(Result::is_err));
        };
        tokio::select! { _ = holding => panic!("all have left"), () = coming => {} }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_request_is_never_put_out() {
        let places = Places::default();
        let quick = |address: IpAddr| {
            let places = &places;
            async move {
                let place = places.take(address).await.ok()?;
                tokio::select! { () = place.lost() => None, () = sleep(KEPT_MIN - Duration::from_millis(1)) => Some(()) }
            }
        };
        // As much again as there are places, in the time that all have.
        let all = join_all(
            (0..16).flat_map(|number| (0..UNDER_WAY_PER_ADDRESS_MAX).map(move |_| address(number))).map(quick),
        );
        assert!(all.await.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_tells_a_hundred_tabs_at_once_waits_its_turn() {
        let places = Places::default();
        let requests = (0..100).map(|_| async {
            let _place = places.take(address(1)).await?;
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Refusal>(())
        });
        assert!(join_all(requests).await.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_without_a_request_are_forgotten() {
        let places = Places::default();
        let held = places.take(address(1)).await.ok().unwrap();
        for number in 0..10_000_u32 {
            drop(places.take(IpAddr::from(number.to_be_bytes())).await.ok().unwrap());
        }
        assert!(places.of_address.borrow().len() <= ADDRESSES_KEPT);
        let waiting = join_all((0..UNDER_WAY_PER_ADDRESS_MAX).map(|_| places.take(address(1)))).await;
        assert_eq!(waiting.iter().filter(|place| place.is_err()).count(), 1, "what is held still counts");
        drop(held);
    }

    #[test]
    fn a_neighbourhood_is_what_somebody_rents_as_a_whole() {
        let of = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(of("203.0.113.77"), "203.0.113.0");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0");
        assert_eq!(of("2001:db8:1:2::3"), "2001:db8:1::");
    }
}
