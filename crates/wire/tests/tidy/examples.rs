//! Examples in the library's documentation: what a program can name is shown by a program that
//! runs.
//!
//! A *public name* is one that `lib.rs` or a public module of the library defines or passes on.
//! Every such type, trait and function has an example in its own documentation (or where it is
//! passed on), or a link there to one that has. Every public method of such a type or trait is
//! used in some example. Only examples that run count: blocks of Rust without `no_run` or `ignore`,
//! and the pages that run as tests.

use std::collections::{BTreeMap, BTreeSet};

/// Where the library is, and where what it passes on is defined.
const SOURCES: [&str; 13] = [
    "crates/server/src/",
    "crates/core/src/event.rs",
    "crates/core/src/hook.rs",
    "crates/core/src/io.rs",
    "crates/core/src/logic/",
    "crates/core/src/rights.rs",
    "crates/wire/src/error.rs",
    "crates/wire/src/id.rs",
    "crates/wire/src/name.rs",
    "crates/wire/src/options.rs",
    "crates/wire/src/payload.rs",
    "crates/wire/src/push.rs",
    "crates/wire/src/reply.rs",
];

const LIBRARY: &str = "crates/server/src/";

/// What is found in the sources.
#[derive(Default)]
struct Found {
    /// The public names.
    public: BTreeSet<String>,
    /// Each name's documentation, where it is defined and where it is passed on.
    docs: BTreeMap<String, String>,
    /// Types and traits with their methods, and where those are.
    methods: Vec<(String, String, String)>,
    /// The code of all examples that run.
    code: String,
}

/// What is public and shown by no example.
pub fn check<'a>(
    paths: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut found = Found::default();
    let in_library = |path: &str| SOURCES.iter().any(|folder| path.starts_with(folder));
    for path in paths.filter(|path| path.ends_with(".rs") && in_library(path)) {
        // The binary's verbs are no library.
        if !path.starts_with("crates/server/src/cli/") && !path.ends_with("/main.rs") {
            found.file(path, &read(path), &read);
        }
    }
    found.complaints()
}

impl Found {
    fn file(&mut self, path: &str, text: &str, read: impl Fn(&str) -> String) {
        let is_ours = path.starts_with(LIBRARY);
        let is_public = is_ours && is_public_module(path);
        let (mut doc, mut owner) = (String::new(), None);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let words = line.trim_start();
            if let Some(said) = words.strip_prefix("///").or_else(|| words.strip_prefix("//!")) {
                doc.push_str(said.strip_prefix(' ').unwrap_or(said));
                doc.push('\n');
                continue;
            }
            if let Some(page) = words.strip_prefix("#[doc = include_str!(\"../../../") {
                doc.push_str(&read(page.trim_end_matches("\")]")));
            }
            if words == "#[doc(hidden)]" {
                lines.next();
                doc.clear();
            } else if words.is_empty() || !words.starts_with("#[") {
                let is_outer = !line.starts_with(' ');
                if is_outer && let Some(rest) = words.strip_prefix("pub use ") {
                    let mut list = rest.to_owned();
                    while !list.contains(';') {
                        list.push_str(lines.next().unwrap_or(";"));
                    }
                    self.pass_on(&list, &doc, is_public);
                } else if is_outer {
                    owner = owner_of(words).or_else(|| owner.filter(|_| !words.starts_with('}')));
                }
                let of_trait = owner.as_ref().is_some_and(|(_, is_trait)| *is_trait);
                if let Some(name) = defined(words, !is_outer && of_trait) {
                    match &owner {
                        Some((owner, _)) if !is_outer => {
                            self.methods.push((path.to_owned(), owner.clone(), name.to_owned()));
                        }
                        _ => self.define(name, &doc, is_public),
                    }
                }
                if is_ours {
                    self.code.extend(code(&doc));
                }
                doc.clear();
            }
        }
    }

    fn define(&mut self, name: &str, doc: &str, is_public: bool) {
        self.docs.entry(name.to_owned()).or_default().push_str(doc);
        if is_public {
            self.public.insert(name.to_owned());
        }
    }

    /// `a::b::{c::D, E}`: the names that begin with a capital letter, and functions.
    fn pass_on(&mut self, list: &str, doc: &str, is_public: bool) {
        let names = list.split(['{', '}', ',', ';']).filter_map(|path| path.rsplit("::").next());
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let is_constant = name.len() > 1 && name == name.to_uppercase();
            if !is_constant {
                self.define(name, doc, is_public);
            }
        }
    }

    fn complaints(&self) -> Vec<String> {
        let has_example =
            |name: &str| self.docs.get(name).is_some_and(|doc| code(doc).next().is_some());
        let links_to_one = |doc: &str| {
            let links = doc.split("[`").skip(1).filter_map(|rest| rest.split("`]").next());
            links.flat_map(|link| link.rsplit("::")).any(has_example)
        };
        let unshown = self.public.iter().filter(|name| {
            self.docs.get(*name).is_some_and(|doc| !has_example(name) && !links_to_one(doc))
        });
        let mut complaints: Vec<_> =
            unshown.map(|name| format!("{name} has no example, and no link to one")).collect();
        for (path, owner, method) in &self.methods {
            if self.public.contains(owner) && !is_used(&self.code, method) {
                complaints.push(format!("{path}: no example uses {owner}::{method}"));
            }
        }
        complaints
    }
}

/// `lib.rs` makes these public.
fn is_public_module(path: &str) -> bool {
    let path = path.strip_prefix(LIBRARY).unwrap_or(path);
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let is_root = path.ends_with("/mod.rs") || !path.contains('/');
    is_root
        && ["auth", "config", "event", "groups", "hook", "lib", "logic", "testing"]
            .contains(&module)
        || path == "config/listener.rs"
}

/// What an `impl` or a `trait` is about, and whether its functions are public without a word.
fn owner_of(line: &str) -> Option<(String, bool)> {
    let trait_name = line.strip_prefix("pub trait ").map(|rest| (rest, true));
    let (rest, is_trait) = trait_name.or_else(|| {
        let rest = line.strip_prefix("impl")?;
        let rest = match rest.strip_prefix('<') {
            Some(generics) => generics.split_once("> ")?.1,
            None => rest.trim_start(),
        };
        (!rest.contains(" for ")).then_some((rest, false))
    })?;
    Some((word(rest).to_owned(), is_trait))
}

/// The name that a line defines, if all may use it.
fn defined(line: &str, in_trait: bool) -> Option<&str> {
    let line = match line.strip_prefix("pub ") {
        Some(rest) => rest,
        None if in_trait => line,
        None => return None,
    };
    let line = line.strip_prefix("const ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let kinds = ["struct ", "enum ", "trait ", "fn "];
    let name = word(kinds.iter().find_map(|kind| line.strip_prefix(kind))?);
    (!name.is_empty()).then_some(name)
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The lines of the examples that run.
fn code(doc: &str) -> impl Iterator<Item = String> {
    let (mut inside, mut counts) = (false, false);
    doc.lines().filter_map(move |line| match line.trim_start().strip_prefix("```") {
        Some(kind) => {
            inside = !inside;
            counts = inside && (kind.is_empty() || kind == "rust");
            None
        }
        None => counts.then(|| format!("{line}\n")),
    })
}

/// Whether a function is called or written in the code.
fn is_used(code: &str, function: &str) -> bool {
    code.match_indices(function).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + function.len()..].chars().next();
        matches!(before, Some('.' | ':' | ' ')) && matches!(after, Some('(' | ':' | ')' | ','))
    })
}

#[cfg(test)]
fn complaints(lib: &str, private: &str) -> Vec<String> {
    let files = [("crates/server/src/lib.rs", lib), ("crates/server/src/inner.rs", private)];
    let read =
        |path: &str| files.iter().find(|(name, _)| *name == path).map_or("", |(_, text)| text);
    check(files.iter().map(|(path, _)| *path), |path| read(path).to_owned())
}

#[test]
fn what_no_example_shows_is_found() {
    let bare = "/// A thing.\npub struct Thing;\nimpl Thing {\n    pub fn turn(&self) {}\n}\n";
    assert_eq!(complaints("mod inner;\n", bare), [""; 0], "nobody can name it");
    let passed_on = complaints("mod inner;\npub use inner::{Thing, LENGTH_MAX};\n", bare);
    assert_eq!(
        passed_on,
        [
            "Thing has no example, and no link to one",
            "crates/server/src/inner.rs: no example uses Thing::turn"
        ]
    );
}

#[test]
fn an_example_counts_if_it_runs() {
    let with = |fence: &str| {
        format!(
            "/// {fence}\n/// Thing.turn();\n/// ```\npub struct Thing;\n\
        impl Thing {{\n    pub async fn turn(&self) {{}}\n    fn hidden() {{}}\n}}\n\
        impl Clone for Thing {{\n    fn clone(&self) -> Self {{}}\n}}\n"
        )
    };
    assert_eq!(complaints("pub use inner::Thing;\n", &with("```")), [""; 0]);
    assert_eq!(complaints("pub use inner::Thing;\n", &with("```no_run")).len(), 2);
    let linked = with("```") + "/// See [`Thing`].\npub enum Other {}\n";
    assert_eq!(complaints("pub use inner::{Other, Thing};\n", &linked), [""; 0]);
    let passed_on = "/// ```\n/// Thing.turn()\n/// ```\npub use inner::Thing;\n";
    assert_eq!(complaints(passed_on, &with("```text")), [""; 0]);
}
