//! What a homeserver with a usual amount in it takes: resident memory of the process, bytes in the store.
use warren::api::Origin;

use super::{
    figures::Figures,
    servers::{Servers, json_of},
};

pub fn run(rooms: usize, events_per_room: usize, figures: &mut Figures) {
    let mut servers = Servers::default();
    let server = servers.start();
    resident("rss_empty_bytes", figures);
    for _ in 0..rooms {
        let room = servers.create_room(&server);
        // Those that make the room count too, but are few.
        for number in 0..events_per_room {
            json_of(servers.run(&server, server.message(&room, number), Origin::Client));
        }
    }
    resident("rss_full_bytes", figures);
    figures.add("stored_bytes", server.disk.bytes_stored() as f64);
}

/// Notes the resident set of this process.
fn resident(name: &'static str, figures: &mut Figures) {
    if let Some(bytes) = resident_bytes() {
        figures.add(name, bytes);
    }
}

/// The resident set of this process, where the system tells (Linux).
pub fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<f64>().ok());
    Some(kib.expect("VmRSS is in kB") * 1024.0)
}
