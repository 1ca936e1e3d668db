//! Where the page finds WebTransport: beside it, on a port of its own.

use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roomcast_wire::h3::connect::PATH;

use crate::config::listener::Scheme;
use crate::server::Shared;

/// The path of the answer.
pub(super) const OFFER: &str = "/webtransport";

/// What a page needs for a WebTransport session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// `https://host:port`.
    origin: String,
    /// SHA-256 of a certificate that nobody has signed.
    hash: Option<Vec<u8>>,
}

impl Offer {
    /// The offer of the server whose page was asked for; none if it has no QUIC in that
    /// listener's namespace.
    pub(super) fn of(shared: &Shared, listener: usize, headers: &HeaderMap) -> Option<Self> {
        let namespace = &shared.listeners.get(listener)?.namespace;
        let beside = shared.listeners.iter().find(|other| {
            other.transport.scheme == Scheme::Quic && other.namespace == *namespace
        })?;
        let (address, tls) = (beside.address?, beside.tls.as_ref()?);
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        Self::at(address, tls.development_hash(), host)
    }

    fn at(address: SocketAddr, hash: Option<Vec<u8>>, host: Option<&str>) -> Option<Self> {
        let origin = match hash {
            // It is for this machine only; a name of it may stand for an address that nobody
            // listens on.
            Some(_) => format!("https://{address}"),
            // The certificate is for the name that the page was asked for by.
            None => format!("https://{}:{}", name(host?)?, address.port()),
        };
        Some(Self { origin, hash })
    }

    /// For the page's policy.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// For the page: an empty object says that there is none.
    pub(super) fn json(offer: Option<&Self>) -> String {
        let Some(Self { origin, hash }) = offer else { return "{}\n".to_owned() };
        let hash = hash.as_ref().map(|hash| STANDARD.encode(hash));
        let json = serde_json::json!({ "url": format!("{origin}{PATH}"), "hash": hash });
        format!("{json}\n")
    }
}

/// The host without its port, if it is one: it becomes a part of the page's policy.
fn name(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = host.get(..end)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-.[]:".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_part)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_page_unless_the_certificate_is_for_this_machine() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7403));
        let at = |hash, host| Offer::at(address, hash, host).map(|offer| offer.origin);
        let here = Some("https://127.0.0.1:7403".to_owned());
        assert_eq!(at(Some(vec![1]), Some("localhost:7400")), here);
        let there = Some("https://chat.example:7403".to_owned());
        assert_eq!(at(None, Some("chat.example:7400")), there);
        assert_eq!(at(None, Some("[::1]:7400")).as_deref(), Some("https://[::1]:7403"));
        for none in [None, Some(""), Some("a; script-src *"), Some("[::1"), Some("a b")] {
            assert_eq!(at(None, none), None, "{none:?}");
        }
        assert_eq!(Offer::json(None), "{}\n");
        let offer = Offer::at(address, Some(vec![0xff; 3]), None);
        let json = Offer::json(offer.as_ref());
        assert_eq!(json, "{\"hash\":\"////\",\"url\":\"https://127.0.0.1:7403/wt\"}\n");
    }
}
