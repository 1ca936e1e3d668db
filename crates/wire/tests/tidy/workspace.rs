//! The files of the workspace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What builds and package managers put between the sources.
const NOT_SOURCE: &[&str] =
    &[".git", "__pycache__", "artifacts", "corpus", "dist", "node_modules", "target"];

/// Every file of the workspace, by its path from the root with `/` between.
pub struct Files(BTreeSet<String>);

impl Files {
    pub fn all() -> Self {
        let mut found = BTreeSet::new();
        walk(&root(), "", &mut found);
        Self(found)
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is such a file, or a folder of files.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.contains(path) || self.0.iter().any(|file| file.starts_with(&folder))
    }
}

/// The text of one file; what is not UTF-8 is replaced.
pub fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent);
    crates.expect("this crate stands two folders below the root").to_owned()
}

fn walk(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if NOT_SOURCE.contains(&name.as_str()) {
            continue;
        }
        if is_folder {
            walk(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}
