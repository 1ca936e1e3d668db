//! The tables of the documents that name tests name tests that exist: the threats of SECURITY.md,
//! the functions of other systems in `docs/coming-from-*.md`.

use std::collections::BTreeSet;

/// Every function of a file of Rust.
pub fn functions(text: &str) -> impl Iterator<Item = String> {
    let names = text.lines().filter_map(|line| line.trim_start().split_once("fn "));
    names.map(|(_, rest)| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// Rows whose last cell names a test that is not there, or none, in every table whose last column
/// is called `test` or `tests`. A row that has nothing to test says `–`.
pub fn check(document: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut names_tests = false;
    let mut before = "";
    for line in document.lines() {
        let cells = cells(line);
        let (first, last) = (cells.first().copied(), cells.last().copied().unwrap_or_default());
        match first {
            None => names_tests = false,
            // The header, then the line below it.
            Some(_) if !before.starts_with('|') => names_tests = ["test", "tests"].contains(&last),
            Some(rule) if rule.starts_with("---") => {}
            Some(row) if names_tests => {
                let names: Vec<_> = last.split('`').skip(1).step_by(2).collect();
                if names.is_empty() && last != "–" {
                    complaints.push(format!("{row}: names no test"));
                }
                let missing = names.iter().filter(|name| !functions.contains(**name));
                complaints.extend(missing.map(|name| format!("{row}: there is no test {name}")));
            }
            Some(_) => {}
        }
        before = line;
    }
    complaints
}

/// The cells of a table's row; none if the line is none. A bar in a cell is written `\|`.
fn cells(line: &str) -> Vec<&str> {
    let Some(row) = line.strip_prefix('|') else { return Vec::new() };
    let row = row.trim_end().strip_suffix('|').unwrap_or(row);
    let mut cells = Vec::new();
    let mut start = 0;
    for (at, _) in row.match_indices('|') {
        if !row[..at].ends_with('\\') {
            cells.push(row[start..at].trim());
            start = at + 1;
        }
    }
    cells.push(row[start..].trim());
    cells
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let functions: BTreeSet<_> =
        functions("#[test]\nfn one() {}\n    async fn two() {\n").collect();
    let table = "| # | attack | tests |\n| --- | --- | --- |\n| S1 | `x \\| y` | `one`, `two` |\n\
                 | S2 | y | `three` |\n| S3 | z | |\n| S4 | not yet | – |\n";
    let expected = ["S2: there is no test three", "S3: names no test"];
    assert_eq!(check(table, &functions), expected);
    let other = "| theirs | ours |\n| --- | --- |\n| `emit` | `publish` |\n\n";
    assert_eq!(check(other, &functions), Vec::<String>::new());
    assert_eq!(check(&format!("{other}{table}\n{other}"), &functions), expected);
}
