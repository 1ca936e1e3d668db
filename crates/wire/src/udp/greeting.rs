//! How a session begins: `hello` → `retry` with a cookie → `hello` with it → `accept`.
//!
//! Until the second `hello` the server keeps nothing and sends less than it was sent. A cookie is
//! good for the address that it was sent to and the nonce of its `hello`, for one to two minutes.

use std::net::SocketAddr;
use std::time::Duration;

use super::seal::{Key, TAG_BYTES, address_bytes};
use super::{DATAGRAM_BYTES_MAX, HELLO_BYTES_MIN};
use crate::Codec;

/// What every greeting begins with, behind its kind: two letters and the version.
const MAGIC: [u8; 3] = [b'R', b'C', 1];

const HELLO: u8 = 0x01;
const RETRY: u8 = 0x02;
const ACCEPT: u8 = 0x03;
const REFUSE: u8 = 0x04;
const GONE: u8 = 0x05;

/// Bytes of a cookie.
const COOKIE_BYTES: usize = 4 + TAG_BYTES;

/// Seconds for which the server makes cookies of one kind; those of the time before are taken too.
const COOKIE_S: u64 = 60;

/// How long until the first `hello` is repeated; each time twice as long, up to the longest.
const REPEAT: Duration = Duration::from_millis(250);
const REPEAT_LONGEST: Duration = Duration::from_secs(2);

/// A cookie as it is sent: when it was made, and a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie([u8; COOKIE_BYTES]);

/// A datagram without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// The client wants a session.
    Hello {
        /// Drawn by the client; answers repeat it.
        nonce: u64,
        /// How it will speak.
        codec: Codec,
        /// What it was given by `retry`, if it was.
        cookie: Option<Cookie>,
    },
    /// The client shall show that it receives.
    Retry {
        /// That of the `hello`.
        nonce: u64,
        /// To be sent with the next.
        cookie: Cookie,
    },
    /// The session stands.
    Accept {
        /// That of the `hello`.
        nonce: u64,
        /// Of the connection.
        id: u64,
        /// Of its tags.
        key: Key,
    },
    /// There is no session for this client now.
    Refuse {
        /// That of the `hello`.
        nonce: u64,
        /// Why, as a number of [`CloseCode`](crate::CloseCode).
        code: u16,
        /// How long to wait before the next try, in milliseconds.
        retry_ms: u32,
    },
    /// The server knows no such connection (any more).
    Gone {
        /// Of the connection.
        id: u64,
    },
}

impl Greeting {
    /// Reads a datagram; none: it is no greeting, of another version, or a `hello` that is too
    /// short to be answered.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let (&kind, rest) = datagram.split_first()?;
        let (nonce, rest) = rest.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let nonce = u64::from_be_bytes(*nonce);
        match kind {
            HELLO if datagram.len() >= HELLO_BYTES_MIN => {
                let (&codec, rest) = rest.split_first()?;
                let codec = match codec {
                    0 => Codec::Json,
                    1 => Codec::MsgPack,
                    _ => return None,
                };
                let cookie = *rest.first_chunk()?;
                let cookie = Some(Cookie(cookie)).filter(|_| cookie != [0; COOKIE_BYTES]);
                Some(Self::Hello { nonce, codec, cookie })
            }
            RETRY => Some(Self::Retry { nonce, cookie: Cookie(*rest.first_chunk()?) }),
            ACCEPT => {
                let (id, rest) = rest.split_first_chunk()?;
                let key = Key::new(*rest.first_chunk()?);
                Some(Self::Accept { nonce, id: u64::from_be_bytes(*id), key })
            }
            REFUSE => {
                let (code, rest) = rest.split_first_chunk()?;
                let retry_ms = u32::from_be_bytes(*rest.first_chunk()?);
                Some(Self::Refuse { nonce, code: u16::from_be_bytes(*code), retry_ms })
            }
            GONE => Some(Self::Gone { id: nonce }),
            _ => None,
        }
    }

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        let (kind, nonce) = match self {
            Self::Hello { nonce, .. } => (HELLO, nonce),
            Self::Retry { nonce, .. } => (RETRY, nonce),
            Self::Accept { nonce, .. } => (ACCEPT, nonce),
            Self::Refuse { nonce, .. } => (REFUSE, nonce),
            Self::Gone { id } => (GONE, id),
        };
        out.push(kind);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&nonce.to_be_bytes());
        match self {
            Self::Hello { codec, cookie, .. } => {
                out.push(u8::from(*codec == Codec::MsgPack));
                out.extend_from_slice(&cookie.map_or([0; COOKIE_BYTES], |cookie| cookie.0));
                out.resize(HELLO_BYTES_MIN, 0);
            }
            Self::Retry { cookie, .. } => out.extend_from_slice(&cookie.0),
            Self::Accept { id, key, .. } => {
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(key.bytes());
            }
            Self::Refuse { code, retry_ms, .. } => {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(&retry_ms.to_be_bytes());
            }
            Self::Gone { .. } => {}
        }
        out
    }
}

/// Makes and checks cookies, without remembering any.
#[derive(Debug)]
pub struct Cookies(Key);

impl Cookies {
    /// Cookies of one server.
    pub const fn new(key: Key) -> Self {
        Self(key)
    }

    /// The cookie for a `hello`.
    pub fn make(&self, now: Duration, from: SocketAddr, nonce: u64) -> Cookie {
        self.of(period(now), from, nonce)
    }

    /// Whether a cookie was made for this address and nonce, lately.
    pub fn check(&self, now: Duration, from: SocketAddr, nonce: u64, cookie: Cookie) -> bool {
        let now = period(now);
        let made = cookie.0.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let recent = made == now || made == now.wrapping_sub(1);
        // Of two values that differ in a secret tag: compared as numbers, in one step.
        let own = self.of(made, from, nonce).0;
        recent && padded(own) == padded(cookie.0)
    }

    fn of(&self, period: u32, from: SocketAddr, nonce: u64) -> Cookie {
        let mut said = [0; 4 + 18 + 8];
        said[..4].copy_from_slice(&period.to_be_bytes());
        said[4..22].copy_from_slice(&address_bytes(from));
        said[22..].copy_from_slice(&nonce.to_be_bytes());
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..4].copy_from_slice(&said[..4]);
        cookie[4..].copy_from_slice(&self.0.tag(&said));
        Cookie(cookie)
    }
}

/// How long a cookie is good at most; who has used one needs to be remembered no longer.
pub const COOKIE_LIFE: Duration = Duration::from_secs(2 * COOKIE_S);

/// Never 0, so that no cookie is all zeros.
fn period(now: Duration) -> u32 {
    (now.as_secs() / COOKIE_S + 1) as u32
}

fn padded(cookie: [u8; COOKIE_BYTES]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..COOKIE_BYTES].copy_from_slice(&cookie);
    u128::from_be_bytes(bytes)
}

/// The client's side of the beginning.
#[derive(Debug)]
pub struct Greeter {
    nonce: u64,
    codec: Codec,
    cookie: Option<Cookie>,
    repeat: Duration,
    next: Duration,
}

/// How the beginning came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeted {
    /// The session stands.
    Accepted {
        /// Of the connection.
        id: u64,
        /// Of its tags.
        key: Key,
    },
    /// There is none for this client now.
    Refused {
        /// Why, as a number of [`CloseCode`](crate::CloseCode).
        code: u16,
        /// How long to wait before the next try, in milliseconds.
        retry_ms: u32,
    },
}

impl Greeter {
    /// A beginning. `nonce` is random: nobody else can answer then who does not see the `hello`.
    pub const fn new(nonce: u64, codec: Codec, now: Duration) -> Self {
        Self { nonce, codec, cookie: None, repeat: REPEAT, next: now }
    }

    /// When [`Greeter::transmit`] has something.
    pub const fn due(&self) -> Duration {
        self.next
    }

    /// The datagram to be sent now, if one is.
    pub fn transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        self.next = now + self.repeat;
        self.repeat = (self.repeat * 2).min(REPEAT_LONGEST);
        let Self { nonce, codec, cookie, .. } = *self;
        Some(Greeting::Hello { nonce, codec, cookie }.encode())
    }

    /// A datagram came.
    pub fn receive(&mut self, now: Duration, datagram: &[u8]) -> Option<Greeted> {
        match Greeting::decode(datagram)? {
            Greeting::Retry { nonce, cookie } if nonce == self.nonce => {
                // The second of two answers to a repeated `hello` says nothing new.
                if self.cookie != Some(cookie) {
                    self.cookie = Some(cookie);
                    self.repeat = REPEAT;
                    self.next = now;
                }
                None
            }
            Greeting::Accept { nonce, id, key } if nonce == self.nonce => {
                Some(Greeted::Accepted { id, key })
            }
            Greeting::Refuse { nonce, code, retry_ms } if nonce == self.nonce => {
                Some(Greeted::Refused { code, retry_ms })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: Key = Key::new([7; 16]);

    #[test]
    fn greetings_come_back_as_they_were_and_answers_are_small() {
        let cookie = Cookies::new(KEY).make(Duration::ZERO, "192.0.2.1:5".parse().unwrap(), 3);
        for greeting in [
            Greeting::Hello { nonce: 1, codec: Codec::Json, cookie: None },
            Greeting::Hello { nonce: u64::MAX, codec: Codec::MsgPack, cookie: Some(cookie) },
            Greeting::Retry { nonce: 2, cookie },
            Greeting::Accept { nonce: 2, id: 9, key: KEY },
            Greeting::Refuse { nonce: 2, code: 4810, retry_ms: 10_000 },
            Greeting::Gone { id: 9 },
        ] {
            let bytes = greeting.encode();
            assert_eq!(Greeting::decode(&bytes), Some(greeting));
            let is_hello = matches!(greeting, Greeting::Hello { .. });
            assert_eq!(is_hello, bytes.len() >= HELLO_BYTES_MIN);
            assert!(is_hello || bytes.len() < 50);
        }
        let hello = Greeting::Hello { nonce: 1, codec: Codec::Json, cookie: None }.encode();
        assert_eq!(Greeting::decode(&hello[..HELLO_BYTES_MIN - 1]), None);
    }

    #[test]
    fn a_cookie_is_good_for_its_address_nonce_and_time() {
        let cookies = Cookies::new(KEY);
        let (here, there) = ("192.0.2.1:5".parse().unwrap(), "192.0.2.1:6".parse().unwrap());
        let now = Duration::from_secs(1_000);
        let cookie = cookies.make(now, here, 3);
        assert!(cookies.check(now, here, 3, cookie));
        assert!(cookies.check(now + Duration::from_secs(60), here, 3, cookie));
        assert!(!cookies.check(now + COOKIE_LIFE, here, 3, cookie));
        assert!(!cookies.check(now, there, 3, cookie) && !cookies.check(now, here, 4, cookie));
        assert!(!Cookies::new(Key::new([8; 16])).check(now, here, 3, cookie));
        for at in 0..COOKIE_BYTES {
            let mut forged = cookie;
            forged.0[at] ^= 1;
            assert!(!cookies.check(now, here, 3, forged));
        }
    }

    #[test]
    fn a_hello_is_repeated_until_it_is_answered() {
        let mut greeter = Greeter::new(5, Codec::Json, Duration::ZERO);
        let first = greeter.transmit(Duration::ZERO).unwrap();
        assert_eq!(greeter.transmit(Duration::from_millis(249)), None);
        assert_eq!(greeter.transmit(greeter.due()).unwrap(), first);
        let now = Duration::from_secs(1);
        let cookie = Cookies::new(KEY).make(now, "192.0.2.1:5".parse().unwrap(), 5);
        assert_eq!(greeter.receive(now, &Greeting::Retry { nonce: 4, cookie }.encode()), None);
        assert_eq!(greeter.transmit(greeter.due()).unwrap(), first);
        assert_eq!(greeter.receive(now, &Greeting::Retry { nonce: 5, cookie }.encode()), None);
        assert_ne!(greeter.transmit(now).unwrap(), first);
        let accept = Greeting::Accept { nonce: 5, id: 1, key: KEY }.encode();
        assert_eq!(greeter.receive(now, &accept), Some(Greeted::Accepted { id: 1, key: KEY }));
    }
}
