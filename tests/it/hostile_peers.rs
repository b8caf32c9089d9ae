//! The table "Hostile peers" of `docs/security.md` and `tests/mutations/checks.json` say the same, and what they name is there.
use std::{collections::BTreeSet, fs};

use serde::Deserialize;

const ATTACKS_MIN: usize = 45;

#[derive(Deserialize)]
struct Entry {
    attack: String,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    file: String,
    /// Source text; what is between « and » is the check.
    check: String,
    /// What takes its place.
    off: String,
}

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn entries() -> Vec<Entry> {
    serde_json::from_str(&read("tests/mutations/checks.json")).unwrap()
}

/// The cells of the table: number, attack, what becomes of it, test, where it is checked.
fn rows() -> Vec<[String; 5]> {
    let document = read("docs/security.md");
    let rows = document.lines().filter(|line| line.starts_with("| H") && line.as_bytes()[3].is_ascii_digit());
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|_| panic!("five cells make a row: {line}"))
    })
    .collect()
}

#[test]
fn each_attack_has_a_number_a_test_of_its_own_and_a_check_to_switch_off() {
    let (rows, entries) = (rows(), entries());
    assert!(rows.len() >= ATTACKS_MIN, "{}", rows.len());
    let mut tests = BTreeSet::new();
    let number_of = |number: &String| number[1..].parse::<usize>().unwrap();
    assert!(rows.is_sorted_by(|[before, ..], [after, ..]| number_of(before) < number_of(after)), "in order, each once");
    for [number, _, _, test, _] in &rows {
        assert!(tests.insert(test), "{number}: {test} is another attack's test");
    }
    let numbers: Vec<_> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(numbers, entries.iter().map(|entry| &entry.attack).collect::<Vec<_>>(), "checks.json has the others");
}

#[test]
fn each_check_is_where_it_is_said_to_be() {
    for ([number, _, _, _, wherein], entry) in rows().iter().zip(entries()) {
        assert!(!entry.checks.is_empty(), "{number}");
        for Check { file, check, off } in entry.checks {
            let source = read(&file);
            let text = check.replace(['«', '»'], "");
            assert_eq!(source.matches(&text).count(), 1, "{number}: to be exactly once in {file}: {text}");
            assert!(check.matches('«').count() == 1 && check.matches('»').count() == 1 && !off.is_empty(), "{number}");
            let named = format!("`{}`", file.trim_start_matches("src/"));
            let function = wherein.split(&named).nth(1).and_then(|rest| rest.split('`').nth(1));
            let function = function.unwrap_or_else(|| panic!("{number}: {wherein} names {named} and a function"));
            let function = function.rsplit("::").next().unwrap();
            assert!(source.contains(&format!("fn {function}")), "{number}: {file} has no {function}");
        }
    }
}
