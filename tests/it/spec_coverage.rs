//! `docs/spec-coverage.md` says what is served, by what, and what proves it: no more and no less than is true. The tests that
//! `docs/security.md` names are there too.
use std::{collections::BTreeSet, fs};

use warren::api;

struct Row {
    /// Method, path and handler, as the document has them.
    operation: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/spec-coverage.md")).unwrap();
    let tables = document.lines().filter(|line| line.starts_with("| `"));
    tables
        .map(|line| {
            let cells: Vec<&str> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let [operation, handler, test] = cells[..] else { panic!("three cells make a row: {line}") };
            Row { operation: format!("{operation} | {handler}"), test: test.to_owned() }
        })
        .collect()
}

#[test]
fn the_table_lists_what_is_routed() {
    let routed = |operation: api::Operation| format!("{} {} | {}", operation.method, operation.path, operation.handler);
    let routed: BTreeSet<String> = api::operations().into_iter().map(routed).collect();
    let listed: BTreeSet<String> = rows().into_iter().map(|row| row.operation).collect();
    assert_eq!(rows().len(), listed.len(), "an operation is listed twice");
    let missing: Vec<&String> = routed.difference(&listed).collect();
    let stale: Vec<&String> = listed.difference(&routed).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/spec-coverage.md needs rows (endpoint, handler, test) for: {missing:#?}\nand lists what is not routed: {stale:#?}"
    );
}

#[test]
fn the_tests_it_names_are_there() {
    for row in rows() {
        let named = row.test.split_once("::");
        let (module, name) =
            named.unwrap_or_else(|| panic!("{}: a test is module::name, not {}", row.operation, row.test));
        let path = format!("{}/tests/it/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(&format!("#[test]\nfn {name}()")), "{} is not there", row.test);
    }
}

#[test]
fn the_tests_that_hold_off_bad_input_are_there() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let named: Vec<(&str, &str)> =
        document.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.rsplit_once("::")).collect();
    assert!(named.len() > 20, "the tables name tests: {named:?}");
    for (module, name) in named {
        let folder = match module.split("::").next() {
            Some("p2p" | "domain" | "homeserver") => "src",
            Some("circuit_relay" | "federation" | "gateway" | "http_listener") => "crates/native/src",
            Some("gateway_flood") => "crates/native/tests/it",
            _ => "tests/it",
        };
        let path_of =
            |module: &str| format!("{}/{folder}/{}.rs", env!("CARGO_MANIFEST_DIR"), module.replace("::", "/"));
        // Unit tests have a file of their own or stand at the end of what they test.
        let within = module.strip_suffix("::tests").unwrap_or(module);
        let source = fs::read_to_string(path_of(module)).or_else(|_| fs::read_to_string(path_of(within)));
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path_of(module)));
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let is_test = |pair: &[&str]| match pair[0] {
            "#[test]" => pair[1].starts_with(&format!("fn {name}()")),
            "#[tokio::test]" | "#[tokio::test(start_paused = true)]" => {
                pair[1].starts_with(&format!("async fn {name}()"))
            }
            _ => false,
        };
        assert!(lines.windows(2).any(is_test), "{module}::{name} is not there");
    }
}
