//! The tokens clients hold: opaque to them, strict to us, so that a foreign or mangled one is told and not guessed at.
use std::{fmt, str::FromStr};

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a token of this server")]
pub struct TokenError;

/// A place in the stream of everything this server told its clients: `next_batch` and `since` of `/sync`. `s<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamToken(pub u64);

/// A place in one room's timeline: `prev_batch`, `start` and `end` of `/messages`. `t<n>`; live events count up from
/// zero, history fetched later counts down below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineToken(pub i64);

/// What `/messages` takes: either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageToken {
    Stream(StreamToken),
    Timeline(TimelineToken),
}

impl fmt::Display for StreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for TimelineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl FromStr for StreamToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        parse(token, 's').map(Self)
    }
}

impl FromStr for TimelineToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        parse(token, 't').map(Self)
    }
}

impl FromStr for PageToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        token.parse().map(Self::Stream).or_else(|TokenError| token.parse().map(Self::Timeline))
    }
}

/// Only the spelling we would write: no sign, space or leading zero that parsing forgives.
fn parse<N: FromStr + fmt::Display>(token: &str, kind: char) -> Result<N, TokenError> {
    let digits = token.strip_prefix(kind).ok_or(TokenError)?;
    let number: N = digits.parse().map_err(|_| TokenError)?;
    if number.to_string() == digits { Ok(number) } else { Err(TokenError) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_round_trip(stream: u64, order: i64) {
            prop_assert_eq!(StreamToken(stream).to_string().parse(), Ok(StreamToken(stream)));
            prop_assert_eq!(TimelineToken(order).to_string().parse(), Ok(TimelineToken(order)));
            prop_assert_eq!(StreamToken(stream).to_string().parse(), Ok(PageToken::Stream(StreamToken(stream))));
            prop_assert_eq!(TimelineToken(order).to_string().parse(), Ok(PageToken::Timeline(TimelineToken(order))));
        }

        #[test]
        fn whatever_parses_is_spelled_the_one_way(text in "[st]?[-+ 0-9]{0,22}") {
            if let Ok(token) = text.parse::<StreamToken>() {
                prop_assert_eq!(token.to_string(), text.clone());
            }
            if let Ok(token) = text.parse::<TimelineToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for foreign in
            ["", "s", "t", "1", "s-1", "s+1", "s01", "t-0", "t 1", "s1 ", "s18446744073709551616", "S1", "s1_2"]
        {
            assert_eq!(foreign.parse::<PageToken>(), Err(TokenError), "{foreign:?}");
        }
    }
}
