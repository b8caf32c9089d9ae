//! Sends the core's log to the console, and tells the page of a panic before the trap.
use std::{
    fmt::{self, Write},
    sync::Once,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Defined by the worker before the wasm is loaded.
    #[wasm_bindgen(catch, js_name = warrenPanicked)]
    fn warren_panicked(message: &str) -> Result<(), JsValue>;

    #[wasm_bindgen(js_name = Error)]
    type StackTrace;

    #[wasm_bindgen(constructor, js_class = "Error")]
    fn new() -> StackTrace;

    #[wasm_bindgen(method, getter)]
    fn stack(this: &StackTrace) -> Option<String>;
}

static INSTALLED: Once = Once::new();

/// Installs both, once per worker; a later level is ignored. `level` is "error", "warn", "info" or, with debug assertions,
/// "debug" or "trace".
pub fn install(level: &str) {
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let stack = StackTrace::new().stack().unwrap_or_default();
            let message = format!("{panic}\n\n{stack}");
            web_sys::console::error_1(&message.as_str().into());
            // Without anybody to tell, the trap that follows has to do.
            let _ = warren_panicked(&message);
        }));
        let max_level = level.parse().unwrap_or(LevelFilter::INFO);
        // Fails only where something else was installed before, and then that is what is wanted.
        let _ = tracing::subscriber::set_global_default(Console { max_level });
    });
}

/// Writes events as they come. Spans are not kept: libp2p makes one for every poll.
struct Console {
    max_level: LevelFilter,
}

impl Console {
    /// Libraries tell each step at `info`, and a line on the console costs more than what it tells of: theirs begin at
    /// `warn`, unless everything is wanted.
    fn level_of(&self, target: &str) -> LevelFilter {
        match target.starts_with("warren") || self.max_level > LevelFilter::INFO {
            true => self.max_level,
            false => self.max_level.min(LevelFilter::WARN),
        }
    }
}

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level_of(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{}:", event.metadata().target()));
        event.record(&mut line);
        let line = JsValue::from(line.0);
        match *event.metadata().level() {
            Level::ERROR => web_sys::console::error_1(&line),
            Level::WARN => web_sys::console::warn_1(&line),
            Level::INFO => web_sys::console::info_1(&line),
            _ => web_sys::console::debug_1(&line),
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
