//! The latest events of a room.
use std::collections::BTreeSet;

use ruma::{UInt, api::client::sync::sync_events::v3::Timeline};

use crate::{
    domain::{
        event::Pdu,
        event_filter::{allows_event, allows_room},
        sync_token::TimelineToken,
    },
    homeserver::{
        client_event::{Style, format_seen, format_with_relations},
        states::State,
        sync::Look,
        timeline::{self, Span},
        visibility::{Eyes, Seen},
    },
    ports::StoreError,
    storage::Direction,
};

/// Events of a room's timeline when the filter says nothing, and at most.
pub const TIMELINE_EVENTS_DEFAULT: usize = 20;
pub const TIMELINE_EVENTS_MAX: usize = 200;

/// The latest events of a span, oldest first.
pub struct Recent {
    pub events: Vec<Seen>,
    /// Whether the span holds earlier events that are not here.
    pub limited: bool,
    /// Whether these are all events of the span: none hidden, unwanted or left out.
    pub whole: bool,
    pub prev_batch: TimelineToken,
}

impl Recent {
    /// Leaves out the events up to the last that would make a client believe of some place in the state what is not so at
    /// the `end`: where a later event is hidden from it, or another branch of the room prevailed. Only needed by clients
    /// that take the state from the timeline.
    pub fn keep_what_holds(&mut self, end: &State) {
        let mut settled = BTreeSet::new();
        let misleads = |seen: &Seen| match seen.event.pdu.state_map_key() {
            // Only the last event for a place decides.
            Some(key) if settled.insert(key.clone()) => end.entries.get(&key) != Some(&seen.event.pdu.event_id),
            _ => false,
        };
        let Some(from_end) = self.events.iter().rev().position(misleads) else { return };
        let left_out = self.events.len() - from_end;
        let last = self.events.drain(..left_out).next_back();
        self.prev_batch = TimelineToken(last.and_then(|seen| seen.event.header.order).unwrap_or(self.prev_batch.0));
        self.limited = true;
        self.whole = false;
    }
}

pub async fn recent(look: &Look<'_>, eyes: &Eyes<'_>, span: Span) -> Result<Recent, StoreError> {
    let filter = &look.filter.room.timeline;
    if !allows_room(filter.rooms.as_deref(), &filter.not_rooms, &eyes.room.id) {
        let prev_batch = TimelineToken(span.through);
        return Ok(Recent { events: Vec::new(), limited: false, whole: false, prev_batch });
    }
    let wanted = |pdu: &Pdu| allows_event(filter, pdu) && !is_ignored(look, pdu);
    let page = timeline::page(eyes, span, Direction::Descending, limit(filter.limit), wanted).await?;
    let mut events = page.events;
    events.reverse();
    let whole = page.complete && !page.skipped;
    Ok(Recent { events, limited: !page.complete, whole, prev_batch: TimelineToken(page.reached) })
}

/// Messages of ignored senders are not shown; what they do to the room's state is.
fn is_ignored(look: &Look<'_>, pdu: &Pdu) -> bool {
    pdu.state_key.is_none() && look.ignored.contains(&pdu.sender)
}

fn limit(asked: Option<UInt>) -> usize {
    let asked = asked.map_or(TIMELINE_EVENTS_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    asked.min(TIMELINE_EVENTS_MAX)
}

pub async fn write(look: &Look<'_>, recent: &Recent) -> Result<Timeline, StoreError> {
    let mut timeline = Timeline::new();
    if !recent.events.is_empty() || recent.limited {
        timeline.limited = recent.limited;
        timeline.prev_batch = Some(recent.prev_batch.to_string());
        let (server, session, style) = (look.server, look.session, look.style(Style::SYNC_TIMELINE));
        timeline.events = match recent.limited {
            true => format_with_relations(server, session, style, &recent.events).await?,
            // Whatever relates to these events is among them or comes after them.
            false => format_seen(server, session, style, &recent.events).await?,
        };
    }
    Ok(timeline)
}
