//! Headers that every answer carries: what the page may load, connect to and use.
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::public_url::PublicUrl;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The headers for a page that is reached at a given address.
pub struct SecurityHeaders {
    content_security_policy: HeaderValue,
}

impl SecurityHeaders {
    pub fn new(public_url: &PublicUrl) -> Self {
        // The page may also be opened at another name of this machine, so the relay is named beside 'self'.
        let relay = public_url.websocket_source().map(|source| format!(" {source}")).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'{relay}; \
             img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self'; font-src 'self'; \
             manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { content_security_policy: policy.try_into().expect("a host is a DNS name or an address") }
    }

    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_SECURITY_POLICY, self.content_security_policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(self), microphone=(self)"));
    }
}
