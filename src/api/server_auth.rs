//! Who asks, of a federation request: the X-Matrix signature, and over libp2p the key that the connection was authenticated with.
use std::rc::Rc;

use ruma::{
    OwnedServerName, ServerName,
    api::{
        auth_scheme::AuthScheme,
        federation::authentication::{ServerSignatures, XMatrixExtractError},
    },
    signatures::PublicKeyMap,
};

use super::{ApiError, ClientAddress, Origin, Request, router::Authenticate, standing::Access};
use crate::{
    domain::{identity::PublicKey, server_keys::SignedAt, signed_request},
    homeserver::{
        Homeserver,
        key_ring::{self, Need},
    },
};

/// A request in the name of a server whose key is not known counts as so many, as its keys are fetched.
const UNKNOWN_SERVER_COST: u32 = 20;

impl Authenticate for ServerSignatures {
    type Principal = OwnedServerName;

    /// The request must be signed for us with a key of its origin, which over libp2p is the key the peer has.
    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        origin: Origin,
        _access: Access,
    ) -> Result<OwnedServerName, ApiError> {
        if origin == Origin::Client {
            return Err(ApiError::unauthorized("Only other homeservers may ask this."));
        }
        let x_matrix = Self::extract_authentication(request).map_err(|error| match error {
            XMatrixExtractError::MissingAuthorizationHeader => ApiError::unauthorized("The request is not signed."),
            error => ApiError::unauthorized(format!("The X-Matrix header cannot be read: {error}.")),
        })?;
        let from = &x_matrix.origin;
        let certified = PublicKey::of_server_name(from);
        let another = |peer| certified.is_some_and(|key| key != peer);
        if matches!(origin, Origin::Peer(peer) if another(peer)) || from == homeserver.server_name() {
            return Err(ApiError::unauthorized(format!("You are not {from}.")));
        }
        if x_matrix.destination.is_none() {
            return Err(ApiError::unauthorized("The X-Matrix header names no destination."));
        }
        let keys = match certified {
            Some(key) => key.public_key_map(from),
            None => published_keys(homeserver, request, origin, from, x_matrix.key.as_str()).await?,
        };
        // A peer with an ordinary name has the key that this name is known to sign with, as nodes do.
        let is_peers = |peer: PublicKey| keys.values().any(|keys| keys.values().any(|key| key.as_bytes() == peer.0));
        if matches!(origin, Origin::Peer(peer) if !is_peers(peer)) {
            return Err(ApiError::unauthorized(format!("You are not {from}.")));
        }
        signed_request::verify(&x_matrix, request, homeserver.server_name(), &keys).map_err(|error| {
            // Nobody can have signed a body that is no JSON: that is what is wrong with it.
            let unsigned = || ApiError::unauthorized(format!("The signature does not hold: {error}."));
            ApiError::not_json_if(request.body()).unwrap_or_else(unsigned)
        })?;
        if matches!(origin, Origin::Https | Origin::Gateway(_)) {
            homeserver.environment.transport.heard_from(from);
        }
        Ok(x_matrix.origin)
    }

    fn server(principal: &OwnedServerName) -> Option<&ServerName> {
        Some(principal)
    }
}

/// The keys that `from` signs requests with now, fetched if the one in question is not known.
async fn published_keys(
    homeserver: &Rc<Homeserver>,
    request: &Request,
    origin: Origin,
    from: &ServerName,
    key_id: &str,
) -> Result<PublicKeyMap, ApiError> {
    let now_ms = homeserver.environment.clock.now_ms();
    let signed = SignedAt::Ms(now_ms);
    let has = |keys: &PublicKeyMap| keys.get(from.as_str()).is_some_and(|keys| keys.contains_key(key_id));
    if let Some(keys) = homeserver.keys_known(from, signed).filter(has) {
        return Ok(keys);
    }
    match origin {
        Origin::Gateway(gateway) => homeserver.rate_limits.gateway(&gateway, UNKNOWN_SERVER_COST, now_ms)?,
        Origin::Peer(peer) => homeserver.rate_limits.peer(&peer, UNKNOWN_SERVER_COST, now_ms)?,
        Origin::Https | Origin::Client => {}
    }
    let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
    homeserver.rate_limits.server_address(address, UNKNOWN_SERVER_COST, now_ms)?;
    key_ring::ensure(homeserver, from, &Need { key_ids: [key_id.to_owned()].into(), signed }).await?;
    homeserver
        .keys_known(from, signed)
        .ok_or_else(|| ApiError::unauthorized(format!("No key of {from} could be had that is good now.")))
}
