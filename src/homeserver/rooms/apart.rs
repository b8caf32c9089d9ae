//! Servers that can never reach each other, by their names: whoever is asked to bring them together says so at once.
use ruma::{OwnedServerName, OwnedUserId, ServerName};
use thiserror::Error;

use super::Room;
use crate::{domain::zone::Found, homeserver::Homeserver, ports::Reach};

/// Why two servers have nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Apart {
    #[error("{server} cannot be reached from here: {reason}")]
    FromUs { server: OwnedServerName, reason: String },
    #[error(
        "{peer}, a server among peers, and {web}, a server of the web, cannot reach each other, so they cannot be in one room"
    )]
    Others { peer: OwnedServerName, web: OwnedServerName },
}

/// Errs where there will be no way from this server to `other`.
pub fn from_us(homeserver: &Homeserver, other: &ServerName) -> Result<(), Apart> {
    if other == homeserver.server_name() {
        return Ok(());
    }
    let transport = &homeserver.environment.transport;
    let reason = match transport.reach(other) {
        Reach::Never { reason } => reason,
        Reach::Now | Reach::Later if Found::of(homeserver.server_name()).meets(transport.found(other)) => return Ok(()),
        Reach::Now | Reach::Later => {
            "one of the two names ends in .alt, which no server of the web can look up".to_owned()
        }
    };
    Err(Apart::FromUs { server: other.to_owned(), reason })
}

/// Errs where a server that is in `room` and `newcomer` will not reach each other: events of one would never get to the
/// other, and what builds on them neither.
pub fn in_room(homeserver: &Homeserver, room: &Room, newcomer: &ServerName) -> Result<(), Apart> {
    if room.has_joined_server(newcomer) {
        return Ok(());
    }
    let found = |server: &ServerName| homeserver.environment.transport.found(server);
    let newcomers = found(newcomer);
    if newcomers == Found::OnBoth {
        return Ok(());
    }
    let Some(other) = room.joined_servers().into_iter().find(|server| !newcomers.meets(found(server))) else {
        return Ok(());
    };
    let newcomer = newcomer.to_owned();
    Err(match newcomers {
        Found::OnTheWeb => Apart::Others { peer: other, web: newcomer },
        Found::AmongPeers | Found::OnBoth => Apart::Others { peer: newcomer, web: other },
    })
}

/// Errs where one of `users` can never be in a room of ours, or two of them in one room.
pub(super) fn all(homeserver: &Homeserver, users: &[OwnedUserId]) -> Result<(), Apart> {
    let mut first_of: [Option<&ServerName>; 2] = [None, None];
    for server in users.iter().map(|user| user.server_name()) {
        from_us(homeserver, server)?;
        match homeserver.environment.transport.found(server) {
            Found::AmongPeers => first_of[0] = first_of[0].or(Some(server)),
            Found::OnTheWeb => first_of[1] = first_of[1].or(Some(server)),
            Found::OnBoth => {}
        }
    }
    match first_of {
        [Some(peer), Some(web)] => Err(Apart::Others { peer: peer.to_owned(), web: web.to_owned() }),
        _ => Ok(()),
    }
}

/// Those of `servers` that there may be a way to. Errs where there are some, and to none of them.
pub(super) fn reachable(homeserver: &Homeserver, servers: Vec<OwnedServerName>) -> Result<Vec<OwnedServerName>, Apart> {
    let (mut reachable, mut apart) = (Vec::new(), None);
    for server in servers {
        match from_us(homeserver, &server) {
            Ok(()) => reachable.push(server),
            Err(error) => apart = apart.or(Some(error)),
        }
    }
    match apart {
        Some(apart) if reachable.is_empty() => Err(apart),
        _ => Ok(reachable),
    }
}
