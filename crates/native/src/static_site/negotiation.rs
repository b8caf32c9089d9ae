//! What a request says about the form it can take and the copy it already has.
use http::{HeaderMap, HeaderValue, header};

use super::snapshot::{Asset, Body};

/// The smallest stored form the client accepts (RFC 9110, section 12.5.3); the plain one if it names none of ours.
pub fn choose<'a>(asset: &'a Asset, request: &HeaderMap) -> &'a Body {
    let accepted = |body: &&Body| body.encoding.is_some_and(|encoding| accepts(request, encoding));
    asset.encoded.iter().flatten().find(accepted).unwrap_or(&asset.plain)
}

/// Whether If-None-Match names `etag` (RFC 9110, section 13.1.2: weak comparison).
pub fn holds(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &'_ str| -> String { tag.trim().trim_start_matches("W/").to_owned() };
    let Ok(ours) = etag.to_str() else { return false };
    list(request, header::IF_NONE_MATCH).any(|tag| tag.trim() == "*" || opaque(tag) == ours)
}

fn accepts(request: &HeaderMap, encoding: &str) -> bool {
    list(request, header::ACCEPT_ENCODING).any(|item| {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        name.trim().eq_ignore_ascii_case(encoding) && !is_refused(parameters)
    })
}

/// A weight of zero means "not acceptable".
fn is_refused(parameters: &str) -> bool {
    let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
    weight == Some(0.0)
}

fn list(request: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    request.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn encodings_are_taken_as_asked() {
        for (value, brotli, gzip) in [
            ("gzip, deflate, br, zstd", true, true),
            ("gzip;q=1.0, br;q=0", false, true),
            ("GZIP; q=0.5", false, true),
            ("br;q=0.000", false, false),
            ("identity", false, false),
            ("brr, xgzip", false, false),
            ("", false, false),
        ] {
            let request = headers(header::ACCEPT_ENCODING, value);
            assert_eq!((accepts(&request, "br"), accepts(&request, "gzip")), (brotli, gzip), "{value}");
        }
    }

    #[test]
    fn a_held_copy_is_recognised() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (value, expected) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("*", true),
            ("\"abcd\"", false),
            ("abc", false),
            ("\"abc-br\"", false),
        ] {
            assert_eq!(holds(&headers(header::IF_NONE_MATCH, value), &etag), expected, "{value}");
        }
    }
}
