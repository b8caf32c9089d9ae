//! Glob patterns (appendices, "Glob-style matching") in time that grows with pattern times text and nothing else, whatever
//! a stranger writes: all places of the pattern that the text read so far leads to are followed at once, one bit each.
use std::collections::BTreeMap;

/// Bits in one word of a set of places.
const WORD: usize = u64::BITS as usize;

/// What the pattern must cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// The whole text.
    Whole,
    /// Any part of it that begins and ends at a word boundary.
    Words,
}

/// Whether `pattern` covers `text`. `*` stands for any characters or none, `?` for exactly one; case is the caller's to
/// remove.
pub fn matches(pattern: &str, text: &str, cover: Cover) -> bool {
    if !pattern.contains(['*', '?']) {
        match cover {
            Cover::Whole => return pattern == text,
            // Most messages have most words not in them: cheaper to find out so.
            Cover::Words if !text.contains(pattern) => return false,
            Cover::Words => {}
        }
    }
    if pattern.is_empty() {
        return text.is_empty();
    }
    Glob::new(pattern).covers(text, cover)
}

/// Whether `words` are in `text` between word boundaries, each of their characters standing for itself alone.
pub fn has_words(words: &str, text: &str) -> bool {
    let ends = |start: usize| {
        let end = start + words.len();
        is_boundary(text[..start].chars().next_back(), text[start..].chars().next())
            && is_boundary(text[..end].chars().next_back(), text[end..].chars().next())
    };
    // Every place, also where one overlaps another.
    text.char_indices().any(|(start, _)| text[start..].starts_with(words) && ends(start))
}

/// A pattern without its stars: place `n` is reached when `n` characters of it are matched.
struct Glob {
    length: usize,
    /// Places where any number of characters may pass: a star is there.
    resting: Places,
    /// Places that each character leads on from, and those that a character not in the pattern does.
    steps: BTreeMap<char, Places>,
    any: Places,
}

type Places = Vec<u64>;

impl Glob {
    fn new(pattern: &str) -> Self {
        let literals: Vec<char> = pattern.chars().filter(|c| *c != '*').collect();
        let words = literals.len() / WORD + 1;
        let empty = || vec![0; words];
        let (mut resting, mut any) = (empty(), empty());
        let mut place = 0;
        for c in pattern.chars() {
            match c {
                '*' => set(&mut resting, place),
                '?' => {
                    set(&mut any, place);
                    place += 1;
                }
                _ => place += 1,
            }
        }
        let mut steps: BTreeMap<char, Places> = BTreeMap::new();
        for (place, c) in literals.iter().enumerate().filter(|(_, c)| **c != '?') {
            set(steps.entry(*c).or_insert_with(|| any.clone()), place);
        }
        Self { length: literals.len(), resting, steps, any }
    }

    fn covers(&self, text: &str, cover: Cover) -> bool {
        let mut reached = vec![0; self.any.len()];
        let mut before: Option<char> = None;
        let mut text = text.chars();
        loop {
            let next = text.clone().next();
            let may_turn = match cover {
                Cover::Whole => None,
                Cover::Words => Some(is_boundary(before, next)),
            };
            if may_turn.unwrap_or(before.is_none()) {
                set(&mut reached, 0);
            }
            if may_turn.unwrap_or(next.is_none()) && has(&reached, self.length) {
                return true;
            }
            let Some(c) = text.next() else { return false };
            let step = self.steps.get(&c).unwrap_or(&self.any);
            let mut carry = 0;
            for (word, places) in reached.iter_mut().enumerate() {
                let stepping = *places & step[word];
                let staying = *places & self.resting[word];
                *places = (stepping << 1) | carry | staying;
                carry = stepping >> (WORD - 1);
            }
            before = Some(c);
        }
    }
}

fn set(places: &mut Places, place: usize) {
    places[place / WORD] |= 1 << (place % WORD);
}

fn has(places: &Places, place: usize) -> bool {
    places[place / WORD] & (1 << (place % WORD)) != 0
}

/// Between two characters that do not both belong to a word, and at both ends (client-server API, "Push Rules").
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    !(in_word(before) && in_word(after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        matches(pattern, text, Cover::Whole)
    }

    fn words(pattern: &str, text: &str) -> bool {
        matches(pattern, text, Cover::Words)
    }

    #[test]
    fn a_pattern_covers_the_whole() {
        for text in ["lunch plans", "lunch"] {
            assert!(whole("lunc?*", text), "{text}");
        }
        for text in [" lunch", "lunc", "", "dinner"] {
            assert!(!whole("lunc?*", text), "{text}");
        }
        assert!(whole("", "") && whole("*", "") && whole("**", "ab") && whole("a\n?", "a\nb") && whole("*", "a\nb"));
        assert!(!whole("", "a") && !whole("?", "") && !whole("a", "ab") && !whole("a", "ba") && !whole("?", "ab"));
        assert!(whole("a.c", "a.c") && !whole("a.c", "abc") && whole("[a-z]*", "[a-z] and") && !whole("[a-z]", "b"));
        assert!(whole("?", "ä") && whole("?", "👩"));
    }

    #[test]
    fn a_pattern_covers_whole_words() {
        for text in ["an example event.", "exple", "an exciting triple-whammy", "ex\nple"] {
            assert!(words("ex*ple", text), "{text}");
        }
        for text in ["examples", "hexample", "example_", "1exple", "ex"] {
            assert!(!words("ex*ple", text), "{text}");
        }
        assert!(words("cake", "cake") && words("cake", "ä cake!") && words("cake", "acake cake"));
        assert!(words("cake", "äcake"), "only ASCII letters, digits and _ are of words");
        assert!(!words("cake", "cakes, cupcake, cake_2"));
        assert!(words("@room", "hey@room") && words("foo ", "foo bar") && words("b?r", "foo bar"));
        assert!(!words("", "foo") && words("", "") && words("*", "foo"));
    }

    #[test]
    fn neither_length_nor_repetition_is_a_burden() {
        let text = "xa ".repeat(20_000);
        assert!(!words("a", &text), "no recursion by the word");
        let part = &text[..9_000];
        assert!(!words(&"?".repeat(9_001), part) && whole(&"?".repeat(9_000), part));
        assert!(!whole(&format!("{}b", "*a".repeat(100)), &"a".repeat(20_000)));
    }

    /// As slow and plain as can be.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some((p, pattern)), Some((t, text))) if *p == '?' || p == t => naive(pattern, text),
            _ => false,
        }
    }

    fn naive_words(pattern: &[char], text: &[char]) -> bool {
        let at = |i: usize| (i > 0).then(|| text[i - 1]);
        let boundary = |i: &usize| is_boundary(at(*i), text.get(*i).copied());
        let bounds: Vec<usize> = (0..=text.len()).filter(boundary).collect();
        bounds.iter().any(|&from| bounds.iter().any(|&to| from <= to && naive(pattern, &text[from..to])))
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_way(pattern in "[ab_*?. ä]{1,8}", text in "[ab_. ä]{0,12}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(whole(&pattern, &text), naive(&p, &t));
            prop_assert_eq!(words(&pattern, &text), naive_words(&p, &t));
        }

        #[test]
        fn places_carry_over_words(head in 60_usize..70, tail in 0_usize..70) {
            let pattern = format!("{}*{}", "a".repeat(head), "b".repeat(tail));
            let good = format!("{}xyz{}", "a".repeat(head), "b".repeat(tail));
            let bad = format!("{}xyz{}", "a".repeat(head - 1), "b".repeat(tail));
            prop_assert!(whole(&pattern, &good) && !whole(&pattern, &bad));
        }
    }
}
