//! Invites.
use crate::homeserver::{Homeserver, peers::PeerError};
use ruma::{OwnedEventId, OwnedServerName};
use std::rc::Rc;
pub async fn deliver(_s: &Rc<Homeserver>, _d: &OwnedServerName, _e: &OwnedEventId) -> Result<(), PeerError> {
    Ok(())
}
