//! What users were notified of: kept, up to a bound, for the list that clients page through and for pushers.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    OwnedUserId, UserId,
    api::client::push::get_notifications::v3::Notification,
    events::{AnySyncTimelineEvent, room::member::MembershipState},
    push::Action,
    serde::Raw,
};
use serde_json::json;
use thiserror::Error;

use super::{
    Homeserver,
    client_event::{self, Style, format_state},
    sessions::Session,
    unread, user_rows,
};
use crate::{
    domain::{
        event::Pdu,
        push_rules::{self, Event, Listener},
    },
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{MembershipRow, Notified, NotifiedRow},
    },
};

/// The most notifications kept for a user. The oldest go, a few at a time.
pub const NOTIFICATIONS_KEPT_MAX: usize = 1_000;
/// How many may come before those beyond the bound are looked for.
const TRIMMED_EVERY: usize = 100;
/// The most notifications in one answer, and how many if the client does not say.
pub const NOTIFICATIONS_PER_PAGE_MAX: usize = 100;
const NOTIFICATIONS_PER_PAGE_DEFAULT: usize = 20;

/// What tokens of pages begin with.
const TOKEN_PREFIX: char = 'n';

#[derive(Debug, Error)]
pub enum NotificationsError {
    #[error("`from` is not a token of a page of notifications")]
    BadToken,
    #[error("`only` may be \"highlight\" and nothing else")]
    BadFilter,
    #[error("`limit` is not a number of notifications")]
    BadLimit,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many notifications came to each user since the oldest were last looked for.
#[derive(Default)]
pub struct Trimming(RefCell<BTreeMap<OwnedUserId, usize>>);

/// The row of an event that `actions` notify of.
pub fn row_of(pdu: &Pdu, actions: &[Action], ts_ms: u64, invite: bool) -> NotifiedRow {
    let plain = matches!(actions, [Action::Notify]);
    let written = || actions.iter().filter_map(|action| serde_json::to_value(action).ok()).collect();
    NotifiedRow {
        room_id: pdu.room_id.clone(),
        event_id: pdu.event_id.clone(),
        ts_ms,
        actions: (!plain).then(written),
        highlight: actions.iter().any(Action::is_highlight),
        invite,
    }
}

/// Puts a notification into `batch`, and now and then takes away those beyond the bound.
pub async fn keep(
    server: &Homeserver,
    batch: &mut Batch,
    user: &UserId,
    position: u64,
    row: &NotifiedRow,
) -> Result<(), StoreError> {
    batch.put::<Notified>(&(user.to_owned(), position), row);
    let due = {
        let mut added = server.trimming.0.borrow_mut();
        // A user not heard of since the start may be over the bound already.
        let added = added.entry(user.to_owned()).or_insert(TRIMMED_EVERY - 1);
        *added += 1;
        *added >= TRIMMED_EVERY
    };
    if due {
        let kept = server.database.scan_all::<Notified, _>(&user.to_owned()).await?;
        let surplus = (kept.len() + 1).saturating_sub(NOTIFICATIONS_KEPT_MAX);
        kept.iter().take(surplus).for_each(|(key, _)| batch.delete::<Notified>(key));
        server.trimming.0.borrow_mut().insert(user.to_owned(), 0);
    }
    Ok(())
}

/// As `keep`, of an invite, if the rules of `user` notify of it. Returns whether they do. Of a room we have no copy of
/// the number of members is not known, and zero.
pub async fn keep_invite(
    server: &Homeserver,
    batch: &mut Batch,
    user: &UserId,
    position: u64,
    pdu: &Pdu,
    members: u64,
) -> Result<bool, StoreError> {
    let digest = user_rows::digest(server, user).await?;
    let listener = Listener { user, displayname: None, members, sender: None };
    let actions = push_rules::actions(&digest.push_rules, &Event::new(client_event::plain(pdu)), &listener);
    if digest.ignored.contains(&pdu.sender) || !actions.iter().any(Action::should_notify) {
        return Ok(false);
    }
    let row = row_of(pdu, actions, server.environment.clock.now_ms(), true);
    keep(server, batch, user, position, &row).await?;
    Ok(true)
}

/// Nobody is told of an event again whose content is gone.
pub fn forget(batch: &mut Batch, user: &UserId, position: u64) {
    batch.delete::<Notified>(&(user.to_owned(), position));
}

/// A page of notifications, the newest first, and the token of the next page if there is more.
pub async fn page(
    server: &Homeserver,
    session: &Session,
    from: Option<&str>,
    limit: Option<u64>,
    only: Option<&str>,
) -> Result<(Vec<Notification>, Option<String>), NotificationsError> {
    let only_highlights = match only {
        None | Some("") => false,
        Some("highlight") => true,
        Some(_) => return Err(NotificationsError::BadFilter),
    };
    let limit = match limit {
        None => NOTIFICATIONS_PER_PAGE_DEFAULT,
        Some(0) => return Err(NotificationsError::BadLimit),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(NOTIFICATIONS_PER_PAGE_MAX),
    };
    let before = match from {
        None => u64::MAX,
        Some(token) => {
            token.strip_prefix(TOKEN_PREFIX).and_then(|n| n.parse().ok()).ok_or(NotificationsError::BadToken)?
        }
    };
    let user = &session.user_id;
    let (start, end) = ((user.clone(), 0), (user.clone(), before));
    let rows = server.database.scan_range::<Notified>(
        &start,
        &end,
        Direction::Descending,
        NOTIFICATIONS_KEPT_MAX + TRIMMED_EVERY,
    );
    let ignored = user_rows::digest(server, user).await?.ignored;
    let mut notifications = Vec::new();
    let mut last = None;
    for ((_, position), row) in rows.await? {
        if only_highlights && !row.highlight {
            continue;
        }
        if notifications.len() == limit {
            return Ok((notifications, last.map(|position: u64| format!("{TOKEN_PREFIX}{position}"))));
        }
        if let Some(notification) = notification(server, session, &ignored, position, &row).await? {
            notifications.push(notification);
            last = Some(position);
        }
    }
    Ok((notifications, None))
}

async fn notification(
    server: &Homeserver,
    session: &Session,
    ignored: &BTreeSet<OwnedUserId>,
    position: u64,
    row: &NotifiedRow,
) -> Result<Option<Notification>, StoreError> {
    let Some(event) = event_of(server, session, ignored, row).await? else { return Ok(None) };
    let actions = actions_of(row);
    let read = !is_unread(server, &session.user_id, position, row).await?;
    let ts = ruma::MilliSecondsSinceUnixEpoch(row.ts_ms.try_into().unwrap_or_default());
    Ok(Some(Notification::new(actions, event, read, row.room_id.clone(), ts)))
}

/// What the rule said to do when the event came.
pub fn actions_of(row: &NotifiedRow) -> Vec<Action> {
    match &row.actions {
        None => vec![Action::Notify],
        Some(actions) => actions.iter().filter_map(|action| serde_json::from_value(action.clone()).ok()).collect(),
    }
}

/// Whether the user has neither read the event nor, if it is an invite, answered it.
pub async fn is_unread(
    server: &Homeserver,
    user: &UserId,
    position: u64,
    row: &NotifiedRow,
) -> Result<bool, StoreError> {
    if row.invite {
        return Ok(open_invite(server, user, row).await?.is_some());
    }
    let Ok(order) = i64::try_from(position) else { return Ok(false) };
    unread::is_unread(server, user, &row.room_id, order).await
}

/// The user's membership, while it is still the invite of this notification.
pub async fn open_invite(
    server: &Homeserver,
    user: &UserId,
    row: &NotifiedRow,
) -> Result<Option<Rc<MembershipRow>>, StoreError> {
    let membership = user_rows::membership(server, user, &row.room_id).await?;
    Ok(membership.filter(|now| now.membership == MembershipState::Invite && now.event_id == row.event_id))
}

async fn event_of(
    server: &Homeserver,
    session: &Session,
    ignored: &BTreeSet<OwnedUserId>,
    row: &NotifiedRow,
) -> Result<Option<Raw<AnySyncTimelineEvent>>, StoreError> {
    if let Some(event) = server.rooms.events.get(&row.event_id).await? {
        if ignored.contains(&event.pdu.sender) {
            return Ok(None);
        }
        return Ok(format_state(server, session, Style::SYNC_STATE, &[event]).await?.pop());
    }
    // Of a room we have no copy of there is the invite alone.
    let Some(invite) = open_invite(server, &session.user_id, row).await? else { return Ok(None) };
    let Some(event) = &invite.invite_event else { return Ok(None) };
    let event = json!({
        "content": event["content"],
        "event_id": row.event_id,
        "origin_server_ts": event["origin_server_ts"],
        "sender": invite.sender,
        "state_key": session.user_id,
        "type": "m.room.member",
    });
    let raw = serde_json::value::to_raw_value(&event).expect("a JSON value is JSON");
    Ok((!ignored.contains(&invite.sender)).then(|| Raw::from_json(raw)))
}
