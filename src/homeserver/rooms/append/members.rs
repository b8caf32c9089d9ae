//! What a change of the current state means for who is a member.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    EventId, OwnedUserId, UserId,
    events::{StateEventType, room::member::MembershipState},
};
use serde::Deserialize;

use super::{Append, AppendError};
use crate::{
    domain::event::Pdu,
    homeserver::states::State,
    storage::tables::{MembershipRow, Memberships, RoomMemberRow, RoomMembers},
};

/// The most characters of a display name or avatar kept beside the membership; the event keeps the whole.
const PROFILE_FIELD_CHARS_MAX: usize = 512;

#[derive(Deserialize)]
struct Content {
    membership: MembershipState,
    #[serde(default)]
    displayname: serde_json::Value,
    #[serde(default)]
    avatar_url: serde_json::Value,
}

impl Append<'_> {
    /// Makes `state` the current one and brings members and local users' memberships in line with it.
    pub(super) async fn change_state(&mut self, state: State, position: u64) -> Result<(), AppendError> {
        let changed = changed_members(&self.live.state, &state);
        self.live.state = state;
        for user_id in changed {
            self.change_member(user_id, position).await?;
        }
        self.live.resident = self.live.members.has_residents();
        Ok(())
    }

    async fn change_member(&mut self, user_id: OwnedUserId, position: u64) -> Result<(), AppendError> {
        let key = (self.room.num, user_id.clone());
        let event_id = self.live.state.get(&StateEventType::RoomMember, user_id.as_str()).cloned();
        let event = match &event_id {
            Some(event_id) => {
                self.event(event_id).await?.ok_or(AppendError::Missing([event_id.clone()].into()))?.pdu.clone()
            }
            None => {
                if self.live.members.get(&user_id).is_some_and(|before| before.membership == MembershipState::Join) {
                    self.leaving.push(user_id.clone());
                }
                self.live.members.remove(&user_id);
                self.batch.delete::<RoomMembers>(&key);
                if user_id.server_name() == self.server.server_name() {
                    self.take_membership(user_id, position).await?;
                }
                return Ok(());
            }
        };
        let before = self.live.members.get(&user_id).cloned();
        let was_joined = before.as_ref().is_some_and(|before| before.membership == MembershipState::Join);
        let mut row = member_row(&event);
        let is_joined = row.membership == MembershipState::Join;
        row.moved_at = if was_joined == is_joined { before.map_or(0, |before| before.moved_at) } else { position };
        self.batch.put::<RoomMembers>(&key, &row);
        if user_id.server_name() == self.server.server_name() {
            // Forgetting that our last user left would cut us off: nobody tells a server that is out of the room.
            self.make_strict();
            let membership = self.membership_row(&user_id, &event, &row, position).await?;
            self.batch.put::<Memberships>(&(user_id.clone(), self.room.id.clone()), &membership);
        }
        match (was_joined, is_joined) {
            (false, true) => self.joining.push(user_id.clone()),
            (true, false) => self.leaving.push(user_id.clone()),
            _ => {}
        }
        self.live.members.insert(user_id, Rc::new(row));
        Ok(())
    }

    /// Resolution took away a membership of a user here that the room never granted. Clients only know that they are out of
    /// a room by an event, and there is none: they are told one that is made up, with an id that no room has.
    async fn take_membership(&mut self, user_id: OwnedUserId, position: u64) -> Result<(), AppendError> {
        let key = (user_id.clone(), self.room.id.clone());
        let Some(before) = self.server.database.get::<Memberships>(&key).await? else {
            self.batch.delete::<Memberships>(&key);
            return Ok(());
        };
        let id = format!("$taken-away-{}-{position}:{}", self.room.num, self.server.server_name());
        let taken = MembershipRow {
            membership: MembershipState::Leave,
            event_id: EventId::parse(id).expect("a dollar sign, a name and a server"),
            sender: user_id,
            position,
            stripped_state: Vec::new(),
            invite_event: None,
            knocked_via: None,
            room_version: Some(self.room.version.clone()),
            forgotten: before.forgotten,
            earlier_invite: None,
        };
        self.batch.put::<Memberships>(&key, &taken);
        Ok(())
    }

    /// Takes the name and picture of a redacted membership event from beside the membership as well.
    pub(super) fn forget_member_profile(&mut self, redacted: &Pdu) {
        let Some(user) = redacted.target() else { return };
        let known = self.live.members.get(user).cloned();
        if let Some(known) = known.filter(|member| member.event_id == redacted.event_id) {
            let row = RoomMemberRow { moved_at: known.moved_at, ..member_row(redacted) };
            self.batch.put::<RoomMembers>(&(self.room.num, user.to_owned()), &row);
            self.live.members.insert(user.to_owned(), Rc::new(row));
        }
    }

    async fn membership_row(
        &self,
        user_id: &UserId,
        event: &Rc<Pdu>,
        row: &RoomMemberRow,
        position: u64,
    ) -> Result<MembershipRow, AppendError> {
        let stripped_state = match row.membership {
            MembershipState::Invite | MembershipState::Knock => {
                self.stripped_events(event).await?.iter().map(|event| strip(event)).collect()
            }
            _ => Vec::new(),
        };
        let previous = self.server.database.get::<Memberships>(&(user_id.to_owned(), self.room.id.clone())).await?;
        // A leave after a forget stays forgotten; being invited or joining again brings the room back.
        let forgotten = previous.is_some_and(|previous| previous.forgotten)
            && matches!(row.membership, MembershipState::Leave | MembershipState::Ban);
        Ok(MembershipRow {
            membership: row.membership.clone(),
            event_id: event.event_id.clone(),
            sender: event.sender.clone(),
            position,
            stripped_state,
            invite_event: None,
            knocked_via: None,
            room_version: Some(self.room.version.clone()),
            forgotten,
            earlier_invite: None,
        })
    }

    /// What somebody who is not in the room gets to know of it with an invite or knock (client-server API,
    /// "Stripped state"), `event` included last.
    pub async fn stripped_events(&self, event: &Rc<Pdu>) -> Result<Vec<Rc<Pdu>>, AppendError> {
        let mut events = Vec::new();
        for kind in [
            StateEventType::RoomCreate,
            StateEventType::RoomName,
            StateEventType::RoomAvatar,
            StateEventType::RoomTopic,
            StateEventType::RoomJoinRules,
            StateEventType::RoomCanonicalAlias,
            StateEventType::RoomEncryption,
        ] {
            if let Some(event_id) = self.live.state.get(&kind, "")
                && let Some(event) = self.event(event_id).await?
            {
                events.push(event.pdu.clone());
            }
        }
        if let Some(event_id) = self.live.state.get(&StateEventType::RoomMember, event.sender.as_str())
            && event.sender.as_str() != event.state_key.as_deref().unwrap_or_default()
            && let Some(inviter) = self.event(event_id).await?
        {
            events.push(inviter.pdu.clone());
        }
        events.push(event.clone());
        Ok(events)
    }
}

/// The four fields of a stripped state event.
pub fn strip(pdu: &Pdu) -> serde_json::Value {
    serde_json::json!({
        "type": pdu.kind,
        "state_key": pdu.state_key,
        "sender": pdu.sender,
        "content": serde_json::from_str::<serde_json::Value>(pdu.content.get()).unwrap_or_default(),
    })
}

fn member_row(event: &Pdu) -> RoomMemberRow {
    let content = serde_json::from_str::<Content>(event.content.get());
    let text =
        |value: &serde_json::Value| value.as_str().map(|text| text.chars().take(PROFILE_FIELD_CHARS_MAX).collect());
    let (membership, displayname, avatar_url) = match &content {
        Ok(content) => (content.membership.clone(), text(&content.displayname), text(&content.avatar_url)),
        // Authorization refuses a membership it cannot read.
        Err(_) => (MembershipState::Leave, None, None),
    };
    RoomMemberRow { membership, event_id: event.event_id.clone(), displayname, avatar_url, moved_at: 0 }
}

/// Users whose membership event differs between two states.
pub fn changed_members(old: &State, new: &State) -> BTreeSet<OwnedUserId> {
    let places = new.places_changed_since(old).into_iter();
    places
        .filter(|(kind, _)| *kind == StateEventType::RoomMember)
        .filter_map(|(_, key)| UserId::parse(key).ok())
        .collect()
}
