//! X-Matrix signatures of requests (server-server API, "Request Authentication"), whatever numbers are in the body: ruma
//! knows those of canonical JSON, and events of old room versions have others.
use ruma::{
    OwnedServerSigningKeyId, ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    serde::Base64,
    signatures::{KeyPair, PublicKeyMap, verify_canonical_json_bytes},
};

use super::{event::numbers, identity::Identity};

/// The signature of `identity` on a request to `destination`.
pub fn sign<B: AsRef<[u8]>>(
    request: &http::Request<B>,
    identity: &Identity,
    destination: &ServerName,
) -> Result<XMatrix, String> {
    let (origin, keys) = (identity.server_name(), identity.key_pair());
    let Some(marked) = with_marked_numbers(request) else {
        let input = XMatrixSigningInput::new(origin.to_owned(), destination.to_owned(), keys);
        return XMatrix::sign_http_request(request, input).map_err(|error| error.to_string());
    };
    let signature = keys.sign(signed_text(&marked, origin, destination)?.as_bytes());
    let key = OwnedServerSigningKeyId::try_from(signature.id()).map_err(|error| error.to_string())?;
    Ok(XMatrix::new(origin.to_owned(), destination.to_owned(), key, Base64::new(signature.as_bytes().to_vec())))
}

/// Whether `header` signs the request to `destination`, with one of `keys`.
pub fn verify<B: AsRef<[u8]>>(
    header: &XMatrix,
    request: &http::Request<B>,
    destination: &ServerName,
    keys: &PublicKeyMap,
) -> Result<(), String> {
    let Some(marked) = with_marked_numbers(request) else {
        return header.verify_http_request(request, destination, keys).map_err(|error| error.to_string());
    };
    if header.destination.as_deref().is_some_and(|named| named != destination) {
        return Err("it is for another server".to_owned());
    }
    let key = keys.get(header.origin.as_str()).and_then(|keys| keys.get(header.key.as_str()));
    let key = key.ok_or_else(|| format!("the key {} is not known", header.key))?;
    let signed = signed_text(&marked, &header.origin, destination)?;
    verify_canonical_json_bytes(&header.key.algorithm(), key.as_bytes(), header.sig.as_bytes(), signed.as_bytes())
        .map_err(|error| error.to_string())
}

/// The request with its numbers marked, if it has any that canonical JSON does not know.
fn with_marked_numbers<B: AsRef<[u8]>>(request: &http::Request<B>) -> Option<http::Request<String>> {
    let marked = numbers::mark(std::str::from_utf8(request.body().as_ref()).ok()?)?;
    let mut copy = http::Request::new(marked);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    Some(copy)
}

fn signed_text(
    marked: &http::Request<String>,
    origin: &ServerName,
    destination: &ServerName,
) -> Result<String, String> {
    let object = XMatrix::request_object(marked, origin, destination).map_err(|error| error.to_string())?;
    Ok(numbers::unmark(&super::event::canonical_string(&object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_room::identity;

    fn request(body: &str) -> http::Request<String> {
        http::Request::put("/_matrix/federation/v1/send/1").body(body.to_owned()).unwrap()
    }

    #[test]
    fn what_is_signed_is_the_target_as_it_is_written() {
        let (own, other) = (identity(1), identity(2));
        let keys = own.public_key().public_key_map(own.server_name());
        let targets =
            ["/a", "/a?", "/a??", "/a?b", "/a?b=", "/a?b=%20", "/a?b=+", "/%61", "/a/", "//a", "/a?b=c&", "/a?&"];
        for signed in targets {
            let request = |target: &str| http::Request::get(target).body(Vec::<u8>::new()).unwrap();
            let header = sign(&request(signed), &own, other.server_name()).unwrap();
            for came in targets {
                let holds = verify(&header, &request(came), other.server_name(), &keys).is_ok();
                assert_eq!(holds, signed == came, "{signed} as {came}");
            }
        }
    }

    #[test]
    fn what_is_signed_is_verified_whatever_the_numbers() {
        let (own, other) = (identity(1), identity(2));
        let keys = own.public_key().public_key_map(own.server_name());
        for body in ["", r#"{"a":1}"#, r#"{"a":1.5,"\u0000":"\u00001"}"#, r#"{"depth":9223372036854775807}"#] {
            let header = sign(&request(body), &own, other.server_name()).unwrap();
            verify(&header, &request(body), other.server_name(), &keys).unwrap();
            verify(&header, &request(body), own.server_name(), &keys).unwrap_err();
            verify(&header, &request(r#"{"a":2.5}"#), other.server_name(), &keys).unwrap_err();
            let theirs = other.public_key().public_key_map(own.server_name());
            verify(&header, &request(body), other.server_name(), &theirs).unwrap_err();
            verify(&header, &request(body), other.server_name(), &PublicKeyMap::new()).unwrap_err();
        }
        // The same number in another spelling is the same request.
        let header = sign(&request(r#"{"a":1.5}"#), &own, other.server_name()).unwrap();
        verify(&header, &request(r#"{ "a" : 1.50 }"#), other.server_name(), &keys).unwrap();
        assert!(sign(&request(r#"{"a":1e999}"#), &own, other.server_name()).is_err());
    }
}
