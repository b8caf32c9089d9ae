//! A local user who comes into a room: its servers that hear nothing of the user's devices yet are told from now on
//! (server-server API, "Device Management").
use ruma::OwnedUserId;

use super::{Append, OUTBOX_ROWS_PER_SERVER_MAX};
use crate::{
    homeserver::{device_lists::outgoing, user_rows},
    ports::StoreError,
    storage::tables::{Outbox, OutboxRow},
};

impl Append<'_> {
    /// Queues, for each local user who joins, what the servers are told that share no other room with the user.
    pub(super) async fn announce_devices(&mut self) -> Result<(), StoreError> {
        let own = self.server.server_name();
        let newcomers: Vec<OwnedUserId> =
            self.joining.iter().filter(|user| user.server_name() == own).cloned().collect();
        let mut around = self.live.members.servers();
        around.remove(own);
        if around.is_empty() || newcomers.is_empty() {
            return Ok(());
        }
        for user in newcomers {
            let mut unaware = around.clone();
            for room_id in user_rows::joined_rooms(self.server, &user).await? {
                if room_id == self.room.id {
                    continue;
                }
                let Some(room) = self.server.rooms.get(&room_id).await? else { continue };
                for aware in room.joined_servers() {
                    unaware.remove(&aware);
                }
            }
            unaware.retain(|server| self.server.sender.waiting(server) < OUTBOX_ROWS_PER_SERVER_MAX);
            let announcement = outgoing::announcement(self.server, &user).await?;
            let Some(edu) = announcement.filter(|_| !unaware.is_empty()) else { continue };
            let position = self.next_position().await?;
            for server in unaware {
                self.batch.put::<Outbox>(&(server.clone(), position), &OutboxRow::Edu(edu.clone()));
                *self.queued.entry(server).or_default() += 1;
            }
        }
        Ok(())
    }
}
