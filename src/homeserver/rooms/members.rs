//! Who is or was in a room, with the counts that every event needs and that a large room cannot go through each time.
use std::{collections::BTreeSet, rc::Rc};

use rpds::{RedBlackTreeMap, RedBlackTreeSet};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, events::room::member::MembershipState};

use crate::storage::tables::RoomMemberRow;

/// Cheap to clone: clones share what they have in common.
#[derive(Clone, Debug)]
pub struct Members {
    own: OwnedServerName,
    rows: RedBlackTreeMap<OwnedUserId, Rc<RoomMemberRow>>,
    /// How many are joined of each server that has one joined.
    servers: RedBlackTreeMap<OwnedServerName, u64>,
    /// Users of this server who are joined.
    residents: RedBlackTreeSet<OwnedUserId>,
    joined: u64,
    moved_at: u64,
}

impl Members {
    /// Nobody, as the server `own` sees it.
    pub fn new(own: OwnedServerName) -> Self {
        let (rows, servers, residents) = Default::default();
        Self { own, rows, servers, residents, joined: 0, moved_at: 0 }
    }

    pub fn get(&self, user: &UserId) -> Option<&Rc<RoomMemberRow>> {
        self.rows.get(user)
    }

    /// By user id, whatever their membership.
    pub fn iter(&self) -> impl Iterator<Item = (&OwnedUserId, &Rc<RoomMemberRow>)> {
        self.rows.iter()
    }

    /// Who is joined, by user id.
    pub fn joined(&self) -> impl Iterator<Item = (&OwnedUserId, &Rc<RoomMemberRow>)> {
        self.rows.iter().filter(|(_, row)| row.membership == MembershipState::Join)
    }

    pub fn joined_count(&self) -> u64 {
        self.joined
    }

    /// Users of this server who are joined, by user id.
    pub fn residents(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.residents.iter()
    }

    pub fn has_residents(&self) -> bool {
        !self.residents.is_empty()
    }

    /// When somebody last came into the room or went, as a stream position.
    pub fn moved_at(&self) -> u64 {
        self.moved_at
    }

    /// The servers with a joined member, this one included if it has one.
    pub fn servers(&self) -> BTreeSet<OwnedServerName> {
        self.servers.keys().cloned().collect()
    }

    pub fn has_server(&self, server: &ServerName) -> bool {
        self.servers.contains_key(server)
    }

    /// Whether a server other than this one has a joined member.
    pub fn has_others(&self) -> bool {
        self.servers.size() > usize::from(self.has_residents())
    }

    pub fn insert(&mut self, user: OwnedUserId, row: Rc<RoomMemberRow>) {
        let was_joined = self.is_joined(&user);
        let is_joined = row.membership == MembershipState::Join;
        self.moved_at = self.moved_at.max(row.moved_at);
        match (was_joined, is_joined) {
            (false, true) => self.count_in(&user),
            (true, false) => self.count_out(&user),
            _ => {}
        }
        self.rows.insert_mut(user, row);
    }

    pub fn remove(&mut self, user: &UserId) {
        if self.is_joined(user) {
            self.count_out(user);
        }
        self.rows.remove_mut(user);
    }

    fn is_joined(&self, user: &UserId) -> bool {
        self.rows.get(user).is_some_and(|row| row.membership == MembershipState::Join)
    }

    fn count_in(&mut self, user: &UserId) {
        let server = user.server_name();
        let before = self.servers.get(server).copied().unwrap_or(0);
        self.servers.insert_mut(server.to_owned(), before + 1);
        self.joined += 1;
        if server == self.own {
            self.residents.insert_mut(user.to_owned());
        }
    }

    fn count_out(&mut self, user: &UserId) {
        let server = user.server_name();
        match self.servers.get(server).copied().unwrap_or(0) {
            0 | 1 => self.servers.remove_mut(server),
            before => {
                self.servers.insert_mut(server.to_owned(), before - 1);
                true
            }
        };
        self.joined -= 1;
        self.residents.remove_mut(user);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{owned_event_id, owned_server_name};

    use super::*;

    fn row(membership: MembershipState) -> Rc<RoomMemberRow> {
        Rc::new(RoomMemberRow {
            membership,
            event_id: owned_event_id!("$any"),
            displayname: None,
            avatar_url: None,
            moved_at: 0,
        })
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_rows(changes in prop::collection::vec((0u8..6, 0u8..3, 0u8..4), 0..60)) {
            let mut members = Members::new(owned_server_name!("s0.alt"));
            for (user, server, change) in changes {
                let user = OwnedUserId::try_from(format!("@u{user}:s{server}.alt")).unwrap();
                match change {
                    0 => members.remove(&user),
                    1 => members.insert(user, row(MembershipState::Join)),
                    2 => members.insert(user, row(MembershipState::Leave)),
                    _ => members.insert(user, row(MembershipState::Invite)),
                }
                let joined: Vec<_> = members.joined().map(|(user, _)| user.clone()).collect();
                let servers: BTreeSet<_> = joined.iter().map(|user| user.server_name().to_owned()).collect();
                let residents: Vec<_> = joined.iter().filter(|user| user.server_name() == "s0.alt").cloned().collect();
                prop_assert_eq!(members.joined_count(), joined.len() as u64);
                prop_assert_eq!(members.residents().cloned().collect::<Vec<_>>(), residents);
                prop_assert_eq!(members.has_others(), servers.iter().any(|server| server != "s0.alt"));
                for server in ["s0.alt", "s1.alt", "s2.alt"] {
                    let server = <&ServerName>::try_from(server).unwrap();
                    prop_assert_eq!(members.has_server(server), servers.contains(server));
                }
                prop_assert_eq!(members.servers(), servers);
            }
        }
    }
}
