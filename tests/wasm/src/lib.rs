//! Tests that need a browser. Each runs in a worker of its own: a panic ends the worker, and with it only that test.
#![cfg(target_arch = "wasm32")]
mod addresses;
mod neighbours;
mod panics;
mod storage;
mod timers;

use futures::future::LocalBoxFuture;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Asks the driver outside the browser for something a page cannot do.
    #[wasm_bindgen(js_name = askDriver)]
    fn ask_driver(what: &str, argument: f64) -> js_sys::Promise;

    /// Tells the page how far a test is that never ends by itself.
    #[wasm_bindgen(js_name = reportProgress)]
    fn report_progress(number: f64);
}

type Test = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

macro_rules! tests {
    ($($module:ident :: $test:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($test)), || Box::pin($module::$test()))),*]
    };
}

/// The driver runs these one by one.
const TESTS: &[Test] = tests![
    storage::conforms,
    storage::conforms_without_get_all_records,
    storage::a_commit_nobody_waits_for_is_fenced_all_the_same,
    storage::older_code_does_not_touch_newer_data,
    storage::a_deleted_database_ends_its_handle,
    storage::a_closed_database_refuses,
    storage::many_readers_and_writers_do_not_disturb_each_other,
    storage::a_full_disk_refuses_the_whole_batch,
    addresses::every_websocket_address_becomes_a_url_and_no_other,
    neighbours::profiles_find_each_other_and_talk,
    neighbours::a_reader_that_pauses_holds_no_more_than_a_window,
    neighbours::only_profiles_of_this_browser_are_dialed,
    neighbours::a_profile_that_starts_anew_is_found_anew_and_its_old_connections_end,
    neighbours::what_other_scripts_say_disturbs_nobody,
    neighbours::a_stopped_profile_is_gone_for_the_others,
    timers::sleeps_last_as_long_as_asked,
    panics::a_panic_is_told_before_the_trap,
];

/// Parts of tests in which the driver ends workers at the wrong moment.
const PARTS: &[Test] = tests![storage::write_generations_for_ever, storage::the_last_generation_is_whole,];

#[wasm_bindgen]
pub fn tests() -> Vec<String> {
    TESTS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Resolves when the test has passed; a failure is a panic.
#[wasm_bindgen]
pub async fn run(name: String) {
    let found = TESTS.iter().chain(PARTS).find(|(known, _)| *known == name);
    let (_, test) = found.unwrap_or_else(|| panic!("there is no test {name}"));
    warren_browser::logging::install("info");
    test().await;
}
