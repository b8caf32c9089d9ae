//! The sole entry for all shells: an HTTP request in, an HTTP response out, whatever carried them.
use std::rc::Rc;

use bytes::Bytes;

use crate::{domain::identity::PublicKey, homeserver::Homeserver};

pub type Request = http::Request<Bytes>;
pub type Response = http::Response<Bytes>;

/// Who is at the other end of the wire a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Matrix client of this homeserver; authenticated by its access token.
    Client,
    /// A libp2p peer with this key; the X-Matrix origin must be a name the key certifies.
    Peer(PublicKey),
}

/// Answers one request. Never fails: every error is a response.
pub async fn handle(_homeserver: &Rc<Homeserver>, _request: Request, _origin: Origin) -> Response {
    http::Response::builder()
        .status(404)
        .body(Bytes::from_static(br#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#))
        .expect("a constant response is valid")
}
