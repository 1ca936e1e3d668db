//! The words that count. `words/make.sh` says how the list was made, `words/COPYRIGHT` whose it is.

const LIST: &str = include_str!("../words/words.txt");

/// A sorted list of plain lower-case words.
#[derive(Debug, Clone)]
pub struct Words(Vec<&'static str>);

impl Words {
    /// The English list that comes with the game: SCOWL, American, size 60.
    pub fn english() -> Self {
        Self(LIST.lines().collect())
    }

    /// A list for tests; sorted here.
    pub fn of(words: &[&'static str]) -> Self {
        let mut words = words.to_vec();
        words.sort_unstable();
        Self(words)
    }

    /// Whether a word is in the list.
    pub fn contains(&self, word: &str) -> bool {
        self.0.binary_search(&word).is_ok()
    }

    /// The words that begin with a letter.
    pub fn beginning_with(&self, letter: char) -> &[&'static str] {
        let start = self.0.partition_point(|word| word.chars().next() < Some(letter));
        let rest = &self.0[start..];
        &rest[..rest.partition_point(|word| word.starts_with(letter))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_plain_and_has_words_for_every_letter() {
        let words = Words::english();
        assert!(words.0.is_sorted() && words.0.len() > 60_000);
        let is_plain = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
        assert!(words.0.iter().all(|word| is_plain(word)));
        for letter in 'a'..='z' {
            let found = words.beginning_with(letter);
            assert!(found.len() > 20, "{letter}: {}", found.len());
            assert!(found.iter().all(|word| word.starts_with(letter)));
        }
        assert!(words.contains("water") && words.contains("river"));
        assert!(!words.contains("wxyz") && !words.contains("") && !words.contains("Water"));
    }
}
