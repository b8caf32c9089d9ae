//! STUN and TURN servers that the page is told of.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Browsers warn at five, and every one costs each connection time.
const ICE_SERVERS_MAX: usize = 4;
const URLS_MAX: usize = 4;
const URL_MAX_BYTES: usize = 512;

/// The part of `RTCIceServer` that browsers still know (WebRTC, section 4.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    urls: Urls,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

impl IceServer {
    pub fn stun(url: String) -> Self {
        Self { urls: Urls::One(url), username: None, credential: None }
    }

    fn urls(&self) -> &[String] {
        match &self.urls {
            Urls::One(url) => std::slice::from_ref(url),
            Urls::Many(urls) => urls,
        }
    }

    /// What a browser would refuse, in words; one such server would cost a page every connection.
    fn fault(&self) -> Option<String> {
        if self.urls().is_empty() || self.urls().len() > URLS_MAX {
            return Some(format!("a server has no URL or more than {URLS_MAX}"));
        }
        for url in self.urls() {
            let scheme = url.split_once(':').map(|(scheme, _)| scheme);
            let relays = matches!(scheme, Some("turn" | "turns"));
            if !relays && !matches!(scheme, Some("stun" | "stuns")) || url.len() > URL_MAX_BYTES || url.contains('/') {
                return Some(format!("{url:?} is no URL such as stun:stun.example.org or turn:turn.example.org"));
            }
            if relays && (self.username.is_none() || self.credential.is_none()) {
                return Some(format!("{url:?} needs a username and a credential"));
            }
        }
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IceServersError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} holds no JSON array of ICE servers: {source}", file.display())]
    Json { file: PathBuf, source: serde_json::Error },
    #[error("{}: {fault}", file.display())]
    Invalid { file: PathBuf, fault: String },
}

/// Reads what `--ice-servers` names.
pub fn read(file: &Path) -> Result<Vec<IceServer>, IceServersError> {
    let text = fs::read(file).map_err(|source| IceServersError::Read { file: file.into(), source })?;
    let servers: Vec<IceServer> =
        serde_json::from_slice(&text).map_err(|source| IceServersError::Json { file: file.into(), source })?;
    let too_many = || (servers.len() > ICE_SERVERS_MAX).then(|| format!("more than {ICE_SERVERS_MAX} servers"));
    match servers.iter().find_map(IceServer::fault).or_else(too_many) {
        Some(fault) => Err(IceServersError::Invalid { file: file.into(), fault }),
        None => Ok(servers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<IceServer>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_are_passed_on_as_they_are() {
        let text = r#"[{"urls":"stun:a"},{"urls":["turn:b?transport=tcp","turns:b"],"username":"u","credential":"p"}]"#;
        assert_eq!(serde_json::to_string(&read_text(text).unwrap()).unwrap(), text);
        assert_eq!(read_text("[]").unwrap(), []);
    }

    #[test]
    fn what_a_browser_would_refuse_is_refused_at_the_start() {
        for bad in [
            "",
            "{}",
            r#"[{}]"#,
            r#"[{"urls":[]}]"#,
            r#"[{"urls":"http://a"}]"#,
            r#"[{"urls":"stun://a"}]"#,
            r#"[{"urls":"a"}]"#,
            r#"[{"urls":"turn:a"}]"#,
            r#"[{"urls":"turn:a","username":"u"}]"#,
            r#"[{"urls":"stun:a","secret":"s"}]"#,
            r#"[{"urls":"stun:a"},{"urls":"stun:b"},{"urls":"stun:c"},{"urls":"stun:d"},{"urls":"stun:e"}]"#,
        ] {
            assert!(read_text(bad).is_err(), "{bad}");
        }
    }
}
