//! Whom an append is told to: what it puts into the outbox.
use std::rc::Rc;

use ruma::{OwnedEventId, OwnedServerName, events::room::member::MembershipState};

use super::{Append, OUTBOX_ROWS_PER_SERVER_MAX};
use crate::{
    domain::{event::Pdu, room::destinations::destinations},
    homeserver::rooms::Members,
    ports::StoreError,
    storage::tables::{Outbox, OutboxRow},
};

impl Append<'_> {
    /// Queues the event for the servers that must hear of it from us.
    pub(super) fn address(
        &mut self,
        pdu: &Rc<Pdu>,
        position: u64,
        before: &Members,
        target_before: Option<&MembershipState>,
        except: Option<OwnedServerName>,
    ) {
        let own = self.server.server_name();
        let after = self.live.members.servers();
        let mut servers = destinations(pdu, own, &before.servers(), &after, target_before);
        if pdu.membership() == Some(MembershipState::Invite)
            && let Some(target) = pdu.target().map(|user| user.server_name())
            && !before.has_server(target)
        {
            // It hears of the invite by an invite request.
            servers.remove(target);
        }
        for server in servers.into_iter().filter(|server| Some(server) != except.as_ref()) {
            if self.server.sender.waiting(&server) >= OUTBOX_ROWS_PER_SERVER_MAX {
                // It has been away for long: our heads will tell it what it missed.
                continue;
            }
            self.batch.put::<Outbox>(&(server.clone(), position), &OutboxRow::Pdu(pdu.event_id.clone()));
            *self.queued.entry(server).or_default() += 1;
        }
    }

    /// Queues an invite request that could not be made at once.
    pub async fn queue_invite(&mut self, server: &OwnedServerName, event_id: OwnedEventId) -> Result<(), StoreError> {
        let position = self.next_position().await?;
        self.batch.put::<Outbox>(&(server.clone(), position), &OutboxRow::Invite(event_id));
        *self.queued.entry(server.clone()).or_default() += 1;
        Ok(())
    }
}
