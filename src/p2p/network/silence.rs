//! Gives up connections whose other side says nothing any more.
use std::rc::Rc;

use libp2p::{PeerId, swarm::ConnectionId};

use super::{Command, Inner};

/// A connection that has answered no ping for so long is in doubt, in milliseconds. Pings are sent every 5 s; their own
/// failures are told too late (libp2p keeps the first one to itself), and of a browser that was killed, a computer that
/// sleeps or a network that is gone nothing else tells.
pub(super) const SILENT_MAX_MS: u64 = 11_000;

/// One in doubt is given this long to answer the next ping, in milliseconds: it may be that our own clock was set, or
/// that it was we who stood still.
pub(super) const DOUBT_MS: u64 = 6_000;

/// Closes `connection` when the other side has been silent on it for too long.
pub(super) fn watch(inner: &Rc<Inner>, peer: PeerId, connection: ConnectionId) {
    let inner = inner.clone();
    inner.tasks.clone().spawn(Box::pin(async move {
        let mut doubted_since = None;
        loop {
            let heard_ms = inner.connections.borrow().heard_ms(&peer, connection);
            let Some(heard_ms) = heard_ms.filter(|_| !inner.stopped.get()) else { return };
            let silent_ms = inner.clock.now_ms().saturating_sub(heard_ms);
            if silent_ms < SILENT_MAX_MS {
                doubted_since = None;
                inner.clock.sleep_ms(SILENT_MAX_MS - silent_ms).await;
            } else if doubted_since != Some(heard_ms) {
                doubted_since = Some(heard_ms);
                inner.clock.sleep_ms(DOUBT_MS).await;
            } else {
                tracing::debug!(%peer, silent_ms, "a connection is dead");
                inner.connection_gone(peer, connection);
                inner.command(Command::Close(connection));
                return;
            }
        }
    }));
}
