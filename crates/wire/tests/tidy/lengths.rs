//! Files ≤ 600 lines, functions ≤ 70, lines ≤ 100 columns.

use crate::source::code_only;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

pub fn applies(path: &str) -> bool {
    [".rs", ".ts", ".js", ".mjs"].iter().any(|ending| path.ends_with(ending))
}

pub fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("{lines} lines, {FILE_LINES_MAX} are allowed"));
    }
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            let number = number + 1;
            complaints.push(format!("line {number} has {columns} columns, not {COLUMNS_MAX}"));
        }
    }
    let code = if path.ends_with(".rs") { code_only(text) } else { text.to_owned() };
    for (number, name, lines) in functions(&code, path.ends_with(".rs")) {
        if lines > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "line {number}: `{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed"
            ));
        }
    }
    complaints
}

/// First line, name and length of each function. The code is formatted, so a function ends at the
/// first line that closes a brace at the indentation of its first line.
fn functions(code: &str, rust: bool) -> Vec<(usize, String, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let name = if rust { rust_function(line) } else { script_function(line) };
        let Some(name) = name else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let rest = lines[start..].iter().enumerate();
        let mut ends = rest.filter(|(n, line)| {
            let one_line = *n == 0 && (line.trim_end().ends_with('}') || line.ends_with(';'));
            // The signature of a trait's method may end some lines below.
            let declared = rust && line.starts_with(indent) && line.ends_with(");");
            one_line
                || declared && !line[indent.len()..].starts_with(' ')
                || line.starts_with(&close)
        });
        let lines = ends.next().map_or(lines.len() - start, |(n, _)| n + 1);
        found.push((start + 1, name, lines));
    }
    found
}

fn rust_function(line: &str) -> Option<String> {
    let before = line.find("fn ")?;
    let words = ["pub", "const", "async", "unsafe", "extern"];
    let is_head = line[..before]
        .split_whitespace()
        .all(|word| words.contains(&word) || word.starts_with("pub(") || word.ends_with(')'));
    let name: String =
        line[before + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (is_head && !name.is_empty()).then_some(name)
}

/// `function name(` and methods `name(…) {`, whatever stands before them.
fn script_function(line: &str) -> Option<String> {
    let line = line.trim();
    let (head, _) = line.split_once('(')?;
    let mut words: Vec<_> = head.split_whitespace().collect();
    let name = words.pop()?.trim_start_matches(['*', '#']);
    let modifiers = [
        "async",
        "default",
        "export",
        "function",
        "function*",
        "get",
        "private",
        "protected",
        "public",
        "set",
        "static",
    ];
    let statements = ["catch", "for", "if", "return", "switch", "while", "with"];
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    let is_function = words.iter().all(|word| modifiers.contains(word))
        && is_name
        && !name.is_empty()
        && !statements.contains(&name)
        && line.ends_with('{');
    // Else it is a call whose argument is a function: `suite("…", () => {`.
    let is_call = !words.iter().any(|word| word.starts_with("function")) && line.contains("=>");
    (is_function && !is_call).then(|| name.to_owned())
}

#[cfg(test)]
fn function(lines: usize) -> String {
    format!(
        "    pub fn long(\n        a: u8,\n    ) {{\n{}    }}\n",
        "        a();\n".repeat(lines - 4)
    )
}

#[test]
fn a_long_function_is_found_and_its_neighbours_are_not() {
    let text = |lines| {
        format!("impl A {{\n    fn short() {{}}\n\n{}\n    fn end();\n}}\n", function(lines))
    };
    assert_eq!(check("a.rs", &text(70)), Vec::<String>::new());
    assert_eq!(check("a.rs", &text(71)), ["line 4: `long` has 71 lines, 70 are allowed"]);
}

#[test]
fn what_only_looks_like_a_function_is_not_counted() {
    let text = format!("const A: &str = \"\nfn a() {{\n{}\";\n", "x\n".repeat(90));
    assert_eq!(check("a.rs", &text), Vec::<String>::new());
    let text = format!("type F = fn (u8);\n{}", "const A: u8 = 1;\n".repeat(90));
    assert_eq!(check("a.rs", &text), Vec::<String>::new());
    let text = format!(
        "trait A {{\n    fn a(\n        b: u8,\n    );\n{}}}\n",
        "    type B;\n".repeat(90)
    );
    assert_eq!(functions(&code_only(&text), true), [(2, "a".to_owned(), 3)]);
}

#[test]
fn functions_of_scripts_are_measured_too() {
    let body = "  x();\n".repeat(69);
    let expected = ["line 1: `f` has 71 lines, 70 are allowed"];
    for head in
        ["export async function f(a) {", "function* f() {", "async f(a, b) {", "static #f() {"]
    {
        assert_eq!(check("a.ts", &format!("{head}\n{body}}}\n")), expected, "{head}");
    }
    for head in ["if (a) {", "} else if (a) {", "suite(\"a\", () => {", "for (const a of b) {"] {
        assert_eq!(check("a.js", &format!("{head}\n{body}}}\n")), Vec::<String>::new(), "{head}");
    }
}

#[test]
fn long_files_and_wide_lines_are_found() {
    let found = check("a.rs", &"a();\n".repeat(601));
    assert_eq!(found, ["601 lines, 600 are allowed"]);
    assert_eq!(check("a.rs", &"é".repeat(100)), Vec::<String>::new());
    assert_eq!(check("a.rs", &"é".repeat(101)), ["line 1 has 101 columns, not 100"]);
    assert!(applies("a.mjs") && !applies("a.html"));
}
