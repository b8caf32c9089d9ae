//! State resolution over a memory view. Of v2 and v2.1 the algorithm is ruma's; the auth chains, the auth difference and
//! the conflicted state subgraph it wants are computed here, and what is not in the view is asked for. v1 is all ours.
mod v1;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    state_res::{self, auth_types_for_event, utils::event_id_set::EventIdSet},
};
use thiserror::Error;

use crate::domain::event::{Pdu, create_event_id};

/// The state of a room at some point: which event holds each place.
pub type StateMap = BTreeMap<(StateEventType, String), OwnedEventId>;

#[derive(Debug, Error)]
pub enum ResolveError {
    /// Load these into the view and call again. Each call may ask for more, a few times.
    #[error("events needed to resolve state are not in the view: {0:?}")]
    Missing(Wanted),
    /// An event in the chains is malformed beyond the rules.
    #[error("state cannot be resolved: {0}")]
    Invalid(String),
}

/// Events that the view lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub events: BTreeSet<OwnedEventId>,
    /// These, and everything that they rest on by their `auth_events`: asked for one generation after the other, a chain
    /// would be walked anew for each of its events.
    pub chains: BTreeSet<OwnedEventId>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.chains.is_empty()
    }
}

/// The one state that every server holding the same events agrees on. What `events` must hold: [`Fork::settle`].
pub fn resolve(
    rules: &RoomVersionRules,
    states: &[StateMap],
    events: &BTreeMap<OwnedEventId, Rc<Pdu>>,
) -> Result<StateMap, ResolveError> {
    let fork = Fork::of(states.iter().map(|state| state.iter()));
    let settled = fork.settle(rules, events)?;
    Ok(owned(&fork.unconflicted).chain(settled).collect())
}

type Key = (StateEventType, String);
type BorrowedState<'a> = BTreeMap<&'a Key, &'a OwnedEventId>;

fn owned<'a>(state: &'a BorrowedState<'a>) -> impl Iterator<Item = (Key, OwnedEventId)> + 'a {
    state.iter().map(|(key, id)| ((*key).clone(), (*id).clone()))
}

/// States of one room, taken apart: the places that all of them fill with the same event, and what each has in the others.
pub struct Fork<'a> {
    unconflicted: BorrowedState<'a>,
    conflicted_by_state: Vec<BorrowedState<'a>>,
}

impl<'a> Fork<'a> {
    /// Walks the states once, side by side: each must come in the order of its keys.
    pub fn of<S: Iterator<Item = (&'a Key, &'a OwnedEventId)>>(states: impl IntoIterator<Item = S>) -> Self {
        let mut walks: Vec<_> = states.into_iter().map(Iterator::peekable).collect();
        let mut fork = Self { unconflicted: BTreeMap::new(), conflicted_by_state: vec![BTreeMap::new(); walks.len()] };
        let mut unconflicted = Vec::new();
        while let Some(key) = walks.iter_mut().filter_map(|walk| walk.peek().map(|(key, _)| *key)).min() {
            let held: Vec<Option<&OwnedEventId>> =
                walks.iter_mut().map(|walk| walk.next_if(|(next, _)| *next == key).map(|(_, id)| id)).collect();
            match held[0] {
                Some(id) if held.iter().all(|other| *other == Some(id)) => unconflicted.push((key, id)),
                _ => {
                    for (state, id) in fork.conflicted_by_state.iter_mut().zip(held) {
                        state.extend(id.map(|id| (key, id)));
                    }
                }
            }
        }
        fork.unconflicted = unconflicted.into_iter().collect();
        fork
    }

    /// The places that the states do not agree on.
    pub fn contested(&self) -> BTreeSet<&'a (StateEventType, String)> {
        self.conflicted_by_state.iter().flat_map(|state| state.keys().copied()).collect()
    }

    /// What holds the contested places; those that nothing holds are left out. With what the states agree on it is the state
    /// that every server holding the same events comes to.
    ///
    /// `events` is a view of the room: accepted and rejected events alike, the latter marked. It must come to hold the
    /// conflicted events, their auth chains and, if those chains differ between the states in more than conflicted
    /// events, the auth chains of everything else (an event that authorizes something unconflicted is in every full auth
    /// chain and so in no difference). In room version 1 it is the conflicted events and those of the state that may
    /// authorize them. [`ResolveError::Missing`] names what it lacks; states that are equal need nothing.
    pub fn settle(
        &self,
        rules: &RoomVersionRules,
        events: &BTreeMap<OwnedEventId, Rc<Pdu>>,
    ) -> Result<StateMap, ResolveError> {
        let Self { unconflicted, conflicted_by_state } = self;
        if conflicted_by_state.iter().all(BTreeMap::is_empty) {
            return Ok(StateMap::new());
        }
        let view = View::new(events);
        let Some(v2_rules) = rules.state_res.v2_rules() else {
            return v1::settle(rules, self, &view);
        };
        let conflicted: BTreeSet<&EventId> =
            conflicted_by_state.iter().flat_map(|state| state.values()).map(|id| &***id).collect();
        let chains = chains_of_conflicted(&view, rules, conflicted_by_state)?;
        let difference = auth_difference(&view, &chains, unconflicted, &conflicted)?;
        // In v2.1 the iterative checks start from nothing, so no unconflicted event is ever looked at.
        let consulted = if v2_rules.begin_iterative_auth_checks_with_empty_state_map {
            StateMap::new()
        } else {
            consulted_unconflicted(&view, rules, conflicted.iter().chain(&difference).copied(), unconflicted)?
        };
        let maps: Vec<state_res::StateMap<OwnedEventId>> =
            conflicted_by_state.iter().map(|state| owned(state).chain(consulted.clone()).collect()).collect();
        // ruma takes the union of the chains it is given minus their intersection. We know that already.
        let chains_with_that_difference =
            vec![difference.iter().map(|id| (*id).to_owned()).collect(), EventIdSet::new()];
        let resolved = state_res::resolve(
            &rules.authorization,
            v2_rules,
            &maps,
            chains_with_that_difference,
            |id| view.get(id),
            |_| Some(conflicted_subgraph(&view, &conflicted)),
        );
        view.complete()?;
        let resolved = resolved.map_err(|error| ResolveError::Invalid(error.to_string()))?;
        Ok(resolved.into_iter().filter(|(key, _)| !unconflicted.contains_key(key)).collect())
    }
}

/// The events at hand, and a note of every one that was wanted in vain.
struct View<'a> {
    events: &'a BTreeMap<OwnedEventId, Rc<Pdu>>,
    missing: RefCell<Wanted>,
}

impl<'a> View<'a> {
    fn new(events: &'a BTreeMap<OwnedEventId, Rc<Pdu>>) -> Self {
        Self { events, missing: RefCell::default() }
    }

    fn get(&self, id: &EventId) -> Option<&'a Pdu> {
        self.look(id, |missing| &mut missing.events)
    }

    fn look(&self, id: &EventId, wanted: fn(&mut Wanted) -> &mut BTreeSet<OwnedEventId>) -> Option<&'a Pdu> {
        let found = self.events.get(id).map(|event| &**event);
        if found.is_none() {
            wanted(&mut self.missing.borrow_mut()).insert(id.to_owned());
        }
        found
    }

    fn complete(&self) -> Result<(), ResolveError> {
        let missing = self.missing.take();
        if missing.is_empty() { Ok(()) } else { Err(ResolveError::Missing(missing)) }
    }

    /// Everything reachable from `roots` along `auth_events`, the roots excluded unless one authorizes another.
    fn auth_chain<'b>(&self, roots: impl IntoIterator<Item = &'b EventId>) -> BTreeSet<&'a EventId> {
        let link = |id: &EventId| self.look(id, |missing| &mut missing.chains);
        let mut chain = BTreeSet::new();
        let mut pending: Vec<&'a Pdu> = roots.into_iter().filter_map(link).collect();
        while let Some(event) = pending.pop() {
            for id in &event.auth_events {
                if chain.insert(&**id) {
                    pending.extend(link(id));
                }
            }
        }
        chain
    }
}

/// The auth chain of each state's conflicted events. Complete, or asks for what is missing.
fn chains_of_conflicted<'a>(
    view: &View<'a>,
    rules: &RoomVersionRules,
    conflicted_by_state: &[BorrowedState<'_>],
) -> Result<Vec<BTreeSet<&'a EventId>>, ResolveError> {
    let chains = conflicted_by_state.iter().map(|state| view.auth_chain(state.values().map(|id| &***id))).collect();
    if rules.authorization.room_create_event_id_as_room_id {
        // Nobody cites the create event there, yet every authorization consults it.
        let anybody = conflicted_by_state.iter().flat_map(|state| state.values()).find_map(|id| view.get(id));
        if let Some(create) = anybody.and_then(|event| create_event_id(&event.room_id)) {
            view.get(&create);
        }
    }
    view.complete()?;
    Ok(chains)
}

/// Union minus intersection of the full auth chains of the states, less what is conflicted itself: that is in the full
/// conflicted set anyway, and most forks differ in nothing else.
///
/// A full chain is that of the conflicted events joined with that of the unconflicted ones, and the latter is part of
/// every full chain. So the difference is what the chains of conflicted events differ in, less what any unconflicted
/// event rests on; the unconflicted events are only needed when there is something to subtract from.
fn auth_difference<'a>(
    view: &View<'a>,
    chains: &[BTreeSet<&'a EventId>],
    unconflicted: &BorrowedState<'_>,
    conflicted: &BTreeSet<&EventId>,
) -> Result<BTreeSet<&'a EventId>, ResolveError> {
    let everywhere = |id: &EventId| chains.iter().all(|chain| chain.contains(id));
    let differs = |id: &&EventId| !conflicted.contains(id) && !everywhere(id);
    let mut difference: BTreeSet<&'a EventId> = chains.iter().flatten().copied().filter(differs).collect();
    if !difference.is_empty() {
        let shared = view.auth_chain(unconflicted.values().map(|id| &***id));
        difference.retain(|id| !shared.contains(id));
    }
    if difference.is_empty() {
        // Nothing left that a missing event could still subtract.
        view.missing.take();
    }
    view.complete()?;
    Ok(difference)
}

/// The unconflicted entries that authorizing `events` will look at, with what the mainline walks through.
/// Passing ruma these instead of the whole state spares a copy of every membership of a large room.
fn consulted_unconflicted<'b>(
    view: &View<'_>,
    rules: &RoomVersionRules,
    events: impl Iterator<Item = &'b EventId>,
    unconflicted: &BorrowedState<'_>,
) -> Result<StateMap, ResolveError> {
    let mut consulted = StateMap::new();
    for event in events.filter_map(|id| view.get(id)) {
        // An event too malformed to say what authorizes it is skipped by the iterative checks as well.
        let types = auth_types_for_event(
            &event.kind,
            &event.sender,
            event.state_key.as_deref(),
            &event.content,
            &rules.authorization,
        );
        for key in types.unwrap_or_default() {
            if let Some(id) = unconflicted.get(&key) {
                view.get(id);
                consulted.insert(key, (*id).clone());
            }
        }
    }
    if let Some(power_levels) = consulted.get(&(StateEventType::RoomPowerLevels, String::new())) {
        view.auth_chain([&**power_levels]);
    }
    view.complete()?;
    Ok(consulted)
}

/// Every event on a path along `auth_events` from one conflicted event to another, both ends included (v2.1).
fn conflicted_subgraph(view: &View<'_>, conflicted: &BTreeSet<&EventId>) -> EventIdSet<OwnedEventId> {
    let reachable = view.auth_chain(conflicted.iter().copied());
    let mut cited_by: BTreeMap<&EventId, Vec<&EventId>> = BTreeMap::new();
    for event in reachable.iter().chain(conflicted).filter_map(|id| view.get(id)) {
        for cited in &event.auth_events {
            cited_by.entry(cited).or_default().push(&event.event_id);
        }
    }
    // All of `reachable` descends from a conflicted event; keep what also leads to one.
    let mut subgraph: BTreeSet<&EventId> = conflicted.clone();
    let mut pending: Vec<&EventId> = conflicted.iter().copied().collect();
    while let Some(id) = pending.pop() {
        for citing in cited_by.get(id).into_iter().flatten() {
            if subgraph.insert(citing) {
                pending.push(citing);
            }
        }
    }
    subgraph.into_iter().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests;
