//! `/sync` (client-server API, "Syncing"): what is new for a device since the place it last heard of, or a wait for it.
//!
//! Everything clients are told has a position in one stream. A sync reads `Positions::visible` first and then tells what
//! lies between `since` and there, so that `next_batch` never skips what is still being written.
mod rooms;
pub mod streams;

use std::{collections::BTreeSet, rc::Rc};

use futures::future::{Either, select};
use ruma::{
    OwnedUserId,
    api::client::{
        filter::{EventFormat, FilterDefinition},
        sync::sync_events::v3::{Response, State},
    },
    presence::PresenceState,
    serde::Raw,
};
use thiserror::Error;

use super::{
    Homeserver, administration, client_event::Style, devices, edus::presence, sessions::Session, to_device, user_rows,
};
use crate::{
    domain::{event_fields::EventFields, sync_token::StreamToken},
    ports::StoreError,
};

/// The longest a sync waits for news, in milliseconds, whatever the client asks for: proxies and browsers give up soon
/// after.
pub const SYNC_TIMEOUT_MAX_MS: u64 = 30_000;

#[derive(Debug, Error)]
pub enum SyncError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`since` is from the future: it is not a token of this server")]
    UnknownSince,
    #[error("the device was logged out while it waited")]
    LoggedOut,
}

/// What a device asks for.
#[derive(Default)]
pub struct Asked {
    pub since: Option<StreamToken>,
    pub filter: FilterDefinition,
    /// The whole state of every room, whatever was told before.
    pub full_state: bool,
    /// The state after the timeline instead of the state before it.
    pub state_after: bool,
    pub timeout_ms: u64,
    /// How syncing has the user shown to others.
    pub shown: PresenceState,
}

/// One look at everything between two positions for one device.
struct Look<'a> {
    server: &'a Homeserver,
    session: &'a Session,
    filter: &'a FilterDefinition,
    since: Option<u64>,
    /// The position the device has said it heard everything up to. `since` may have moved on while nothing came.
    confirmed: Option<u64>,
    until: u64,
    full_state: bool,
    state_after: bool,
    /// Senders whose messages and invites the user does not want.
    ignored: Rc<BTreeSet<OwnedUserId>>,
    /// Whether the user wants to hear of no invites.
    blocks_invites: bool,
}

impl Look<'_> {
    /// How events look that this device asks for.
    fn style(&self, style: Style) -> Style {
        Style { federation: self.filter.event_format == EventFormat::Federation, ..style }
    }

    /// Whether something at `position` is news.
    fn is_new(&self, position: u64) -> bool {
        self.since.is_none_or(|since| position > since) && position <= self.until
    }

    /// Whether something as new as `position` may have come. What is newer than this look counts: older news may lie
    /// below it.
    fn may_be_new(&self, position: u64) -> bool {
        self.since.is_none_or(|since| position > since)
    }

    /// Where the timeline ends for this look.
    fn end(&self) -> i64 {
        order_of(self.until)
    }
}

/// The place in timelines of a stream position.
fn order_of(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Answers with what is new, at once if there is something or nothing was told before, else when something comes or the
/// time is over.
pub async fn sync(server: &Rc<Homeserver>, session: &Session, asked: Asked) -> Result<Response, SyncError> {
    let mut since = asked.since.map(|token| token.0);
    if since.is_some_and(|since| since > server.positions.visible()) {
        return Err(SyncError::UnknownSince);
    }
    if let Some(since) = since {
        to_device::acknowledge(server, session, since).await?;
    }
    let timeout_ms = asked.timeout_ms.min(SYNC_TIMEOUT_MAX_MS);
    presence::synced(server, session, &asked.shown, timeout_ms).await?;
    let logouts = server.sessions.logouts();
    let mut patience = server.environment.clock.sleep_ms(timeout_ms);
    loop {
        let news = server.notifier.listen();
        let to_device::Waiting { messages, until } =
            to_device::waiting(server, session, since, server.positions.visible()).await?;
        let digest = user_rows::digest(server, &session.user_id).await?;
        let look = Look {
            server,
            session,
            filter: &asked.filter,
            since,
            confirmed: asked.since.map(|token| token.0),
            until,
            full_state: asked.full_state,
            state_after: asked.state_after,
            ignored: digest.ignored,
            blocks_invites: digest.blocks_invites,
        };
        server.lazy_members.begin(session, look.confirmed, until);
        let mut response = respond(&look).await?;
        response.to_device.events = streams::to_device::events(&messages);
        let at_once = since.is_none() || asked.full_state || timeout_ms == 0;
        let has_news = !(response.rooms.is_empty()
            && response.account_data.is_empty()
            && response.presence.is_empty()
            && response.to_device.is_empty()
            && response.device_lists.is_empty());
        if at_once || has_news {
            return Ok(response);
        }
        // Nothing up to here: what comes is after it.
        since = Some(until);
        match select(patience, news).await {
            Either::Left(_) => return Ok(response),
            Either::Right(((), rest)) => patience = rest,
        }
        if server.sessions.logouts() != logouts {
            if !devices::is_logged_in(server, session).await? {
                return Err(SyncError::LoggedOut);
            }
            if administration::is_locked(server, session).await? {
                // The next request hears why.
                return Ok(response);
            }
        }
    }
}

async fn respond(look: &Look<'_>) -> Result<Response, StoreError> {
    let mut account_data = streams::account_data::changed(look).await?;
    let mut response = Response::new(StreamToken(look.until).to_string());
    response.account_data.events = account_data.take_global();
    response.rooms = rooms::changed(look, account_data).await?;
    if let Some(paths) = &look.filter.event_fields {
        leave_out_fields(&mut response, &EventFields::new(paths));
    }
    response.presence.events = streams::presence::changed(look).await?;
    response.device_lists = streams::device_lists::changed(look).await?;
    Ok(response)
}

/// Leaves of each event of a room what the client wants of it.
fn leave_out_fields(response: &mut Response, fields: &EventFields) {
    let joined = response.rooms.join.values_mut().map(|room| (&mut room.timeline, &mut room.state));
    let left = response.rooms.leave.values_mut().map(|room| (&mut room.timeline, &mut room.state));
    for (timeline, state) in joined.chain(left) {
        for event in &mut timeline.events {
            *event = Raw::from_json(fields.select(event.json()));
        }
        let (State::Before(state) | State::After(state)) = state else { continue };
        for event in &mut state.events {
            *event = Raw::from_json(fields.select(event.json()));
        }
    }
}
