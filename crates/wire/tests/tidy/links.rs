//! Links between the documents.

/// Every relative link of a Markdown file that leads to no file, or to no heading of its own file.
pub fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for target in targets(text) {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        if file.contains("://") || file.starts_with("mailto:") {
            continue;
        }
        if file.is_empty() {
            if !headings(text).any(|found| found == heading) {
                complaints.push(format!("there is no heading for #{heading}"));
            }
        } else if !resolve(path, file).is_some_and(|file| exists(&file)) {
            complaints.push(format!("the link to {file} leads nowhere"));
        }
    }
    complaints
}

/// What stands in `](…)`, outside of code.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next())
    })
}

/// The headings as links write them: lower case, `-` for blanks, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The target's path from the root; none if it leaves the workspace.
fn resolve(from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let exists = |path: &str| ["README.md", "docs/a.md"].contains(&path);
    let check = |path: &str, text: &str| check(path, text, exists);
    assert_eq!(check("README.md", "[a](docs/a.md) [b](https://b.example/c.md)").len(), 0);
    assert_eq!(check("README.md", "[a](docs/b.md)"), ["the link to docs/b.md leads nowhere"]);
    assert_eq!(check("docs/a.md", "[a](../README.md#x) [b](a.md)").len(), 0);
    assert_eq!(check("docs/a.md", "[a](README.md) [b](../../x.md)").len(), 2);
    assert_eq!(check("README.md", "```\n[a](nowhere.md)\n```\n").len(), 0);
}

#[test]
fn a_link_to_no_heading_is_found() {
    let text = "# The words, and more\n[a](#the-words-and-more) [b](#else)\n";
    assert_eq!(check("a.md", text, |_| true), ["there is no heading for #else"]);
}
