//! Rust source without its comments and the contents of its strings, so that rules look at code.

/// The text with comments, string contents and character literals replaced by blanks. Line breaks
/// stay, so line numbers do too.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_from(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Every identifier and keyword of the code, with its line number.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(number, line)| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(move |word| (number + 1, word))
    })
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn skip_from(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied();
    match (chars[at], next(1)) {
        ('/', Some('/')) => find(chars, at, |rest| rest[0] == '\n'),
        ('/', Some('*')) => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('r', Some('"' | '#')) if !is_word_before(chars, at) => raw_string_end(chars, at),
        ('b', Some('r')) if !is_word_before(chars, at) => raw_string_end(chars, at + 1),
        ('\'', Some('\\')) => find(chars, at + 3, |rest| rest[0] == '\'') + 1,
        // A lifetime has no quote after its first letter.
        ('\'', Some(_)) if next(2) == Some('\'') => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| end(&chars[at..])).unwrap_or(chars.len())
}

fn is_word_before(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|at| chars[at]);
    before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_')
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `at` is the `r`. A raw identifier (`r#type`) is no string.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let is_end = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    (find(chars, at + 2 + hashes, is_end) + 1 + hashes).min(chars.len())
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    let kept = |text: &str| code_only(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(kept("a // b\nc /* d /* e */ f */ g"), "a c g");
    assert_eq!(kept(r#"let a = "x \" fn y"; b"#), "let a = ; b");
    assert_eq!(kept("r#\"a \"quoted\" b\"# c r##\"x\"# y\"## d"), "c d");
    assert_eq!(kept("br\"x\\\" y b\"z\" w"), "y b w");
    assert_eq!(kept("r#type for_r \"x\""), "r#type for_r");
    assert_eq!(
        kept("fn f<'a>(c: char) { c == '\"' || c == '\\'' || c == '{' } // x"),
        "fn f<'a>(c: char) { c == || c == || c == }"
    );
    assert_eq!(code_only("\"a\nb\"\nc").lines().count(), 3);
}

#[test]
fn words_have_line_numbers() {
    let found: Vec<_> = words("use a_b::c;\nd").collect();
    assert_eq!(found, [(1, "use"), (1, "a_b"), (1, "c"), (2, "d")]);
}
