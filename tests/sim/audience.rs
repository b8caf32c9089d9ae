//! The client of each server's user: it believes what it is told, and in the end that must be the room as its server has
//! it, every event once and in order.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::world::World;

/// Events asked for at once, where there is a gap to fill.
const PAGE: usize = 20;

#[derive(Default)]
struct Client {
    since: Option<String>,
    joined: bool,
    timeline: Vec<String>,
    /// Where the timeline begins: as a token.
    begin: String,
    state: BTreeMap<(String, String), String>,
}

pub struct Audience {
    room_id: String,
    clients: Vec<Client>,
    turns: usize,
}

impl Audience {
    pub fn new(room_id: &str, count: usize) -> Self {
        Self { room_id: room_id.to_owned(), clients: (0..count).map(|_| Client::default()).collect(), turns: 0 }
    }

    /// A server lost what its client was told: the client begins anew.
    pub fn forget(&mut self, index: usize) {
        self.clients[index] = Client::default();
    }

    /// Some of the clients look, each as often as it likes.
    pub fn listen(&mut self, world: &mut World) {
        self.turns += 1;
        for index in 0..self.clients.len() {
            if self.turns.is_multiple_of(index + 1) {
                self.sync(world, index);
            }
        }
    }

    fn sync(&mut self, world: &mut World, index: usize) {
        // Half the clients take the state from the timeline, half are told it.
        let after = if index.is_multiple_of(2) { "use_state_after=true&" } else { "" };
        let since = self.clients[index].since.as_ref().map(|since| format!("since={since}")).unwrap_or_default();
        let path = format!("/_matrix/client/v3/sync?{after}{since}");
        let Some((status, answer)) = world.ask(index, "GET", &path, Value::Null) else { return };
        assert_eq!(status, 200, "{answer}");
        let rooms = &answer["rooms"];
        let applied = if let Some(told) = rooms["join"].get(&self.room_id) {
            self.apply(world, index, told, true)
        } else if let Some(told) = rooms["leave"].get(&self.room_id) {
            self.apply(world, index, told, false)
        } else {
            self.clients[index].joined &= rooms["invite"].get(&self.room_id).is_none();
            true
        };
        if !applied {
            return;
        }
        self.clients[index].since = Some(answer["next_batch"].as_str().expect("a token").to_owned());
    }

    /// Returns whether it could, or the server died of being asked.
    fn apply(&mut self, world: &mut World, index: usize, told: &Value, joined: bool) -> bool {
        let timeline = &told["timeline"];
        let prev_batch = timeline["prev_batch"].as_str().unwrap_or_default();
        let fresh = !self.clients[index].joined;
        if fresh {
            let since = self.clients[index].since.take();
            self.clients[index] = Client { since, begin: prev_batch.to_owned(), ..Client::default() };
        } else if timeline["limited"] == true {
            let to = self.clients[index].since.clone().expect("who knows the room has a token");
            let gap = pages(world, index, &self.room_id, "b", prev_batch, &format!("&to={to}"));
            let Some(gap) = gap else { return false };
            self.clients[index].timeline.extend(gap.into_iter().rev());
        }
        let client = &mut self.clients[index];
        client.joined = joined;
        client.timeline.extend(ids(&timeline["events"]));
        match told.get("state_after") {
            Some(state) => client.believe(&state["events"]),
            None => {
                client.believe(&told["state"]["events"]);
                client.believe(&timeline["events"]);
            }
        }
        true
    }

    /// Holds what each client knows against what its server has.
    pub fn check(&mut self, world: &mut World, present: &BTreeSet<usize>) {
        for index in 0..self.clients.len() {
            self.sync(world, index);
            let client = &self.clients[index];
            assert_eq!(client.joined, present.contains(&index), "client {index} knows where it is");
            if !client.joined {
                continue;
            }
            let all = pages(world, index, &self.room_id, "f", &client.begin, "");
            let all = all.expect("it is up");
            assert_eq!(client.timeline, all, "client {index} was told of every event once and in order");
            let path = format!("/_matrix/client/v3/rooms/{}/state", self.room_id);
            let (_, state) = world.ask(index, "GET", &path, Value::Null).expect("it is up");
            for (place, event) in state_of(&state) {
                assert_eq!(client.state.get(&place), Some(&event), "client {index} knows {place:?}");
            }
        }
    }
}

impl Client {
    fn believe(&mut self, events: &Value) {
        self.state.extend(state_of(events));
    }
}

fn list(events: &Value) -> &[Value] {
    events.as_array().map_or(&[], Vec::as_slice)
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().expect("a string").to_owned()
}

fn ids(events: &Value) -> Vec<String> {
    list(events).iter().map(|event| text(event, "event_id")).collect()
}

fn state_of(events: &Value) -> impl Iterator<Item = ((String, String), String)> {
    let states = list(events).iter().filter(|event| event["state_key"].is_string());
    states.map(|event| ((text(event, "type"), text(event, "state_key")), text(event, "event_id")))
}

fn pages(world: &mut World, index: usize, room_id: &str, dir: &str, from: &str, query: &str) -> Option<Vec<String>> {
    let mut events = Vec::new();
    let mut from = Some(from.to_owned());
    while let Some(place) = from {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir={dir}&limit={PAGE}&from={place}{query}");
        let (status, page) = world.ask(index, "GET", &path, Value::Null)?;
        assert_eq!(status, 200, "{page}");
        events.extend(ids(&page["chunk"]));
        from = page["end"].as_str().map(ToOwned::to_owned);
    }
    Some(events)
}
