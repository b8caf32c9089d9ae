//! What one local user may see of a room's history, and what the user was in the room at each event.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use ruma::{
    UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};

use super::{
    Homeserver, erasures,
    events::StoredEvent,
    rooms::{Room, history::visibility_at},
    states::State,
};
use crate::{
    domain::room::visibility::{Viewpoint, user_may_see},
    ports::StoreError,
};

/// Membership changes walked back through to find when a user who is gone was last joined.
const MEMBERSHIPS_WALKED_MAX: usize = 32;

/// An event its viewer may see.
#[derive(Clone, Debug)]
pub struct Seen {
    pub event: Rc<StoredEvent>,
    /// The viewer's membership at the event, its own effect included.
    pub membership: MembershipState,
}

/// When the user was last in the room.
#[derive(Clone, Debug)]
pub enum Stay {
    Never,
    Ongoing,
    /// Ended by this event, a leave or a ban.
    Over {
        by: Rc<StoredEvent>,
    },
}

/// A user looking at a room.
pub struct Eyes<'a> {
    pub server: &'a Homeserver,
    pub room: &'a Rc<Room>,
    pub user: &'a UserId,
    stay: Stay,
    /// Visibility and own membership by state.
    known: RefCell<BTreeMap<u64, (HistoryVisibility, MembershipState)>>,
    /// Whether the user was in the room when its newest event was that of this order.
    in_room_at: RefCell<BTreeMap<i64, bool>>,
}

impl<'a> Eyes<'a> {
    pub async fn open(server: &'a Homeserver, room: &'a Rc<Room>, user: &'a UserId) -> Result<Self, StoreError> {
        let stay = latest_stay(server, room, user).await?;
        Ok(Self { server, room, user, stay, known: RefCell::default(), in_room_at: RefCell::default() })
    }

    pub fn stay(&self) -> &Stay {
        &self.stay
    }

    /// The event as seen; `None` if it is hidden from the user.
    pub async fn look(&self, event: Rc<StoredEvent>) -> Result<Option<Seen>, StoreError> {
        let Some(state) = event.header.state_before else { return Ok(None) };
        let (visibility, before) = self.at(state).await?;
        let order = event.header.order.unwrap_or(i64::MAX);
        let view = Viewpoint {
            visibility,
            membership: before.clone(),
            joined_since: match &self.stay {
                Stay::Ongoing => true,
                Stay::Over { by } => by.header.order.is_some_and(|until| order < until),
                Stay::Never => false,
            },
        };
        if !user_may_see(&event.pdu, self.user, &view) {
            return Ok(None);
        }
        let event =
            if self.is_erased_for(&event, &before).await? { erasures::redacted(self.room, &event) } else { event };
        Ok(Some(self.as_seen(event, before)))
    }

    /// Whether the sender had the event erased, and the user was in the room neither at the event nor at the erasure.
    async fn is_erased_for(&self, event: &StoredEvent, before: &MembershipState) -> Result<bool, StoreError> {
        let Some(order) = self.server.erasures.of(&event.pdu.sender, &self.room.id) else { return Ok(false) };
        if *before == MembershipState::Join {
            return Ok(false);
        }
        let known = self.in_room_at.borrow().get(&order).copied();
        let was_in_room = match known {
            Some(known) => known,
            None => match erasures::state_then(self.server, self.room, order).await? {
                Some(state) => membership_in(self.server, &state, self.user).await? == MembershipState::Join,
                None => false,
            },
        };
        self.in_room_at.borrow_mut().insert(order, was_in_room);
        Ok(!was_in_room)
    }

    /// The event as seen, shown whatever the visibility says: the user's own leave.
    pub async fn look_past_visibility(&self, event: Rc<StoredEvent>) -> Result<Seen, StoreError> {
        let before = match event.header.state_before {
            Some(state) => self.at(state).await?.1,
            None => MembershipState::Leave,
        };
        Ok(self.as_seen(event, before))
    }

    fn as_seen(&self, event: Rc<StoredEvent>, before: MembershipState) -> Seen {
        let own = event.pdu.membership().filter(|_| event.pdu.target() == Some(self.user) && event.is_accepted());
        Seen { membership: own.unwrap_or(before), event }
    }

    async fn at(&self, state_id: u64) -> Result<(HistoryVisibility, MembershipState), StoreError> {
        if let Some(known) = self.known.borrow().get(&state_id) {
            return Ok(known.clone());
        }
        let state = self.server.rooms.states.load(state_id).await?;
        let visibility = visibility_at(self.server, &state).await?;
        let membership = membership_in(self.server, &state, self.user).await?;
        self.known.borrow_mut().insert(state_id, (visibility.clone(), membership.clone()));
        Ok((visibility, membership))
    }
}

/// The membership of `user` in a state; "leave" for those who were never in the room.
pub async fn membership_in(server: &Homeserver, state: &State, user: &UserId) -> Result<MembershipState, StoreError> {
    let Some(event_id) = state.get(&StateEventType::RoomMember, user.as_str()) else {
        return Ok(MembershipState::Leave);
    };
    let event = server.rooms.events.get(event_id).await?;
    Ok(event.and_then(|event| event.pdu.membership()).unwrap_or(MembershipState::Leave))
}

async fn latest_stay(server: &Homeserver, room: &Room, user: &UserId) -> Result<Stay, StoreError> {
    let current = {
        let live = room.live();
        live.members.get(user).map(|member| (member.membership.clone(), member.event_id.clone()))
    };
    let Some((membership, mut event_id)) = current else { return Ok(Stay::Never) };
    if membership == MembershipState::Join {
        return Ok(Stay::Ongoing);
    }
    for _ in 0..MEMBERSHIPS_WALKED_MAX {
        let Some(event) = server.rooms.events.get(&event_id).await? else { break };
        let Some(before) = event.header.state_before else { break };
        let before = server.rooms.states.load(before).await?;
        if membership_in(server, &before, user).await? == MembershipState::Join {
            return Ok(Stay::Over { by: event });
        }
        match before.get(&StateEventType::RoomMember, user.as_str()) {
            Some(earlier) => event_id = earlier.clone(),
            None => break,
        }
    }
    Ok(Stay::Never)
}
