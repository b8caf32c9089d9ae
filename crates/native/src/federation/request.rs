//! A federation request as it arrives by HTTP: its form, its host and its body, before anybody looks at who sent it.
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version, header, uri::Authority};
use hyper::body::Incoming;
use ruma::api::error::ErrorKind;
use warren::api::{ApiError, FEDERATION_BODY_MAX_BYTES};

use crate::request_body;

/// What other homeservers ask for.
const PREFIXES: [&str; 2] = ["/_matrix/federation/", "/_matrix/key/"];
const WELL_KNOWN: &str = "/.well-known/matrix/server";

/// Whether `path` is one that homeservers ask for, as it is written: no path is anything but itself.
pub fn is_federation(path: &str) -> bool {
    path == WELL_KNOWN || PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// The whole request, whose URI is path and query only, and the host it was sent to.
///
/// # Errors
/// The answer for what is malformed, comes too slowly, or is larger than [`FEDERATION_BODY_MAX_BYTES`].
pub async fn read(request: Request<Incoming>) -> Result<(Authority, Request<Bytes>), ApiError> {
    let (mut parts, body) = request.into_parts();
    let host = host(parts.version, &parts.headers, parts.uri.authority())?;
    let path = parts.uri.path_and_query().cloned().filter(|path| path.as_str().starts_with('/'));
    parts.uri = path.ok_or_else(|| refused("The request is for no path."))?.into();
    let body = request_body::read(body, FEDERATION_BODY_MAX_BYTES).await?;
    Ok((host, Request::from_parts(parts, body)))
}

/// The one host that a request names (RFC 9112, section 3.2).
fn host(version: Version, headers: &HeaderMap, target: Option<&Authority>) -> Result<Authority, ApiError> {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return Err(refused("The request has to name one host."));
    };
    let host: Authority = host
        .to_str()
        .ok()
        .filter(|host| !host.contains('@'))
        .and_then(|host| host.parse().ok())
        .ok_or_else(|| refused("The request's host is none."))?;
    if target.is_some_and(|target| *target != host) || version > Version::HTTP_11 {
        return Err(refused("The request names two hosts."));
    }
    Ok(host)
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        let of = |hosts: &[&'static str], target: Option<&str>| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            let target = target.map(|target| target.parse().unwrap());
            host(Version::HTTP_11, &headers, target.as_ref()).ok().map(|host| host.to_string())
        };
        assert_eq!(of(&["a.example:8448"], None).as_deref(), Some("a.example:8448"));
        assert_eq!(of(&["a.example"], Some("a.example")).as_deref(), Some("a.example"));
        for bad in [&[][..], &["a.example", "a.example"], &["a.example, b.example"], &["user@a.example"], &[""], &["/"]]
        {
            assert_eq!(of(bad, None), None, "{bad:?}");
        }
        assert_eq!(of(&["a.example"], Some("b.example")), None);
    }

    #[test]
    fn a_path_is_what_it_is_written() {
        assert!(is_federation("/_matrix/federation/v1/version") && is_federation("/_matrix/key/v2/server"));
        for other in ["//_matrix/federation/v1/version", "/_matrix/%66ederation/v1/version", "/x/../_matrix/key/v2"] {
            assert!(!is_federation(other), "{other}");
        }
    }
}
