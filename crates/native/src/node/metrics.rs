//! Numbers for Prometheus, in its text format (version 0.0.4).
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use warren::{
    homeserver::Homeserver,
    p2p::network::{Network, RelayState},
};

use crate::disk_store::DiskDatabase;

/// Upper bounds of how long answers took, in seconds. Long polls are the last ones.
const BUCKETS_S: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0, 31.0];

pub struct Metrics {
    homeserver: Rc<Homeserver>,
    network: Network,
    database: Rc<DiskDatabase>,
    requests: Rc<Requests>,
}

#[derive(Default)]
struct Requests {
    in_flight: Cell<u64>,
    /// By method and status.
    answered: RefCell<BTreeMap<(&'static str, u16), u64>>,
    /// One more than there are bounds.
    buckets: RefCell<[u64; BUCKETS_S.len() + 1]>,
    seconds: Cell<f64>,
}

/// A request that is not answered yet.
pub struct InFlight(Rc<Requests>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Metrics {
    pub fn new(homeserver: Rc<Homeserver>, network: Network, database: Rc<DiskDatabase>) -> Self {
        Self { homeserver, network, database, requests: Rc::default() }
    }

    /// Counts a request until what it returns is dropped.
    pub fn request_begins(&self) -> InFlight {
        self.requests.in_flight.set(self.requests.in_flight.get() + 1);
        InFlight(self.requests.clone())
    }

    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        self.requests.answered(method, status, took);
    }

    /// `GET /metrics`, and nothing else.
    pub fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, body) = match (method, path) {
            (&Method::GET, "/metrics") => (StatusCode::OK, self.text()),
            (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "Metrics are read by GET.\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "There is nothing but /metrics here.\n".to_owned()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }

    fn text(&self) -> String {
        let mut text = Exposition::default();
        self.requests.tell(&mut text);
        let network = self.network.status();
        let ready = network.relays.iter().filter(|relay| matches!(relay.state, RelayState::Ready { .. })).count();
        let connected = network.peers.iter().filter(|peer| peer.path().is_some()).count();
        text.gauge("warren_peers_connected", "Homeservers with a live connection.", connected as f64);
        text.gauge("warren_relays_ready", "Relays through which peers can reach us.", ready as f64);
        let waiting: usize = self.homeserver.outbox().iter().map(|row| row.waiting).sum();
        text.gauge(
            "warren_outbox_waiting",
            "Events and EDUs that wait to be sent, of all destinations.",
            waiting as f64,
        );
        let commits = self.database.commit_counts();
        text.family("warren_store_commits_total", "counter", "Commits of the store.");
        for (kind, count) in [("relaxed", commits.relaxed), ("strict", commits.strict), ("failed", commits.failed)] {
            text.sample("warren_store_commits_total", &format!("{{kind=\"{kind}\"}}"), count as f64);
        }
        text.gauge("warren_store_bytes", "What the store takes up on the disk.", self.database.bytes_on_disk() as f64);
        if let Some(bytes) = resident_bytes() {
            text.gauge("process_resident_memory_bytes", "Resident memory of the process.", bytes as f64);
        }
        text.0
    }
}

impl Requests {
    fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        *self.answered.borrow_mut().entry((method_name(method), status.as_u16())).or_default() += 1;
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS_S.len());
        self.buckets.borrow_mut()[bucket] += 1;
        self.seconds.set(self.seconds.get() + seconds);
    }

    fn tell(&self, text: &mut Exposition) {
        text.family("warren_http_requests_total", "counter", "Requests of clients that were answered.");
        for ((method, status), count) in &*self.answered.borrow() {
            let labels = format!("{{method=\"{method}\",status=\"{status}\"}}");
            text.sample("warren_http_requests_total", &labels, *count as f64);
        }
        let name = "warren_http_request_seconds";
        text.family(name, "histogram", "From a request's head to its answer; /sync waits on purpose.");
        let mut sum = 0;
        for (index, count) in self.buckets.borrow().iter().enumerate() {
            sum += count;
            let bound = BUCKETS_S.get(index).map_or("+Inf".to_owned(), f64::to_string);
            text.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), sum as f64);
        }
        text.sample(&format!("{name}_sum"), "", self.seconds.get());
        text.sample(&format!("{name}_count"), "", sum as f64);
        let waiting = self.in_flight.get() as f64;
        text.gauge("warren_http_requests_in_flight", "Requests of clients without an answer yet.", waiting);
    }
}

/// Strangers choose the method, so only those that mean something are told apart.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }
}

/// Where the system tells it in a file.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_method_status_and_duration() {
        let requests = Requests::default();
        requests.answered(&Method::GET, StatusCode::OK, Duration::from_micros(50));
        requests.answered(&Method::GET, StatusCode::OK, Duration::from_millis(2));
        requests.answered(&Method::from_bytes(b"MADEUP").unwrap(), StatusCode::NOT_FOUND, Duration::from_secs(60));
        let mut text = Exposition::default();
        requests.tell(&mut text);
        for line in [
            "warren_http_requests_total{method=\"GET\",status=\"200\"} 2",
            "warren_http_requests_total{method=\"other\",status=\"404\"} 1",
            "warren_http_request_seconds_bucket{le=\"0.0001\"} 1",
            "warren_http_request_seconds_bucket{le=\"0.003\"} 2",
            "warren_http_request_seconds_bucket{le=\"31\"} 2",
            "warren_http_request_seconds_bucket{le=\"+Inf\"} 3",
            "warren_http_request_seconds_count 3",
            "warren_http_requests_in_flight 0",
        ] {
            assert!(text.0.lines().any(|found| found == line), "{line} is missing in\n{}", text.0);
        }
    }
}
