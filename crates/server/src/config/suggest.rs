//! "Did you mean": the known word nearest to a mistyped one.

/// The choice that differs from `word` by so few letters that it was probably meant.
pub(crate) fn nearest<'a>(
    word: &str,
    choices: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    // One slip in three letters, at least one: `prot` is `port`, but `tls` is not `tcp`.
    let slips_max = (word.chars().count() / 3).max(1);
    choices
        .into_iter()
        .map(|choice| (strsim::osa_distance(&word, &choice.to_ascii_lowercase()), choice))
        .filter(|&(slips, _)| slips <= slips_max)
        .min_by_key(|&(slips, _)| slips)
        .map(|(_, choice)| choice)
}

/// `; did you mean `x`?`, or nothing.
pub(crate) fn hint<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, choices).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("namepsace", ["dialect", "namespace"]), Some("namespace"));
        assert_eq!(nearest("prot", ["port"]), Some("port"));
        assert_eq!(nearest("tls", ["tcp"]), None);
        assert_eq!(nearest("WSS", ["ws", "wss"]), Some("wss"));
        assert_eq!(hint("elephant", ["namespace"]), "");
    }
}
