//! Patterns of names.

/// Whether `name` fits `pattern`: `*` stands for any characters or none, `?` for one character,
/// anything else for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on if the last `*` has to take one character more.
    let mut again = None;
    loop {
        let before = pattern.clone();
        match (pattern.next(), name.clone().next()) {
            (Some('*'), _) => {
                again = Some((before, name.clone()));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                name.next();
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        // Only the last `*` need be tried: what stood before it fits as it is.
        let Some((star, mut rest)) = again.take() else { return false };
        if rest.next().is_none() {
            return false;
        }
        (pattern, name) = (star, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_take_what_they_need() {
        for (pattern, fits, fits_not) in [
            ("lobby", &["lobby"][..], &["lobb", "lobby1", ""][..]),
            ("battle-*", &["battle-", "battle-17"], &["battle", "a-battle-1"]),
            ("*", &["", "x", "Zoë"], &[]),
            ("*-?", &["a-b", "-ß", "a-b-c"], &["a-", "ab"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"], &["ab", "acb", "abcd"]),
            ("", &[""], &["a"]),
            ("a**", &["a", "ab"], &["b"]),
        ] {
            assert!(fits.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!fits_not.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let name = "a".repeat(255);
        assert!(!matches(&"*a".repeat(100), &format!("{name}b")));
    }
}
