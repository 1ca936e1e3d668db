//! Nothing half done, switched off, or of one machine only.

/// Spelled in parts, so that this file holds none of them.
const WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

const CODE: &[(&str, &str)] = &[
    (concat!("to", "do!("), "half done"),
    (concat!("unimpl", "emented!("), "half done"),
    (concat!("db", "g!("), "left over from a search"),
    (concat!("#[ign", "ore"), "a test runs or is deleted"),
    (concat!("it.sk", "ip("), "a test runs or is deleted"),
    (concat!("test.sk", "ip("), "a test runs or is deleted"),
];

/// Folders that exist on one machine.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

const ENDINGS: &[&str] =
    &["css", "html", "js", "json", "justfile", "md", "mjs", "rs", "run", "sh", "toml", "ts", "yml"];

pub fn applies(path: &str) -> bool {
    let ending = path.rsplit(['.', '/']).next().unwrap_or(path);
    ENDINGS.contains(&ending)
}

pub fn check(_: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let words = line.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| WORDS.contains(word)) {
            complaints.push(format!("line {number}: {word}"));
        }
        for (code, reason) in CODE.iter().filter(|(code, _)| line.contains(code)) {
            complaints.push(format!("line {number}: `{code}`: {reason}"));
        }
        for place in PLACES.iter().filter(|place| names_place(line, place)) {
            complaints.push(format!("line {number}: {place} is a path of one machine"));
        }
    }
    complaints
}

/// Whether an absolute path begins there, and not the middle of another path or a URL.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}'))
    })
}

#[test]
fn each_leftover_is_found() {
    for word in WORDS {
        assert_eq!(check("", &format!("a\n// {word}: later\n")), [format!("line 2: {word}")]);
        assert_eq!(check("", &format!("{word}S and MY{word}")).len(), 0);
    }
    for (code, _) in CODE {
        assert_eq!(check("", &format!("    {code}")).len(), 1, "{code}");
    }
    for place in PLACES {
        assert_eq!(check("", &format!("see {place}x")).len(), 1, "{place}");
        assert_eq!(check("", &format!("https://example.org{place}x")).len(), 0, "{place}");
    }
}

#[test]
fn it_looks_at_sources_and_not_at_lock_files() {
    for path in ["a/b.rs", "justfile", ".ci/run", "README.md", "Cargo.toml"] {
        assert!(applies(path), "{path}");
    }
    assert!(!applies("Cargo.lock") && !applies("a.png"));
}
