//! The table of SECURITY.md names tests that exist.

use std::collections::BTreeSet;

/// Every function of a file of Rust.
pub fn functions(text: &str) -> impl Iterator<Item = String> {
    let names = text.lines().filter_map(|line| line.trim_start().split_once("fn "));
    names.map(|(_, rest)| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// Rows whose last cell names a test that is not there.
pub fn check(security: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let rows = security.lines().filter(|line| line.starts_with("| S"));
    let complaints = rows.flat_map(|row| {
        let cells: Vec<_> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let (number, tests) = (cells.get(1).copied(), cells.last().copied());
        let names = tests.unwrap_or_default().split('`').skip(1).step_by(2);
        let missing = names.filter(|name| !functions.contains(*name));
        let number = number.unwrap_or_default();
        missing.map(move |name| format!("{number}: there is no test {name}")).collect::<Vec<_>>()
    });
    complaints.collect()
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let functions: BTreeSet<_> =
        functions("#[test]\nfn one() {}\n    async fn two() {\n").collect();
    let table =
        "| # | attack | tests |\n| S1 | `x` | `one`, `two` |\n| S2 | y | `three` |\n| S3 | z | |\n";
    assert_eq!(check(table, &functions), ["S2: there is no test three"]);
}
