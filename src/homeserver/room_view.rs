//! Who may read a room, and which state of it: everything for those who are in it, what was when they left for those who
//! are gone.
use std::rc::Rc;

use ruma::{
    EventId, OwnedUserId, RoomId, UserId,
    api::client::membership::joined_members::v3::RoomMember,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use thiserror::Error;

use super::{
    Homeserver,
    events::StoredEvent,
    rooms::{Room, history::visibility_at},
    states::State,
    timeline::{state_at, state_following},
    user_rows,
    visibility::{Eyes, Seen, Stay},
};
use crate::ports::StoreError;

#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Told alike of rooms that do not exist.
    #[error("you are not in this room, and were not before you could forget it")]
    NotInRoom,
    #[error("there is no such event, or none that you may see")]
    NoSuchEvent,
    #[error("the room has no such state")]
    NoSuchState,
}

/// A room that a user may read.
pub struct RoomView {
    pub room: Rc<Room>,
    standing: Standing,
}

enum Standing {
    /// Joined, or looking at a room that everybody may read.
    Present,
    /// Gone since this event.
    Gone(Rc<StoredEvent>),
}

impl RoomView {
    pub async fn open(server: &Homeserver, room_id: &RoomId, user: &UserId) -> Result<Self, ReadError> {
        let room = server.rooms.get(room_id).await?.ok_or(ReadError::NotInRoom)?;
        let row = user_rows::membership(server, user, room_id).await?;
        let forgotten = row.is_some_and(|row| row.forgotten);
        let stay = Eyes::open(server, &room, user).await?.stay().clone();
        let standing = match stay {
            Stay::Ongoing => Standing::Present,
            Stay::Over { by } if !forgotten => Standing::Gone(by),
            _ => {
                let state = room.live().state.clone();
                if visibility_at(server, &state).await? != HistoryVisibility::WorldReadable {
                    return Err(ReadError::NotInRoom);
                }
                Standing::Present
            }
        };
        Ok(Self { room, standing })
    }

    /// The room's state now, or when the user left.
    pub async fn state(&self, server: &Homeserver) -> Result<State, ReadError> {
        match &self.standing {
            Standing::Present => Ok(self.room.live().state.clone()),
            Standing::Gone(by) => {
                let state = state_following(by).ok_or(ReadError::NotInRoom)?;
                Ok(server.rooms.states.load(state).await?)
            }
        }
    }

    /// The room's state at a place in the timeline, or when the user left if that was earlier.
    pub async fn state_at(&self, server: &Homeserver, order: i64) -> Result<State, ReadError> {
        let is_after_end = match &self.standing {
            Standing::Present => false,
            Standing::Gone(by) => by.header.order.is_some_and(|left| left <= order),
        };
        if is_after_end {
            return self.state(server).await;
        }
        state_at(server, &self.room, order).await?.ok_or(ReadError::NoSuchState)
    }

    /// The event that holds a place in the state.
    pub async fn state_event(
        &self,
        server: &Homeserver,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Rc<StoredEvent>, ReadError> {
        let state = self.state(server).await?;
        let event_id = state.get(kind, state_key).ok_or(ReadError::NoSuchState)?;
        server.rooms.events.get(event_id).await?.ok_or(ReadError::NoSuchState)
    }

    /// Every event of the state.
    pub async fn state_events(&self, server: &Homeserver) -> Result<Vec<Rc<StoredEvent>>, ReadError> {
        let ids: Vec<_> = self.state(server).await?.entries.values().cloned().collect();
        Ok(server.rooms.events.get_many(&ids).await?.into_iter().flatten().collect())
    }

    /// The membership events of a state whose membership is wanted.
    pub async fn members(
        &self,
        server: &Homeserver,
        at: Option<i64>,
        wanted: impl Fn(&MembershipState) -> bool,
    ) -> Result<Vec<Rc<StoredEvent>>, ReadError> {
        let state = match at {
            Some(order) => self.state_at(server, order).await?,
            None => self.state(server).await?,
        };
        let from = (StateEventType::RoomMember, String::new());
        let members = state.entries.range(from..).take_while(|(key, _)| key.0 == StateEventType::RoomMember);
        let ids: Vec<_> = members.map(|(_, id)| id.clone()).collect();
        let events = server.rooms.events.get_many(&ids).await?;
        let fits = |event: &Rc<StoredEvent>| event.pdu.membership().is_some_and(|membership| wanted(&membership));
        Ok(events.into_iter().flatten().filter(fits).collect())
    }

    /// One event of the room as the user sees it.
    pub async fn event(&self, server: &Homeserver, user: &UserId, event_id: &EventId) -> Result<Seen, ReadError> {
        let event = server.rooms.events.get(event_id).await?;
        let event = event.filter(|event| event.header.room == self.room.num && event.is_accepted());
        let event = event.ok_or(ReadError::NoSuchEvent)?;
        let seen = Eyes::open(server, &self.room, user).await?.look(event).await?;
        seen.ok_or(ReadError::NoSuchEvent)
    }
}

/// Who is in a room that the user is in as well, with names and avatars.
pub async fn joined_members(
    server: &Homeserver,
    room_id: &RoomId,
    user: &UserId,
) -> Result<Vec<(OwnedUserId, RoomMember)>, ReadError> {
    let room = server.rooms.get(room_id).await?.filter(|room| room.is_joined(user)).ok_or(ReadError::NotInRoom)?;
    let live = room.live();
    let members = live.members.joined().map(|(user, row)| {
        let mut member = RoomMember::new();
        member.display_name.clone_from(&row.displayname);
        member.avatar_url = row.avatar_url.clone().map(Into::into);
        (user.clone(), member)
    });
    Ok(members.collect())
}
