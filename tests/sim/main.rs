//! A simulated network of homeservers in virtual time. `SEED=n` replays one run, `SEEDS=n` runs that many from `FIRST` on, and
//! with `KEEP_GOING=1` those after a failure as well.
//!
//! Everything random comes from the seed: how many servers and people there are, what they do, latency, loss, duplication,
//! reordering, partitions, clocks, crashes and what a crash costs, and whether one more server lies (in every
//! fourth run; `LIARS=n`: in n of a hundred). Equal seeds give equal logs.
mod audience;
mod beliefs;
mod clock;
mod disk;
mod halves;
mod liar;
mod network;
mod oracle;
mod plan;
mod random;
mod storm;
mod story;
mod tongue;
mod world;

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use oracle::Verdicts;
use serde_json::json;

/// Runs of one invocation unless `SEEDS` says otherwise.
const SEEDS_DEFAULT: u64 = 100;
/// So many runs at least are told before what they came to is judged as a whole.
const RUNS_JUDGED_MIN: u64 = 50;

/// How often two halves of a room meet, and within how many rounds they must agree.
const HALVES_SEEDS: u64 = 3;
const HALVES_ROUNDS_MAX: u64 = 40;

/// Servers that follow one link at once.
const JOINERS: usize = 50;

/// Tells every sample to `npm run bench`.
fn measured(samples: serde_json::Value) {
    println!("measured {samples}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> (u64, u64) {
    match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FIRST").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS_DEFAULT)),
    }
}

#[test]
fn rooms_converge_whatever_happens() {
    let (first, count) = seeds();
    let next = AtomicU64::new(first);
    let verdicts = Mutex::new(Verdicts::default());
    let failed = Mutex::new(Vec::new());
    let longest = Mutex::new((0, first));
    let keep_going = std::env::var_os("KEEP_GOING").is_some();
    let told = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + count {
                return;
            }
            let report = match catch_unwind(AssertUnwindSafe(|| story::run(seed))) {
                Ok(report) => report,
                Err(panic) => {
                    eprintln!("seed {seed} failed; replay it with: SEED={seed} npm run sim");
                    failed.lock().expect("nobody panics while holding it").push(seed);
                    if keep_going {
                        continue;
                    }
                    // One failure is enough: the others stop after what they are at.
                    next.store(first + count, Relaxed);
                    resume_unwind(panic);
                }
            };
            let mut length = longest.lock().expect("nobody panics while holding it");
            *length = (*length).max((report.steps, seed));
            drop(length);
            let mut sum = verdicts.lock().expect("nobody panics while holding it");
            sum.accepted += report.verdicts.accepted;
            sum.soft_failed += report.verdicts.soft_failed;
            sum.rejected += report.verdicts.rejected;
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let telling: Vec<_> = (0..threads).map(|_| scope.spawn(told)).collect();
        for thread in telling {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let verdicts = verdicts.into_inner().expect("nobody panicked while holding it");
    let failed = failed.into_inner().expect("nobody panicked while holding it");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
    let (steps, seed) = longest.into_inner().expect("nobody panicked while holding it");
    println!("the longest, seed {seed}, moved time {steps} times");
    println!("{count} seeds from {first} on: every one diverged, and converged; {verdicts:?}");
    let judged = count >= RUNS_JUDGED_MIN;
    assert!(!judged || verdicts.soft_failed > 0, "no event ever failed softly: {verdicts:?}");
}

#[test]
fn fifty_servers_join_by_one_link_at_once() {
    let storm = storm::run(number("SEED").unwrap_or(1), JOINERS);
    let of = |samples: &[u64], percent: usize| samples[(samples.len() - 1) * percent / 100];
    let (joined, waited) = (&storm.joined_after, &storm.talk_waited);
    println!(
        "{JOINERS} servers joined after {} ms (median), {} ms (p95), by {} requests; a message waited {} ms (p95)",
        of(joined, 50),
        of(joined, 95),
        storm.requests,
        of(waited, 95),
    );
    measured(json!({ "joined_ms": joined, "inviter_waited_ms": waited }));
}

#[test]
fn halves_that_meet_again_agree_within_a_few_rounds() {
    let mut took_ms: Vec<_> = (1..=HALVES_SEEDS).map(halves::run).collect();
    took_ms.sort_unstable();
    let rounds = |percent: usize| took_ms[(took_ms.len() - 1) * percent / 100].div_ceil(halves::ROUND_MS);
    println!("two halves of a room agree {} rounds after they meet (median), {} (p95)", rounds(50), rounds(95));
    let all: Vec<_> = took_ms.iter().map(|ms| ms.div_ceil(halves::ROUND_MS)).collect();
    measured(json!({ "agreed_rounds": all }));
    assert!(rounds(100) <= HALVES_ROUNDS_MAX, "{took_ms:?} ms");
}

#[test]
fn equal_seeds_give_equal_logs() {
    for seed in [7, 8, 9] {
        let (first, second) = (story::run(seed).log, story::run(seed).log);
        for (line, (a, b)) in first.iter().zip(&second).enumerate() {
            assert_eq!(a, b, "line {line} of seed {seed}");
        }
        assert_eq!(first.len(), second.len());
    }
    assert_ne!(story::run(7).log, story::run(8).log);
}
