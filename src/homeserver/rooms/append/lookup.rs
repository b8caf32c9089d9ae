//! What pure rules ask for: the events they look up, loaded until they ask for no more, and the state that several come to.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::OwnedEventId;

use super::{Append, AppendError};
use crate::{
    domain::{
        event::Pdu,
        room::resolve::{Fork, ResolveError, Wanted},
    },
    homeserver::{events::StoredEvent, states::State},
};

/// Rounds of loading what a pure rule asked for. Each runs it anew, so none of them may be for one more link of a chain.
const LOAD_ROUNDS_MAX: usize = 100;
/// The most events loaded for one rule: an auth chain that has more is not walked to its end.
const LOADED_EVENTS_MAX: usize = 100_000;
/// Generations of an auth chain loaded before other work gets a turn.
const GENERATIONS_PER_SLICE: usize = 100;

impl Append<'_> {
    /// Runs a pure rule that looks events up, loading what it asked for and running it again until it asks no more.
    pub async fn with_events<T>(&self, rule: impl Fn(&EventView) -> Result<T, AppendError>) -> Result<T, AppendError> {
        self.with_events_from(EventView::default(), rule).await
    }

    /// As `with_events`, beginning with what is at hand.
    pub(super) async fn with_events_from<T>(
        &self,
        mut view: EventView,
        rule: impl Fn(&EventView) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        for _ in 0..LOAD_ROUNDS_MAX {
            let result = rule(&view);
            let Wanted { events, chains } = view.wanted.take();
            if events.is_empty() && chains.is_empty() {
                return result;
            }
            let events: Vec<_> = events.into_iter().collect();
            for event in self.require(&events).await? {
                view.events.insert(event.pdu.event_id.clone(), event.pdu.clone());
            }
            self.load_chains(&mut view, chains).await?;
        }
        Err(AppendError::Unresolvable("what it takes has no end".to_owned()))
    }

    /// Loads `roots` and everything they rest on.
    async fn load_chains(&self, view: &mut EventView, roots: BTreeSet<OwnedEventId>) -> Result<(), AppendError> {
        let mut pending: Vec<OwnedEventId> = roots.into_iter().collect();
        let mut generations = 0;
        while !pending.is_empty() {
            if view.events.len() > LOADED_EVENTS_MAX {
                return Err(AppendError::Unresolvable(format!("it takes more than {LOADED_EVENTS_MAX} events")));
            }
            generations += 1;
            if generations % GENERATIONS_PER_SLICE == 0 {
                self.server.environment.clock.yield_now().await;
            }
            let loaded = self.require(&pending).await?;
            for event in &loaded {
                view.events.insert(event.pdu.event_id.clone(), event.pdu.clone());
            }
            let cited: BTreeSet<_> = loaded.iter().flat_map(|event| &event.pdu.auth_events).collect();
            pending = cited.into_iter().filter(|id| !view.events.contains_key(*id)).cloned().collect();
        }
        Ok(())
    }

    /// The state that follows from several of the room's: at least one.
    pub async fn resolve(&mut self, states: Vec<State>) -> Result<State, AppendError> {
        let states: BTreeMap<_, _> = states.into_iter().map(|state| (state.id, state)).collect();
        let states: Vec<State> = states.into_values().collect();
        if let [only] = &states[..] {
            return Ok(only.clone());
        }
        let fork = Fork::of(states.iter().map(|state| state.entries.iter()));
        let settled = self
            .with_events(|view| match fork.settle(&self.room.rules, &view.events) {
                Ok(settled) => Ok(settled),
                Err(ResolveError::Missing(wanted)) => {
                    view.wanted.replace(wanted);
                    Err(AppendError::Unresolvable("events are missing".to_owned()))
                }
                Err(ResolveError::Invalid(reason)) => Err(AppendError::Unresolvable(reason)),
            })
            .await?;
        let contested = fork.contested();
        let is_settled = |state: &&State| contested.iter().all(|key| state.entries.get(key) == settled.get(key));
        if let Some(state) = states.iter().find(is_settled) {
            return Ok(state.clone());
        }
        let base = &states[0];
        let empty = contested.into_iter().filter(|key| !settled.contains_key(*key) && base.entries.contains_key(key));
        let (empty, settled) = (empty.cloned().collect(), settled.into_iter().collect());
        Ok(self.server.rooms.states.change(base, settled, empty, &mut self.batch).await?)
    }

    pub(super) async fn require(&self, ids: &[OwnedEventId]) -> Result<Vec<Rc<StoredEvent>>, AppendError> {
        let events = self.events(ids).await?;
        let missing: BTreeSet<_> =
            ids.iter().zip(&events).filter(|(_, event)| event.is_none()).map(|(id, _)| id.clone()).collect();
        if !missing.is_empty() {
            return Err(AppendError::Missing(missing));
        }
        Ok(events.into_iter().flatten().collect())
    }
}

/// Events at hand for a pure rule, and a note of those it wanted.
#[derive(Default)]
pub struct EventView {
    events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    wanted: RefCell<Wanted>,
}

impl EventView {
    pub(super) fn of(events: impl Iterator<Item = Rc<Pdu>>) -> Self {
        Self { events: events.map(|pdu| (pdu.event_id.clone(), pdu)).collect(), wanted: RefCell::default() }
    }

    pub fn get(&self, event_id: &OwnedEventId) -> Option<Rc<Pdu>> {
        let found = self.events.get(event_id).cloned();
        if found.is_none() {
            self.wanted.borrow_mut().events.insert(event_id.clone());
        }
        found
    }
}
