//! A simulated network of homeservers in virtual time. `SEED=n` replays one run, `SEEDS=n` runs that many.
//!
//! Everything random comes from the seed: what users do, latency, loss, duplication, reordering, partitions, crashes
//! and what a crash costs. Equal seeds give equal logs.
mod audience;
mod clock;
mod disk;
mod network;
mod oracle;
mod random;
mod story;
mod world;

/// Runs of one invocation unless `SEEDS` says otherwise.
const SEEDS_DEFAULT: u64 = 50;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SEEDS").unwrap_or(SEEDS_DEFAULT)).collect(),
    }
}

#[test]
fn rooms_converge_whatever_happens() {
    let seeds = seeds();
    let mut diverged = 0;
    for &seed in &seeds {
        let outcome = std::panic::catch_unwind(|| story::run(seed));
        match outcome {
            Ok(report) => diverged += usize::from(report.diverged),
            Err(panic) => {
                eprintln!("seed {seed} failed; replay it with: SEED={seed} npm run sim");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{} seeds, {diverged} of them diverged before they converged", seeds.len());
    // A network that never disagreed proves nothing about agreeing.
    assert!(seeds.len() < 10 || diverged * 2 > seeds.len(), "only {diverged} of {} runs diverged", seeds.len());
}

#[test]
fn equal_seeds_give_equal_logs() {
    let (first, second) = (story::run(7).log, story::run(7).log);
    for (line, (a, b)) in first.iter().zip(&second).enumerate() {
        assert_eq!(a, b, "line {line}");
    }
    assert_eq!(first.len(), second.len());
    assert_ne!(first, story::run(8).log);
}
