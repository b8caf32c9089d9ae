//! The native program `warren`: reads its flags, starts what they ask for, and turns every failure into one sentence.
mod circuit_relay;
mod disk_store;
mod exposed_tabs;
mod federation;
mod freed_memory;
mod gateway;
mod handed_over_sockets;
mod http_listener;
mod ice_servers;
mod node;
mod options;
mod page_config;
mod public_addresses;
mod public_url;
mod relay_identity;
mod request_body;
mod routes;
mod security_headers;
mod serve;
mod static_site;
mod stop_signal;
mod stun;
mod websocket_bytes;
mod websocket_upgrade;
mod write_deadline;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use node::settings::NodeFlags;
use options::{Command, Options, ServeOptions};
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// What may still run once the listener has stopped gets this long before the process ends.
const RUNTIME_STOP_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    freed_memory::give_back_at_once();
    let options = Options::parse();
    start_logging();
    // Every tab holds one socket; the usual soft limit of 1024 files is less than we admit.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
    let outcome = match options.command {
        Command::Serve(options) => serve(options),
        Command::Node(flags) => node(flags),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => fail(&sentence),
    }
}

fn serve(options: ServeOptions) -> Result<(), String> {
    let runtime = runtime(Builder::new_multi_thread())?;
    let outcome = runtime.block_on(serve::serve(options));
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    outcome.map_err(|error| error.to_string())
}

/// One thread owns the homeserver; only the disk and password hashes have others.
fn node(flags: NodeFlags) -> Result<(), String> {
    let runtime = runtime(Builder::new_current_thread())?;
    let tasks = LocalSet::new();
    let outcome = tasks.block_on(&runtime, node::run(flags));
    drop(tasks);
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    outcome.map_err(|error| error.to_string())
}

fn runtime(mut builder: Builder) -> Result<Runtime, String> {
    builder.enable_all().build().map_err(|error| format!("cannot start the runtime: {error}"))
}

fn fail(sentence: &str) -> ExitCode {
    eprintln!("warren: {sentence}");
    ExitCode::FAILURE
}

/// Logs go to stderr; `RUST_LOG` holds targets and levels such as `warren=debug,libp2p_relay=debug`.
fn start_logging() {
    // What strangers send to the STUN port is nothing to warn of.
    let default = || {
        Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("warren", LevelFilter::INFO)
            .with_target("stun_types", LevelFilter::OFF)
    };
    let wanted = std::env::var("RUST_LOG").ok();
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let filter = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        _ => default(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "RUST_LOG is not understood and was ignored");
    }
}
