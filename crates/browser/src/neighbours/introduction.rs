//! What profiles of one browser say to all others: words and hexadecimal numbers with spaces between.
use std::fmt;

use libp2p::PeerId;

/// The longest is about 150 bytes.
const INTRODUCTION_MAX_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// `peer` runs. With `answer`, everybody else says the same.
    Here { peer: PeerId, instance: u64, answer: bool },
    /// That start of `peer` ends.
    Gone { peer: PeerId, instance: u64 },
    /// `from` wants to talk to `to` on the channel of this number.
    Link { from: PeerId, to: PeerId, link: u64 },
}

impl Introduction {
    /// `None` for anything else, which other scripts of the origin may say.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > INTRODUCTION_MAX_BYTES {
            return None;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [word @ ("hello" | "here"), peer, instance] => {
                Some(Self::Here { peer: peer.parse().ok()?, instance: number(instance)?, answer: word == "hello" })
            }
            ["gone", peer, instance] => Some(Self::Gone { peer: peer.parse().ok()?, instance: number(instance)? }),
            ["link", from, to, link] => {
                Some(Self::Link { from: from.parse().ok()?, to: to.parse().ok()?, link: number(link)? })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here { peer, instance, answer } => {
                write!(f, "{} {peer} {instance:x}", if *answer { "hello" } else { "here" })
            }
            Self::Gone { peer, instance } => write!(f, "gone {peer} {instance:x}"),
            Self::Link { from, to, link } => write!(f, "link {from} {to} {link:x}"),
        }
    }
}

/// A number that nobody guesses.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("a browser has randomness");
    u64::from_le_bytes(bytes)
}
