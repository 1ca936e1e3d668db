//! The JavaScript client (`sdk/js`) in one file, so that a page needs neither package nor build.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::tls::sha256;

/// The path of the file, and of what a browser's tools need to show its sources.
pub(super) const SCRIPT: &str = "/roomcast.js";
pub(super) const SOURCE_MAP: &str = "/roomcast.js.map";

static SCRIPT_FILE: LazyLock<File> = LazyLock::new(|| {
    let bytes = include_bytes!("../../page/dist/roomcast.js");
    File::new("text/javascript; charset=utf-8", bytes)
});

static SOURCE_MAP_FILE: LazyLock<File> = LazyLock::new(|| {
    let bytes = include_bytes!("../../page/dist/roomcast.js.map");
    File::new("application/json", bytes)
});

pub(super) async fn script(headers: HeaderMap) -> Response {
    SCRIPT_FILE.answer(&headers)
}

pub(super) async fn source_map(headers: HeaderMap) -> Response {
    SOURCE_MAP_FILE.answer(&headers)
}

/// A file that is the same for everybody.
struct File {
    kind: &'static str,
    bytes: &'static [u8],
    /// Empty if it could not be made: then nobody gets it.
    gzipped: Vec<u8>,
    /// A weak one, which stands for the file in either encoding.
    etag: String,
}

impl File {
    fn new(kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash: String = sha256(bytes).iter().take(12).map(|b| format!("{b:02x}")).collect();
        let gzipped = gzip(bytes).unwrap_or_default();
        Self { kind, bytes, gzipped, etag: format!("W/\"{hash}\"") }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let etag = HeaderValue::try_from(&self.etag).unwrap_or(HeaderValue::from_static("W/\"\""));
        let about: [(HeaderName, HeaderValue); 4] = [
            (ETAG, etag),
            // Asked for each time, and 304 as long as the server is the same one.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VARY, HeaderValue::from_static("accept-encoding")),
            // No secret: pages of other sites may check it by its hash (`integrity`).
            (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        ];
        if names(asked, &IF_NONE_MATCH, &self.etag) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(CONTENT_TYPE, HeaderValue::from_static(self.kind))];
        if self.gzipped.is_empty() || !names(asked, &ACCEPT_ENCODING, "gzip") {
            return (about, kind, self.bytes).into_response();
        }
        let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (about, kind, encoding, self.gzipped.clone()).into_response()
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Whether a list of a header has this word. One with a weight (`gzip;q=0`) is not taken: no
/// browser sends any, and the plain file is right for everybody.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim() == word)
}
