//! Times the core, natively and on the memory store, and prints samples as JSON: `npm run bench` makes the table of them.
//!
//! `core speed ROUNDS`, `core memory ROOMS EVENTS` or `core large MEMBERS EVENTS`. Each runs in a process of its own, so that neither finds the
//! heap as the other left it.
// A benchmark is a shell: the clock is its to read.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]
mod counted_store;
mod figures;
mod large_room;
mod memory;
mod servers;
mod shell;
mod speed;
mod wire;

use figures::Figures;

const USAGE: &str = "usage: core speed ROUNDS | core memory ROOMS EVENTS | core large MEMBERS EVENTS";

fn main() {
    // Cargo adds `--bench` when it runs this itself.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().expect(USAGE);
    let mut figures = Figures::default();
    match words[..] {
        ["speed", rounds] => speed::run(number(rounds), &mut figures),
        ["memory", rooms, events] => memory::run(number(rooms), number(events), &mut figures),
        ["large", members, events] => large_room::run(number(members), number(events), &mut figures),
        _ => panic!("{USAGE}"),
    }
    println!("{}", figures.to_json());
}
