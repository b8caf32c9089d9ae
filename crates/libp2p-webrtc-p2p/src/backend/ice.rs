//! What a browser may use to find a path.
use serde::{Deserialize, Serialize};

/// Servers used of a configuration; browsers warn of more, because each slows the search.
pub const ICE_SERVERS_MAX: usize = 4;

/// By default nobody is asked: only addresses of the device itself are found, which is enough in one local network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceConfiguration {
    pub servers: Vec<IceServer>,
    /// Tell nobody our addresses: only those of TURN servers are used.
    pub relay_only: bool,
}

/// A STUN or TURN server: the part of `RTCIceServer` that browsers still know (WebRTC, section 4.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    pub urls: Urls,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `stun:host:port`, `turn:host:port?transport=udp` and the like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    One(String),
    Many(Vec<String>),
}

impl Urls {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Many(urls) => urls,
        }
    }
}

impl IceConfiguration {
    /// As an `RTCConfiguration`.
    pub fn to_json(&self) -> String {
        let servers = &self.servers[..self.servers.len().min(ICE_SERVERS_MAX)];
        let policy = if self.relay_only { "relay" } else { "all" };
        serde_json::json!({ "iceServers": servers, "iceTransportPolicy": policy }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_browsers_want_it() {
        assert_eq!(IceConfiguration::default().to_json(), r#"{"iceServers":[],"iceTransportPolicy":"all"}"#);
        let turn = IceServer {
            urls: Urls::Many(vec!["turn:192.0.2.1".to_owned()]),
            username: Some("me".to_owned()),
            credential: Some("secret".to_owned()),
        };
        let configuration = IceConfiguration { servers: vec![turn; 6], relay_only: true };
        let json: serde_json::Value = serde_json::from_str(&configuration.to_json()).unwrap();
        assert_eq!(json["iceTransportPolicy"], "relay");
        assert_eq!(json["iceServers"].as_array().unwrap().len(), ICE_SERVERS_MAX);
        let written = serde_json::json!({ "urls": ["turn:192.0.2.1"], "username": "me", "credential": "secret" });
        assert_eq!(json["iceServers"][0], written);
    }

    #[test]
    fn a_server_is_read_as_browsers_take_it() {
        let stun: IceServer = serde_json::from_str(r#"{"urls":"stun:a","credentialType":"password"}"#).unwrap();
        assert_eq!(stun.urls.as_slice(), ["stun:a"]);
        assert_eq!(serde_json::to_string(&stun).unwrap(), r#"{"urls":"stun:a"}"#);
    }
}
