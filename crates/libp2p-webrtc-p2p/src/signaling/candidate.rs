//! ICE candidates as peers write them to each other.
use std::{fmt, net::IpAddr};

/// Characters of one candidate's JSON. Browsers write about 250.
pub const CANDIDATE_MAX_CHARS: usize = 4096;

/// What a message with a candidate in it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Candidate(Candidate),
    /// There are no more. Nobody has to say so.
    End,
    /// Unreadable; one such candidate is no reason to give up the others.
    Unusable,
}

/// A candidate that can be given to an ICE agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `candidate:...`, the attribute of RFC 8839.
    pub candidate: String,
    pub sdp_mid: Option<String>,
    pub sdp_m_line_index: Option<u16>,
    pub username_fragment: Option<String>,
}

/// By what kind of path a candidate is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An address of the device itself.
    Host,
    /// The same, hidden behind a `.local` name that only mDNS resolves.
    Mdns,
    /// An address that a NAT lends, as STUN sees it or as the other side does.
    Reflexive,
    /// A TURN server's.
    Relay,
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Mdns => "mdns",
            Self::Reflexive => "reflexive",
            Self::Relay => "relay",
            Self::Other => "other",
        })
    }
}

impl Told {
    /// Reads the text of `RTCIceCandidate.toJSON()`; `null`, `""` and an empty candidate mean the end.
    pub fn parse(json: &str) -> Self {
        if json.is_empty() {
            return Self::End;
        }
        if json.len() > CANDIDATE_MAX_CHARS {
            return Self::Unusable;
        }
        let fields = match serde_json::from_str(json) {
            Ok(serde_json::Value::Null) => return Self::End,
            Ok(serde_json::Value::String(text)) if text.is_empty() => return Self::End,
            Ok(serde_json::Value::Object(fields)) => fields,
            Ok(_) | Err(_) => return Self::Unusable,
        };
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        // node-datachannel, on which js-libp2p runs in Node, writes the whole line of the description.
        let candidate = text("candidate").map(|text| text.strip_prefix("a=").map(str::to_owned).unwrap_or(text));
        match candidate {
            Some(candidate) if candidate.is_empty() => Self::End,
            Some(candidate) if candidate.starts_with("candidate:") => Self::Candidate(Candidate {
                candidate,
                sdp_mid: text("sdpMid"),
                sdp_m_line_index: fields
                    .get("sdpMLineIndex")
                    .and_then(serde_json::Value::as_u64)
                    .and_then(|index| index.try_into().ok()),
                username_fragment: text("usernameFragment"),
            }),
            _ => Self::Unusable,
        }
    }
}

impl Candidate {
    /// As `RTCIceCandidate.toJSON()` writes it.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "candidate": self.candidate,
            "sdpMid": self.sdp_mid,
            "sdpMLineIndex": self.sdp_m_line_index,
            "usernameFragment": self.username_fragment,
        })
        .to_string()
    }

    pub fn kind(&self) -> Kind {
        let words: Vec<&str> = self.candidate.split(' ').collect();
        let kind = words.iter().position(|word| *word == "typ").and_then(|at| words.get(at + 1));
        match kind {
            Some(&"host") if words.get(4).is_some_and(|address| address.ends_with(".local")) => Kind::Mdns,
            Some(&"host") => Kind::Host,
            Some(&"srflx" | &"prflx") => Kind::Reflexive,
            Some(&"relay") => Kind::Relay,
            _ => Kind::Other,
        }
    }

    /// The address at which a device is seen from outside, if it is that kind of candidate.
    pub fn outside(&self) -> Option<IpAddr> {
        let address = self.candidate.split(' ').nth(4)?;
        if self.kind() == Kind::Reflexive { address.parse().ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = r#"{"candidate":"candidate:1 1 udp 2113937151 1f8c.local 49203 typ host generation 0 ufrag Ab1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"Ab1"}"#;

    #[test]
    fn a_browsers_candidate_survives_the_way_there_and_back() {
        let Told::Candidate(candidate) = Told::parse(CHROMIUM) else { panic!("this is one") };
        assert_eq!(candidate.kind(), Kind::Mdns);
        assert_eq!(candidate.sdp_mid.as_deref(), Some("0"));
        assert_eq!(candidate.sdp_m_line_index, Some(0));
        assert_eq!(Told::parse(&candidate.to_json()), Told::Candidate(candidate));
    }

    #[test]
    fn the_line_of_a_description_is_a_candidate_too() {
        let line = r#"{"candidate":"a=candidate:1 1 UDP 2114977791 192.0.2.2 36164 typ host","sdpMLineIndex":null,"sdpMid":"0","usernameFragment":null}"#;
        let Told::Candidate(candidate) = Told::parse(line) else { panic!("this is one") };
        assert_eq!(candidate.candidate, "candidate:1 1 UDP 2114977791 192.0.2.2 36164 typ host");
        assert_eq!((candidate.kind(), candidate.sdp_m_line_index), (Kind::Host, None));
    }

    #[test]
    fn the_end_is_told_in_several_ways() {
        for end in ["", "null", r#""""#, r#"{"candidate":""}"#] {
            assert_eq!(Told::parse(end), Told::End, "{end}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_no_reason_to_end() {
        let long = format!(r#"{{"candidate":"candidate:{}"}}"#, "x".repeat(CANDIDATE_MAX_CHARS));
        for bad in ["[]", "{", "{}", "1", r#"{"candidate":1}"#, r#"{"candidate":"a=x"}"#, r#""text""#, &long] {
            assert_eq!(Told::parse(bad), Told::Unusable, "{bad}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let candidate = |rest: &str| {
            let candidate = format!("candidate:1 1 udp 1 192.0.2.1 9 {rest}");
            Candidate { candidate, sdp_mid: None, sdp_m_line_index: None, username_fragment: None }
        };
        let kind = |rest: &str| candidate(rest).kind();
        assert_eq!(kind("typ host"), Kind::Host);
        assert_eq!(kind("typ srflx raddr 0.0.0.0 rport 0"), Kind::Reflexive);
        assert_eq!(kind("typ prflx"), Kind::Reflexive);
        assert_eq!(kind("typ relay"), Kind::Relay);
        assert_eq!(kind("typ"), Kind::Other);
        assert_eq!(candidate("typ srflx").outside(), "192.0.2.1".parse().ok());
        assert_eq!(candidate("typ host").outside(), None);
    }
}
