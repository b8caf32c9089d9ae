//! What a browser may use to find a path.

/// Servers used of a configuration; browsers warn of more, because each slows the search.
pub const ICE_SERVERS_MAX: usize = 4;

/// By default nobody is asked: only addresses of the device itself are found, which is enough in one local network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceConfiguration {
    pub servers: Vec<IceServer>,
    /// Tell nobody our addresses: only those of TURN servers are used.
    pub relay_only: bool,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp` and the like.
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
}

impl IceConfiguration {
    /// As an `RTCConfiguration`.
    pub fn to_json(&self) -> String {
        let server = |server: &IceServer| {
            let mut json = serde_json::json!({ "urls": server.urls });
            for (name, value) in [("username", &server.username), ("credential", &server.credential)] {
                if let Some(value) = value {
                    json[name] = value.as_str().into();
                }
            }
            json
        };
        let servers: Vec<_> = self.servers.iter().take(ICE_SERVERS_MAX).map(server).collect();
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
            urls: vec!["turn:192.0.2.1".to_owned()],
            username: Some("me".to_owned()),
            credential: Some("secret".to_owned()),
        };
        let configuration = IceConfiguration { servers: vec![turn; 6], relay_only: true };
        let json: serde_json::Value = serde_json::from_str(&configuration.to_json()).unwrap();
        assert_eq!(json["iceTransportPolicy"], "relay");
        assert_eq!(json["iceServers"].as_array().unwrap().len(), ICE_SERVERS_MAX);
        assert_eq!(json["iceServers"][0]["credential"], "secret");
    }
}
