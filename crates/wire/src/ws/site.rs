//! Who may connect from a web page: the checks of `Host` and `Origin`.
//!
//! Browsers let any page open a WebSocket to any address and send along whatever the user's
//! browser knows. `Origin` says which page it was; `Host`, under which name the page knew the
//! server: a page of `evil.example` whose name is made to point at 127.0.0.1 shows there.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::handshake::{Head, HeadError};

/// Which web pages may connect, and under which host names the server may be addressed.
#[derive(Debug, Clone, Default)]
pub struct SitePolicy {
    /// Origins beside the server's own (`https://example.org`); `*` allows all.
    pub origins: Vec<String>,
    /// Host names (without port) beside localhost and loopback addresses; empty with
    /// `any_host: true` where the listener is not on loopback.
    pub hosts: Vec<String>,
    /// Whether any `Host` is taken. `false` on loopback listeners, against DNS rebinding.
    pub any_host: bool,
    /// Ports of this server's other listeners, whose pages are its own, too: WebTransport has a
    /// port beside that of the page.
    pub page_ports: Vec<u16>,
}

impl Head<'_> {
    /// Whether the `Host` header is one the server may be addressed by.
    ///
    /// # Errors
    /// The response to refuse it with.
    pub fn check_host(&self, policy: &SitePolicy) -> Result<(), HeadError> {
        if policy.any_host {
            return Ok(());
        }
        let host = self.single("host")?.unwrap_or_default();
        let allowed = split_port(host).is_some_and(|(name, _)| {
            is_loopback(name) || policy.hosts.iter().any(|host| same_name(host, name))
        });
        if allowed {
            return Ok(());
        }
        Err(HeadError::new(
            421,
            format!(
                "this server is not known as {:?}; the setting http.hosts lists its names",
                shortened(host)
            ),
        ))
    }

    /// Whether the web page, if it is one, may connect. Other clients send no `Origin`.
    ///
    /// # Errors
    /// The response to refuse it with.
    pub fn check_origin(&self, policy: &SitePolicy) -> Result<(), HeadError> {
        let Some(origin) = self.single("origin")? else { return Ok(()) };
        if policy.origins.iter().any(|allowed| allowed == "*") {
            return Ok(());
        }
        let host = self.single("host")?.unwrap_or_default();
        let allowed = Origin::parse(origin).is_some_and(|origin| {
            origin.is_of(host)
                || origin.is_beside(host, &policy.page_ports)
                || policy.origins.iter().any(|allowed| Origin::parse(allowed) == Some(origin))
        });
        if allowed {
            return Ok(());
        }
        Err(HeadError::new(
            403,
            format!(
                "pages of {:?} may not connect; the setting http.origins lists those that may",
                shortened(origin)
            ),
        ))
    }
}

/// `scheme://host[:port]`, as browsers write it (RFC 6454 section 6.2), and nothing else: no path,
/// no user, no characters beyond ASCII.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        // Go's `websocket.Dial` sends the page's URL as it was written, mostly with its `/`.
        let (host, port) = split_port(authority.strip_suffix('/').unwrap_or(authority))?;
        Some(Self { scheme, host, port: port.or(default_port(scheme)) })
    }

    /// Whether the page came from the server itself. The scheme is not compared: behind a proxy
    /// that ends TLS the page is `https`, and the request is not.
    fn is_of(self, host: &str) -> bool {
        let Some(default) = default_port(self.scheme) else { return false };
        split_port(host).is_some_and(|(name, port)| {
            name.eq_ignore_ascii_case(self.host) && Some(port.unwrap_or(default)) == self.port
        })
    }

    /// Whether the page came from another port of the server. On loopback the page may know it
    /// by another name.
    fn is_beside(self, host: &str, ports: &[u16]) -> bool {
        let is_page = self.port.is_some_and(|port| ports.contains(&port));
        is_page
            && split_port(host).is_some_and(|(name, _)| {
                name.eq_ignore_ascii_case(self.host)
                    || (is_loopback(name) && is_loopback(self.host))
            })
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    let is = |other: &str| scheme.eq_ignore_ascii_case(other);
    if is("http") {
        Some(80)
    } else if is("https") {
        Some(443)
    } else {
        None
    }
}

/// `host[:port]`; an IPv6 address stands in brackets, which stay.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_len = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(host_len)?;
    if host.starts_with('[') {
        parse_v6(host)?;
    } else if host.is_empty()
        || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    {
        return None;
    }
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((host, Some(digits.parse().ok()?)))
}

fn is_loopback(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || parse_v6(&name).is_some_and(|address| address.to_canonical().is_loopback())
}

fn parse_v6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether a configured name is that of a `Host` header; brackets may be left out in the former.
fn same_name(configured: &str, name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    configured.eq_ignore_ascii_case(name) || configured.eq_ignore_ascii_case(bare)
}

/// A message repeats at most this much of what a stranger sent.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_off_strictly() {
        assert_eq!(split_port("a.example:80").unwrap(), ("a.example", Some(80)));
        assert_eq!(split_port("[::1]:7400").unwrap(), ("[::1]", Some(7400)));
        assert_eq!(split_port("[::1]").unwrap(), ("[::1]", None));
        let bad = [
            "", ":80", "a:", "a:b", "a:70000", "a:+80", "a@b", "a b", "[::1", "[::1]x", "[x]",
            "a/b",
        ];
        for bad in bad {
            assert_eq!(split_port(bad), None, "{bad}");
        }
    }
}
