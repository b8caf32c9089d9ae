//! Whom a host says that its homeserver is reached through: `/.well-known/matrix/server`, and for how long that holds
//! (server-server API, "Resolving server names").
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use ruma::{OwnedServerName, ServerName};
use url::Url;

use super::{dialer::Dialer, redirects};

/// The document names one server.
const DOCUMENT_MAX_BYTES: usize = 50 * 1024;

/// Where the answer does not say for how long it holds, and between which bounds it may.
const HOLDS_DEFAULT: Duration = Duration::from_secs(24 * 3600);
pub const HOLDS_MAX: Duration = Duration::from_secs(48 * 3600);
const HOLDS_MIN: Duration = Duration::from_secs(5 * 60);

/// That nothing useful is there holds for so long.
const ABSENT_HOLDS: Duration = Duration::from_secs(3600);

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Delegation {
    /// Another name speaks for the host.
    To { name: OwnedServerName, holds: Duration },
    /// The host has nothing to say.
    None { holds: Duration },
    /// The host did not answer, or says that it cannot now.
    Unknown { reason: String },
}

/// Asks `host`, a name without a port.
pub async fn ask(dialer: &Dialer, host: &str) -> Delegation {
    let none = Delegation::None { holds: ABSENT_HOLDS };
    let Ok(url) = Url::parse(&format!("https://{host}/.well-known/matrix/server")) else { return none };
    let document = match redirects::get(dialer, url, DOCUMENT_MAX_BYTES).await {
        Ok(document) => document,
        Err(error) => return Delegation::Unknown { reason: error.to_string() },
    };
    if document.status.is_server_error() || document.status == StatusCode::TOO_MANY_REQUESTS {
        return Delegation::Unknown { reason: format!("it answered {}", document.status) };
    }
    match parse(document.status, &document.body) {
        Some(name) => Delegation::To { name, holds: holds(&document.headers) },
        None => none,
    }
}

fn parse(status: StatusCode, body: &[u8]) -> Option<OwnedServerName> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(rename = "m.server")]
        server: String,
    }
    if status != StatusCode::OK {
        return None;
    }
    let Document { server } = serde_json::from_slice(body).ok()?;
    ServerName::parse(server).ok()
}

/// For how long the answer may be kept, by `Cache-Control` (RFC 9111); what is not to be kept is for the shortest time.
fn holds(headers: &HeaderMap) -> Duration {
    let mut said = None;
    for value in headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for directive in value.split(',').map(|directive| directive.trim().to_ascii_lowercase()) {
            if matches!(directive.as_str(), "no-store" | "no-cache") {
                return HOLDS_MIN;
            }
            if let Some(seconds) = directive.strip_prefix("max-age=") {
                said = seconds.trim_matches('"').parse().ok().map(Duration::from_secs).or(said);
            }
        }
    }
    said.unwrap_or(HOLDS_DEFAULT).clamp(HOLDS_MIN, HOLDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_server_or_nothing() {
        let of = |body: &str| parse(StatusCode::OK, body.as_bytes()).map(String::from);
        assert_eq!(of(r#"{"m.server":"matrix.example.org:443","x":1}"#).as_deref(), Some("matrix.example.org:443"));
        assert_eq!(of(r#"{"m.server":"[2001:db8::1]"}"#).as_deref(), Some("[2001:db8::1]"));
        for bad in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"m.server":null}"#,
            r#"{"m.server":8448}"#,
            r#"{"m.server":""}"#,
            r#"{"m.server":"https://a.example"}"#,
            r#"{"m.server":"a.example/path"}"#,
            r#"{"m.server":"a.example:99999"}"#,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(parse(StatusCode::NOT_FOUND, br#"{"m.server":"a.example"}"#), None);
    }

    #[test]
    fn an_answer_holds_as_long_as_it_says_within_bounds() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            holds(&headers).as_secs()
        };
        assert_eq!(of("public, max-age=7200"), 7200);
        assert_eq!(of("MAX-AGE=\"600\""), 600);
        assert_eq!(of("max-age=1"), HOLDS_MIN.as_secs());
        assert_eq!(of("max-age=99999999999"), HOLDS_MAX.as_secs());
        assert_eq!(of("max-age=600, no-store"), HOLDS_MIN.as_secs());
        assert_eq!(of("max-age=soon"), HOLDS_DEFAULT.as_secs());
        assert_eq!(holds(&HeaderMap::new()), HOLDS_DEFAULT);
    }
}
