//! Request heads: incomplete, refused or read; what is accepted gets a whole `101`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roomcast_wire::ws::client;
use roomcast_wire::ws::handshake::{HEAD_BYTES_MAX, SitePolicy, accept, read_head, refusal};

fuzz_target!(|bytes: &[u8]| {
    let _ = client::check_response(bytes, [0; 16]);
    let head = match read_head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(error) => return check(&refusal(&error)),
    };
    assert!(head.len <= HEAD_BYTES_MAX && bytes[..head.len].ends_with(b"\r\n\r\n"));
    assert!(matches!(read_head(&bytes[..head.len - 1]), Ok(None)));
    let origins = vec!["*".to_owned()];
    let open = SitePolicy { any_host: true, origins, ..SitePolicy::default() };
    for policy in [SitePolicy::default(), open] {
        match accept(&head, &policy, true, None) {
            Ok(accepted) => check(&accepted.response()),
            Err(error) => check(&refusal(&error)),
        }
    }
});

/// Nothing of the request may add a line to the answer's head.
fn check(response: &[u8]) {
    let text = std::str::from_utf8(response).expect("text");
    let (head, _) = text.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 "));
    assert!(head.lines().count() <= 7);
}
