//! Finding users by words: how names and ids are cut into words, and how well a user fits a search.
use ruma::UserId;

/// Words of one name, and the characters of one word, that are looked at.
const WORDS_MAX: usize = 8;
const WORD_CHARS_MAX: usize = 32;

/// How well a user fits, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// The search is the user id, or its first part.
    Id,
    /// The search is the display name.
    Name,
    /// Every word of the search is one of the user's.
    Words,
    /// Every word of the search begins one of the user's.
    Beginnings,
}

/// What somebody searches for.
#[derive(Clone, Debug)]
pub struct Search {
    text: String,
    words: Vec<String>,
    scanned: String,
}

impl Search {
    /// `None` if there is no word in it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let words = words(&text);
        // Servers' names are not among the words that are kept, though they may be searched for along with others.
        let of_user: Vec<String> = text.split_once(':').map_or_else(|| words.clone(), |(user, _)| self::words(user));
        let scanned = of_user.into_iter().max_by_key(|word| word.chars().count())?;
        Some(Self { words, scanned, text })
    }

    /// What a kept word must begin with for its user to fit: the longest of the words, as it is the rarest.
    pub fn scanned(&self) -> &str {
        &self.scanned
    }

    /// How well a user fits; `None` if not at all.
    pub fn fit(&self, user: &UserId, name: Option<&str>) -> Option<Fit> {
        let id = user.as_str().to_lowercase();
        let local = user.localpart().to_lowercase();
        if self.text == id || self.text.trim_start_matches('@') == local {
            return Some(Fit::Id);
        }
        let name = name.unwrap_or_default().to_lowercase();
        if self.text == name {
            return Some(Fit::Name);
        }
        let known: Vec<String> = words(&name).into_iter().chain(words(&id)).collect();
        if self.words.iter().all(|word| known.contains(word)) {
            return Some(Fit::Words);
        }
        let begins = |word: &String| known.iter().any(|known| known.starts_with(word.as_str()));
        self.words.iter().all(begins).then_some(Fit::Beginnings)
    }
}

/// The words to keep of a user: of the display name and of the user id without its server.
pub fn terms_of(user: &UserId, name: Option<&str>) -> Vec<String> {
    let mut terms = words(user.localpart());
    terms.extend(name.map(words).unwrap_or_default());
    terms.sort();
    terms.dedup();
    terms
}

/// The first words of a text, in lower case and of bounded length.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty());
    let bounded = |word: &str| word.to_lowercase().chars().take(WORD_CHARS_MAX).collect();
    words.take(WORDS_MAX).map(bounded).collect()
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn fit(search: &str, name: Option<&str>) -> Option<Fit> {
        Search::parse(search)?.fit(user_id!("@mary-ann:w.example"), name)
    }

    #[test]
    fn words_are_of_names_and_ids() {
        assert_eq!(
            terms_of(user_id!("@mary-ann:w.example"), Some("Marie-Änne  O'Hara")),
            ["ann", "hara", "marie", "mary", "o", "änne"]
        );
        assert_eq!(terms_of(user_id!("@a:w.example"), None), ["a"]);
        let long = "x".repeat(99);
        assert_eq!(terms_of(user_id!("@a:w.example"), Some(&long))[1].len(), WORD_CHARS_MAX);
        let many = (0..99).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(terms_of(user_id!("@a:w.example"), Some(&many)).len(), WORDS_MAX + 1);
    }

    #[test]
    fn a_search_scans_for_its_longest_word_but_not_for_a_server() {
        let scanned = |text: &str| Search::parse(text).map(|search| search.scanned().to_owned());
        assert_eq!(scanned("Jo Bloggs").as_deref(), Some("bloggs"));
        assert_eq!(scanned("@jo:a.long.server.example").as_deref(), Some("jo"));
        for empty in ["", "  ", "@", ":", "@:server.example", "---"] {
            assert_eq!(scanned(empty), None, "{empty:?}");
        }
    }

    #[test]
    fn the_better_fit_comes_first() {
        let name = Some("Mary Ann Smith");
        assert_eq!(fit("@Mary-Ann:w.example", name), Some(Fit::Id));
        assert_eq!(fit("mary-ann", name), Some(Fit::Id));
        assert_eq!(fit("mary ann smith", name), Some(Fit::Name));
        assert_eq!(fit("smith mary", name), Some(Fit::Words));
        assert_eq!(fit("smi mar", name), Some(Fit::Beginnings));
        assert_eq!(fit("mary w.example", name), Some(Fit::Words));
        assert_eq!(fit("mith", name), None);
        assert_eq!(fit("mary jones", name), None);
        assert!(Fit::Id < Fit::Name && Fit::Name < Fit::Words && Fit::Words < Fit::Beginnings);
    }
}
