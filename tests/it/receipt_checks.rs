//! `docs/receipt-checks.md` numbers the rules about what other servers send: each number once, in order, and the tests that it names
//! are there.
use std::fs;

const RULES_MIN: usize = 60;

struct Row {
    number: String,
    rule: String,
    kept_in: String,
    tests: Vec<(String, String)>,
}

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rows() -> Vec<Row> {
    let document = read("docs/receipt-checks.md");
    let numbered = document.lines().filter(|line| line.starts_with("| RC-"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, rule, kept_in, tests] = cells[..] else { panic!("four cells make a row: {line}") };
        let quoted = tests.split('`').skip(1).step_by(2);
        let named = |test: &str| test.split_once("::").map(|(module, name)| (module.to_owned(), name.to_owned()));
        let tests = quoted.map(|test| named(test).unwrap_or_else(|| panic!("{test} is no test"))).collect();
        Row { number: number.to_owned(), rule: rule.to_owned(), kept_in: kept_in.to_owned(), tests }
    };
    numbered.map(row).collect()
}

/// Where the tests of a module are.
fn source(module: &str) -> String {
    let path = match module {
        "rules" => "src/domain/room/admit/tests/rules.rs".to_owned(),
        "admit" => "src/domain/room/admit/tests.rs".to_owned(),
        "check" => "src/domain/event/check/tests.rs".to_owned(),
        "event" => "src/domain/event/tests.rs".to_owned(),
        "reference" => "src/domain/event/reference.rs".to_owned(),
        "server_keys" => "src/domain/server_keys/tests.rs".to_owned(),
        "resolve" => "src/domain/room/resolve/tests.rs".to_owned(),
        "v1" => "src/domain/room/resolve/v1.rs".to_owned(),
        "node_https" => "crates/native/tests/it/node_https.rs".to_owned(),
        module => format!("tests/it/{module}.rs"),
    };
    read(&path)
}

#[test]
fn rules_are_numbered_and_the_tests_of_each_are_there() {
    let rows = rows();
    assert!(rows.len() >= RULES_MIN, "{}", rows.len());
    for (n, Row { number, rule, kept_in, tests }) in rows.iter().enumerate() {
        assert_eq!(*number, format!("RC-{}", n + 1));
        assert!(!rule.is_empty() && !kept_in.is_empty() && !tests.is_empty(), "{number} says too little");
        for (module, name) in tests {
            assert!(source(module).contains(&format!("fn {name}()")), "{number}: {module}::{name} is not there");
        }
    }
}

#[test]
fn each_rule_is_kept_where_it_is_said_to_be() {
    for Row { number, kept_in, .. } in rows() {
        let mut file = None;
        for quoted in kept_in.split('`').skip(1).step_by(2) {
            match quoted.ends_with(".rs") {
                true => file = Some(read(&format!("src/{quoted}"))),
                // What is ruma's stands without a file.
                false => assert!(
                    file.as_ref()
                        .is_none_or(|file| kept_in.starts_with("ruma") || file.contains(&format!("fn {quoted}"))),
                    "{number}: {quoted}"
                ),
            }
        }
        assert!(file.is_some() || kept_in.starts_with("ruma"), "{number} is kept nowhere");
    }
}
