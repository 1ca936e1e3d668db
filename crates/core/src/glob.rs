//! Patterns of names: `*` stands for any run of characters, everything else for itself.

/// Whether `text` is what `pattern` describes.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where to go on if what follows the last star does not fit: one character more for the star.
    let mut retry = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, read));
            }
            Some(byte) if *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after_star, from)) = retry else { return false };
                at = after_star;
                read = from + 1;
                retry = Some((after_star, read));
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_run_and_nothing_else_is_special() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "lobby"),
            ("lobby", "lobby"),
            ("battle-*", "battle-"),
            ("battle-*", "battle-7"),
            ("*-eu", "battle-eu-eu"),
            ("a*b*c", "aXbYbZc"),
            ("a**c", "abc"),
            ("a.?[c]", "a.?[c]"),
            ("Zo*🍾", "Zoë 🍾"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("lobby", "lobby2"),
            ("lobby", "Lobby"),
            ("battle-*", "battle"),
            ("battle-*", "a-battle-7"),
            ("a*b*c", "aXbYbZ"),
            ("a.?[c]", "abxc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_name_is_no_puzzle() {
        // Quadratic at worst: 255 by 255 steps.
        let pattern = format!("{}b", "*a".repeat(120));
        assert!(!matches(&pattern, &"a".repeat(255)));
    }
}
