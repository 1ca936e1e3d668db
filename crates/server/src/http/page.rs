//! The chat page, and what a browser may do with it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::sha256;

/// One file, and the client of [`sdk`](super::sdk) beside it.
pub(super) const HTML: &str = include_str!("../../page/index.html");

/// Only scripts of this server run, whatever somebody writes in a room: those within the page are
/// named by their hash.
static POLICY: LazyLock<String> = LazyLock::new(|| policy(HTML));

/// Where the page may connect is said last: here, and where WebTransport is.
pub(super) fn policy_with(webtransport: Option<&str>) -> String {
    let policy = POLICY.as_str();
    webtransport.map_or_else(|| policy.to_owned(), |origin| format!("{policy} {origin}"))
}

fn policy(html: &str) -> String {
    let mut hashes = String::new();
    for script in scripts(html) {
        hashes.push_str(&format!(" 'sha256-{}'", STANDARD.encode(sha256(script.as_bytes()))));
    }
    format!(
        "default-src 'none'; script-src 'self'{hashes}; style-src 'unsafe-inline'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
    )
}

/// What stands between `<script…>` and `</script>`, if anything does.
fn scripts(html: &str) -> impl Iterator<Item = &str> {
    html.split("<script").skip(1).filter_map(|rest| {
        let (_, body) = rest.split_once('>')?;
        let (body, _) = body.split_once("</script>")?;
        (!body.is_empty()).then_some(body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_named_by_their_hash() {
        // FIPS 180-2, appendix B.1: the digest of "abc".
        let html = "<script src=x></script><script>abc</script><p><script type=\"x\">abc</script>";
        let policy = policy(html);
        let hash = "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='";
        assert_eq!(policy.matches(hash).count(), 2, "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        assert!(HTML.starts_with("<!doctype html>") || HTML.starts_with("<!DOCTYPE html>"));
        for forbidden in ["src=\"http", "href=\"http", " onclick=", " onload=", " onsubmit="] {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
    }
}
