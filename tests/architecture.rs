//! Holds what the compiler cannot: the layers of the core, its purity and its names (ARCHITECTURE.md, invariants).
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Each layer of `src`, and the layers it may name. `lib.rs` names all.
const LAYERS: [(&str, &[&str]); 6] = [
    ("domain", &["domain"]),
    ("ports", &["domain", "ports"]),
    ("storage", &["domain", "ports", "storage"]),
    ("p2p", &["domain", "ports", "p2p"]),
    ("homeserver", &["domain", "ports", "storage", "p2p", "homeserver"]),
    ("api", &["domain", "ports", "storage", "p2p", "homeserver", "api"]),
];

/// What nothing in the core may touch: the outside world reaches it through `ports` alone.
const BANNED_IN_CORE: [&str; 27] = [
    "target_arch",
    "target_family",
    "target_os",
    "SystemTime",
    "Instant::now",
    "MilliSecondsSinceUnixEpoch::now",
    "SecondsSinceUnixEpoch::now",
    "TransactionId::new",
    "HashMap",
    "HashSet",
    "rand::",
    "getrandom",
    "tokio::",
    "wasm_bindgen",
    "web_sys",
    "js_sys",
    "gloo",
    "indexed_db",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "println!",
    "eprintln!",
    "dbg!",
    "unsafe ",
];

/// What the domain may not do besides: it computes, and everything it needs arrives as an argument.
const BANNED_IN_DOMAIN: [&str; 12] = [
    "async",
    "await",
    "Future",
    "futures",
    "std::time",
    "std::io",
    "std::sync",
    "thread_local",
    "static mut",
    "libp2p",
    "hyper",
    "tracing",
];

/// Crates of a shell. The core depends on none, so that it is compiled once for all of them.
const BANNED_DEPENDENCIES: [&str; 9] =
    ["tokio", "rand", "getrandom", "wasm-bindgen", "web-sys", "js-sys", "gloo", "indexed_db_futures", "async-std"];

/// A test of the core that writes what it computed for another program, and so is told what and where.
const TOLD: &str = "src/domain/room/resolve/tests/told.rs";

/// Words that name nothing (CONTRIBUTING.md, names).
const EMPTY_NAMES: [&str; 5] = ["manager", "helper", "utils", "common", "service"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `directory`, by its path from the root.
fn rust_files(directory: &str) -> BTreeMap<String, String> {
    fn walk(directory: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(&root().join(directory), &mut files);
    assert!(!files.is_empty(), "nothing to look at in {directory}");
    files
}

/// The text without comments, strings and character literals; lines stay lines.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_prefix(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many bytes at the start of `rest` are no code; `before` is the character ahead of it.
fn skipped_prefix(rest: &str, before: Option<char>) -> usize {
    let up_to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return up_to("*/", 2);
    }
    if !in_word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            return up_to(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => end_of_literal(rest, '"'),
        // A character, not a lifetime: closed after one character or an escape.
        [b'\'', b'\\', ..] => end_of_literal(rest, '\''),
        [b'\'', ..] if rest.chars().nth(2) == Some('\'') => end_of_literal(rest, '\''),
        _ => 0,
    }
}

fn end_of_literal(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where `word` occurs in code and is not part of a longer word.
fn mentions(code: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(|(at, _)| {
            let starts = !word.starts_with(part_of_word) || !code[..*at].ends_with(part_of_word);
            let ends = !word.ends_with(part_of_word) || !code[at + word.len()..].starts_with(part_of_word);
            starts && ends
        })
        .map(|(at, _)| code[..at].matches('\n').count() + 1)
        .collect()
}

/// The layers a file names: `crate::layer`, alone or in a list.
fn layers_named(code: &str) -> Vec<&'static str> {
    let layer = |path: &str| {
        let first = path.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next();
        LAYERS.iter().map(|(layer, _)| *layer).find(|layer| Some(*layer) == first)
    };
    let after = code.match_indices("crate::").map(|(at, start)| &code[at + start.len()..]);
    after
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => top_level_items(list).iter().filter_map(|item| layer(item)).collect::<Vec<_>>(),
            None => layer(rest).into_iter().collect(),
        })
        .collect()
}

/// The items of a use list up to its closing brace, each with whatever braces of its own.
fn top_level_items(list: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn layer_of(file: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let path = file.strip_prefix("src/").unwrap();
    LAYERS.iter().find(|(layer, _)| path == format!("{layer}.rs") || path.starts_with(&format!("{layer}/")))
}

/// All violations at once, so that one run tells everything.
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn mentions_of(words: &[&str], file: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let found = |word: &&str| {
        mentions(&code, word).into_iter().map(|line| format!("{file}:{line}: {word}")).collect::<Vec<_>>()
    };
    words.iter().flat_map(found).collect()
}

#[test]
fn the_core_reaches_the_world_through_ports_only() {
    let mut files = rust_files("src");
    assert!(files.remove(TOLD).is_some());
    assert_none(&files.iter().flat_map(|(file, text)| mentions_of(&BANNED_IN_CORE, file, text)).collect::<Vec<_>>());

    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let named = |line: &str| line.split(['.', ' ', '=']).next().unwrap().to_owned();
    let banned: Vec<_> =
        dependencies.lines().map(named).filter(|name| BANNED_DEPENDENCIES.contains(&name.as_str())).collect();
    assert_none(&banned);
    assert!(!manifest.contains("[target."), "the core has no dependency that depends on the target");
}

#[test]
fn the_domain_computes_and_does_nothing_else() {
    let mut files = rust_files("src/domain");
    files.remove(TOLD);
    files.extend([("src/domain.rs".to_owned(), fs::read_to_string(root().join("src/domain.rs")).unwrap())]);
    assert!(files.len() > 20, "only {} files seen", files.len());
    assert_none(&files.iter().flat_map(|(file, text)| mentions_of(&BANNED_IN_DOMAIN, file, text)).collect::<Vec<_>>());
}

#[test]
fn layers_name_only_what_is_below_them() {
    let mut violations = Vec::new();
    for (file, text) in rust_files("src").iter().filter(|(file, _)| *file != "src/lib.rs") {
        let Some((layer, allowed)) = layer_of(file) else {
            violations.push(format!("{file}: belongs to no layer"));
            continue;
        };
        let code = code_only(text);
        let above = layers_named(&code).into_iter().filter(|named| !allowed.contains(named));
        violations.extend(above.map(|named| format!("{file}: {layer} names {named}")));
    }
    assert_none(&violations);
}

#[test]
fn files_say_why_they_exist_and_have_names_that_mean_something() {
    let mut violations = Vec::new();
    for directory in ["src", "crates", "tests"] {
        for (file, text) in rust_files(directory) {
            let first = text.lines().next().unwrap_or_default();
            if !first.starts_with("//! ") {
                violations.push(format!("{file}: the first line does not say why the file exists"));
            }
            let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap().to_owned();
            if stem == "mod" {
                violations.push(format!("{file}: foo.rs beside foo/, not mod.rs"));
            }
            violations.extend(empty_names_in(&stem).map(|name| format!("{file}: a file named {name}")));
            let code = code_only(&text);
            for name in names_defined(&code) {
                violations.extend(empty_names_in(name).map(|empty| format!("{file}: {name} ({empty})")));
            }
        }
    }
    assert_none(&violations);
}

/// The names of the types, traits and modules that code defines.
fn names_defined(code: &str) -> Vec<&str> {
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let keywords = ["struct", "enum", "trait", "mod", "type", "union"];
    words.windows(2).filter(|pair| keywords.contains(&pair[0])).map(|pair| pair[1]).collect()
}

fn empty_names_in(name: &str) -> impl Iterator<Item = &'static str> {
    let name = name.to_lowercase();
    EMPTY_NAMES.into_iter().filter(move |empty| name.contains(empty))
}

/// The checks above are only worth something if they see what they look for.
#[test]
fn the_checks_see_what_they_look_for() {
    let sample = r####"
        use std::collections::HashMap; // SystemTime in a comment
        /* Instant::now */ let s = "tokio::spawn \" rand::rng"; let r = r#"web_sys " js_sys"#;
        let c = '"'; fn f<'a>(x: &'a str) -> SystemTime { x } let quote = '\''; async { x.await }
        let asynchronous = MyHashMap::new();
    "####;
    assert_eq!(mentions_of(&BANNED_IN_CORE, "f", sample), ["f:4: SystemTime", "f:2: HashMap"]);
    assert_eq!(mentions_of(&BANNED_IN_DOMAIN, "f", sample), ["f:4: async", "f:4: await"]);

    let imports =
        "use crate::{api::handle, domain::{event::Pdu, ports}, homeserver}; crate::storage::Table; crate::Thing";
    assert_eq!(layers_named(imports), ["api", "domain", "homeserver", "storage"]);
    assert_eq!(layer_of("src/domain/room/admit.rs").unwrap().0, "domain");
    assert_eq!(layer_of("src/api.rs").unwrap().0, "api");
    assert!(layer_of("src/stray.rs").is_none());
    assert_eq!(empty_names_in("RoomManager").collect::<Vec<_>>(), ["manager"]);
    assert_eq!(empty_names_in("room_events").count(), 0);
    assert_eq!(names_defined("pub(crate) struct A<T>(T); mod b; r.mod_c(); trait D {}"), ["A", "b", "D"]);
}
