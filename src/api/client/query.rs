//! The parameters of a request that ruma has no type for.
use percent_encoding::percent_decode_str;

use crate::api::ApiError;

/// A query string as it stands.
pub struct Query(pub String);

impl Query {
    pub fn of(request: &http::Request<&[u8]>) -> Self {
        Self(request.uri().query().unwrap_or_default().to_owned())
    }

    /// The last value that a parameter has.
    pub fn get(&self, name: &str) -> Option<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace('+', " ")).next_back()?;
        Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
    }

    pub fn number(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let malformed = |_| ApiError::invalid_param(format!("`{name}` is not a number."));
        self.get(name).map(|value| value.parse().map_err(malformed)).transpose()
    }
}
