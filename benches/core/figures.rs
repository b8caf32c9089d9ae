//! What was measured, sample by sample. Medians and ratios are for the reader of the JSON to make.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Samples by the name of what they measure, in the unit that the name ends with.
#[derive(Default)]
pub struct Figures(BTreeMap<&'static str, Vec<f64>>);

impl Figures {
    pub fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// Times `work` and notes the microseconds each of its `items` took; `name` ends in `_us`.
    pub fn time<T>(&mut self, name: &'static str, items: usize, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.add_duration(name, items, started.elapsed());
        result
    }

    pub fn add_duration(&mut self, name: &'static str, items: usize, duration: Duration) {
        self.add(name, duration.as_secs_f64() * 1e6 / items as f64);
    }

    pub fn to_json(&self) -> Value {
        json!(self.0)
    }
}
