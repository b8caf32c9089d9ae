//! Tests that need a browser. Each runs in a worker of its own: a panic ends the worker, and with it only that test.
#![cfg(target_arch = "wasm32")]
mod addresses;
mod interop;
mod neighbours;
mod panics;
mod storage;
mod timers;
mod webrtc;

use futures::future::LocalBoxFuture;
use libp2p_webrtc_p2p::backend::{
    RtcBackend,
    browser::{BrokeredBackend, WindowBackend},
    ice::IceConfiguration,
};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Asks the driver outside the browser for something a page cannot do.
    #[wasm_bindgen(js_name = askDriver)]
    fn ask_driver(what: &str, argument: f64) -> js_sys::Promise;

    /// Tells the page how far a test is that never ends by itself.
    #[wasm_bindgen(js_name = reportProgress)]
    fn report_progress(number: f64);

    /// The worker's end of a channel to a new broker in the page.
    #[wasm_bindgen(js_name = newBroker)]
    fn new_broker() -> web_sys::MessagePort;
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

macro_rules! direct_tests {
    ($($test:ident,)*) => { &[$((stringify!($test), |make| Box::pin(webrtc::$test(make)))),*] };
}

type DirectTest = (&'static str, fn(webrtc::Make) -> LocalBoxFuture<'static, ()>);

/// Each is run in a page that makes its peer connections itself, and in a worker whose page makes them.
const DIRECT_TESTS: &[DirectTest] = direct_tests![
    a_megabyte_goes_there_and_back,
    a_hundred_dials_in_a_row_succeed,
    dials_that_cross_end_in_one_connection,
    the_end_of_a_connection_is_noticed_at_once,
    a_reader_that_pauses_holds_one_window,
];

/// The driver knows by these where to run them.
const IN_WINDOW: &str = "webrtc_window::";
const BROKERED: &str = "webrtc_brokered::";

fn in_window() -> Box<dyn RtcBackend> {
    Box::new(WindowBackend::default())
}

fn brokered() -> Box<dyn RtcBackend> {
    Box::new(BrokeredBackend::new(new_broker(), IceConfiguration::default()))
}

#[wasm_bindgen]
pub fn tests() -> Vec<String> {
    let direct = [IN_WINDOW, BROKERED]
        .into_iter()
        .flat_map(|place| DIRECT_TESTS.iter().map(move |(name, _)| format!("{place}{name}")));
    TESTS.iter().map(|(name, _)| (*name).to_owned()).chain(direct).collect()
}

/// Resolves when the test has passed; a failure is a panic.
#[wasm_bindgen]
pub async fn run(name: String) {
    let named = |wanted: &str| DIRECT_TESTS.iter().find(|(known, _)| *known == wanted).map(|(_, test)| test);
    let direct = [(IN_WINDOW, in_window as webrtc::Make), (BROKERED, brokered)];
    let direct = direct.iter().find_map(|(place, make)| Some(named(name.strip_prefix(place)?)?(*make)));
    let found = || TESTS.iter().chain(PARTS).find(|(known, _)| *known == name).map(|(_, test)| test());
    let test = direct.or_else(found).unwrap_or_else(|| panic!("there is no test {name}"));
    warren_browser::logging::install("info");
    test.await;
}
