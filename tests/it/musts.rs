//! `docs/musts.md` numbers what the specification has a homeserver do: every number is there once, in order, and so are the
//! tests it names.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

struct Row {
    /// `CS-module`.
    module: String,
    number: usize,
    duty: String,
    held_by: String,
    sentences: Vec<String>,
}

fn rows() -> Vec<Row> {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/musts.md")).unwrap();
    let numbered = document.lines().filter(|line| line.starts_with("| CS-") || line.starts_with("| SS-"));
    numbered
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [number, _, duty, held_by, sentences] = cells[..] else { panic!("five cells make a row: {line}") };
            let (module, number) = number.rsplit_once('-').unwrap();
            Row {
                module: module.to_owned(),
                number: number.parse().unwrap_or_else(|_| panic!("no number: {line}")),
                duty: duty.to_owned(),
                held_by: held_by.to_owned(),
                sentences: sentences.split(' ').map(ToOwned::to_owned).collect(),
            }
        })
        .collect()
}

/// What stands in backticks and is no path, field or method: the tests.
fn tests_of(row: &Row) -> Vec<(&str, &str)> {
    row.held_by.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::")).collect()
}

#[test]
fn numbers_are_given_once_and_without_gaps() {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        let last = last.entry(row.module.clone()).or_default();
        assert_eq!(row.number, *last + 1, "{}-{}", row.module, row.number);
        *last = row.number;
        assert!(!row.duty.is_empty() && !row.held_by.is_empty(), "{}-{} says nothing", row.module, row.number);
    }
    assert!(last.len() > 40, "the table is there: {last:?}");
}

#[test]
fn each_sentence_of_a_module_has_one_row() {
    let mut counted = BTreeSet::new();
    for row in rows() {
        for sentence in &row.sentences {
            let is_digest = sentence.len() == 8 && sentence.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_digest, "{}-{}: {sentence:?} is no digest", row.module, row.number);
            assert!(counted.insert((row.module.clone(), sentence.clone())), "{}: {sentence} twice", row.module);
        }
    }
}

#[test]
fn the_tests_it_names_are_there() {
    for row in rows() {
        for (module, name) in tests_of(&row) {
            let path = format!("{}/tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"));
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(source.contains(&format!("#[test]\nfn {name}()")), "{module}::{name} is not there");
        }
    }
}

#[test]
fn what_no_test_holds_says_why() {
    let reasons = [
        "Binds clients",
        "Later: ",
        "There is no",
        "This is no",
        "No ",
        "Nobody ",
        "None ",
        "Not ",
        "Only ",
        "Binds callers",
    ];
    for row in rows().iter().filter(|row| tests_of(row).is_empty()) {
        assert!(reasons.iter().any(|reason| row.held_by.starts_with(reason)), "{}-{}", row.module, row.number);
    }
}
