//! What a gateway carries between the homeservers of its zone and the web, which both of its ends hold against the same
//! rules: pure, no I/O.
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use ruma::{
    OwnedServerName, ServerName,
    api::{auth_scheme::AuthScheme, federation::authentication::ServerSignatures},
};
use serde_json::json;

use crate::domain::{identity::PublicKey, signed_request, zone::Zone};

/// The protocol of HTTP/1.1 between a homeserver and its gateway (docs/protocol.md). Who opens the stream asks.
pub const PROTOCOL: &str = "/warren/gateway/1.0.0";

/// What a homeserver may ask of servers of the web.
const CARRIED_OUT: &[&str] = &["/_matrix/federation/"];

/// What the web may ask of homeservers of the zone.
const CARRIED_IN: &[&str] = &["/_matrix/federation/", "/_matrix/key/"];

/// Headers of requests and answers that are handed on. All others are between the two ends of one wire.
const REQUEST_HEADERS: [HeaderName; 2] = [header::AUTHORIZATION, header::CONTENT_TYPE];
const ANSWER_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::LOCATION, header::RETRY_AFTER];

/// Why a gateway answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub errcode: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, errcode: &'static str, message: impl Into<String>) -> Self {
        Self { status, errcode, message: message.into() }
    }

    fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "A gateway carries nothing but federation requests.")
    }

    fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
    }

    /// As every Matrix error is told.
    pub fn into_response(self) -> Response<Bytes> {
        json_response(self.status, &json!({ "errcode": self.errcode, "error": self.message }))
    }
}

/// An answer that a gateway makes itself.
pub fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The server of the web that the homeserver with `asker`'s key wants `request` carried to.
///
/// Only what that homeserver asks in its own name of the zone, and has signed, is carried: nobody asks in the name of
/// others through a gateway. Homeservers of the zone are peers of each other and are asked without it.
pub fn destination(request: &Request<Bytes>, asker: &PublicKey, zone: &Zone) -> Result<OwnedServerName, Refusal> {
    if !is_carried(request.uri().path(), CARRIED_OUT) {
        return Err(Refusal::unrecognized());
    }
    let host = single(request.headers(), &header::HOST).and_then(|host| ServerName::parse(host).ok());
    let destination = host
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "The Host header names no server."))?;
    if single(request.headers(), &header::AUTHORIZATION).is_none() {
        return Err(Refusal::unauthorized("A request that is carried has one signature."));
    }
    let x_matrix = ServerSignatures::extract_authentication(request)
        .map_err(|error| Refusal::unauthorized(format!("The X-Matrix header cannot be read: {error}.")))?;
    if zone.key_of(&x_matrix.origin) != Some(*asker) {
        return Err(Refusal::unauthorized(format!("You are not {}.", x_matrix.origin)));
    }
    signed_request::verify(&x_matrix, request, &destination, &asker.public_key_map(&x_matrix.origin))
        .map_err(|error| Refusal::unauthorized(format!("The signature does not hold: {error}.")))?;
    if zone.key_of(&destination).is_some() {
        let message = format!("{destination} is a peer of yours: connect to it.");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message));
    }
    Ok(destination)
}

/// The homeserver of the zone that the web means by `host`, which may end in a port.
pub fn addressee(host: &str, zone: &Zone) -> Result<PublicKey, Refusal> {
    let name = ServerName::parse(host.to_ascii_lowercase()).ok();
    let key = name.and_then(|name| zone.key_of(<&ServerName>::try_from(name.host()).ok()?));
    key.ok_or_else(|| {
        let message = format!("There is no homeserver of that name below {}.", zone.as_str());
        Refusal::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    })
}

/// Refuses what the web may not ask of homeservers of the zone.
pub fn check_incoming<B>(request: &Request<B>) -> Result<(), Refusal> {
    if is_carried(request.uri().path(), CARRIED_IN) { Ok(()) } else { Err(Refusal::unrecognized()) }
}

/// What is carried of a request: method, path and query as they are, which are signed, and few headers.
pub fn carried_request(request: Request<Bytes>, host: &ServerName) -> Result<Request<Bytes>, Refusal> {
    let (mut parts, body) = request.into_parts();
    parts.headers = only(&parts.headers, &REQUEST_HEADERS);
    let host = HeaderValue::from_str(host.as_str())
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "The name is not one."))?;
    parts.headers.insert(header::HOST, host);
    Ok(Request::from_parts(parts, body))
}

/// What is carried of an answer.
pub fn carried_answer(response: Response<Bytes>) -> Response<Bytes> {
    let (mut parts, body) = response.into_parts();
    parts.headers = only(&parts.headers, &ANSWER_HEADERS);
    Response::from_parts(parts, body)
}

fn only(headers: &HeaderMap, allowed: &[HeaderName]) -> HeaderMap {
    allowed.iter().filter_map(|name| Some((name.clone(), single_value(headers, name)?.clone()))).collect()
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    single_value(headers, name)?.to_str().ok()
}

fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether `path` is below one of `prefixes` whatever a server makes of it: some resolve dots, encoded ones too.
fn is_carried(path: &str, prefixes: &[&str]) -> bool {
    let decoded = percent_decode_str(path).collect::<Vec<u8>>();
    let climbs = decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."));
    prefixes.iter().any(|prefix| path.starts_with(prefix)) && !climbs
}

#[cfg(test)]
mod tests;
