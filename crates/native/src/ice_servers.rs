//! STUN and TURN servers that the page is told of.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use libp2p_webrtc_p2p::backend::ice::{ICE_SERVERS_MAX, IceServer, Urls};
use serde::Deserialize;

const URLS_MAX: usize = 4;
const URL_MAX_BYTES: usize = 512;

/// What a file holds beside what browsers know is a mistake, of which they would say nothing.
#[derive(Deserialize)]
struct Written {
    #[serde(flatten)]
    server: IceServer,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

pub fn stun(url: String) -> IceServer {
    IceServer { urls: Urls::One(url), username: None, credential: None }
}

/// What a browser would refuse, in words; one such server would cost a page every connection.
fn fault(Written { server, others }: &Written) -> Option<String> {
    if let Some(name) = others.keys().next() {
        return Some(format!("a server has {name:?}, which browsers do not know"));
    }
    let urls = server.urls.as_slice();
    if urls.is_empty() || urls.len() > URLS_MAX {
        return Some(format!("a server has no URL or more than {URLS_MAX}"));
    }
    for url in urls {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        let relays = matches!(scheme, Some("turn" | "turns"));
        if !relays && !matches!(scheme, Some("stun" | "stuns")) || url.len() > URL_MAX_BYTES || url.contains('/') {
            return Some(format!("{url:?} is no URL such as stun:stun.example.org or turn:turn.example.org"));
        }
        if relays && (server.username.is_none() || server.credential.is_none()) {
            return Some(format!("{url:?} needs a username and a credential"));
        }
    }
    None
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
    let servers: Vec<Written> =
        serde_json::from_slice(&text).map_err(|source| IceServersError::Json { file: file.into(), source })?;
    let too_many = || (servers.len() > ICE_SERVERS_MAX).then(|| format!("more than {ICE_SERVERS_MAX} servers"));
    match servers.iter().find_map(fault).or_else(too_many) {
        Some(fault) => Err(IceServersError::Invalid { file: file.into(), fault }),
        None => Ok(servers.into_iter().map(|written| written.server).collect()),
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
