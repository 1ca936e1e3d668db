//! Who may use the API: keys of which only hashes are known here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roomcast_core::{Now, glob};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{ErrorCode, Name, Refusal, RoomPath};
use subtle::ConstantTimeEq as _;

use super::given::Given;
use super::verbs::{self, Reach, VERBS, Verb};
use crate::config::suggest::hint;
use crate::config::{ApiKeyConfig, Config, ConfigError, Problem, none_of};
use crate::system::random;
use crate::tls::sha256;

/// What begins a new key: who finds one in the wrong place sees what it is.
const KEY_PREFIX: &str = "rck_";

/// What begins a hash in the configuration.
const HASH_PREFIX: &str = "sha256:";

/// Wrong keys that one address may try in a second (threat S38).
const FAILURES_PER_S: u32 = 5;

/// Addresses of which failures are known at a time: what more try counts together. One second of
/// failures of so many takes about 3 MB.
const ADDRESSES_MAX: usize = 64 << 10;

/// Most `[[api.keys]]`: every one is compared with each key that is shown.
const KEYS_MAX: usize = 256;

/// A name that a batch has beside those of the table.
pub(super) const BATCH: &str = "batch";

/// The keys of the configuration.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

/// One key.
pub(super) struct Key {
    pub(super) name: Box<str>,
    hash: [u8; 32],
    /// None: all.
    verbs: Option<Vec<String>>,
    /// Patterns of namespaces and rooms; none: the whole server.
    rooms: Option<Vec<[Box<str>; 2]>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A new key of 256 random bits; none if the system has none to give. See
/// [`ApiConfig`](crate::config::ApiConfig) for an example.
#[must_use]
pub fn new_api_key() -> Option<String> {
    let random: [u8; 32] = random()?;
    Some(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The hash of a key, as the configuration has it. See
/// [`ApiConfig`](crate::config::ApiConfig) for an example.
#[must_use]
pub fn api_key_hash(key: &str) -> String {
    let digits = sha256(key.as_bytes());
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{HASH_PREFIX}{digits}")
}

impl Keys {
    /// Reads the sections.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let sections = &config.api.keys;
        if sections.len() > KEYS_MAX {
            let message = format!("has {} sections, but may have {KEYS_MAX}", sections.len());
            problems.push(Problem::new("api.keys", message));
        }
        let mut keys = Vec::new();
        for (at, section) in sections.iter().enumerate() {
            let place = format!("api.keys[{at}]");
            let before = sections.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.name == section.name) {
                let message = format!("`{}` is given twice", section.name.escape_debug());
                problems.push(Problem::new(format!("{place}.name"), message));
            }
            keys.extend(Key::read(section, &place, &mut problems));
        }
        none_of(problems).map(|()| Self(keys))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that was shown. All are compared whatever was found, each in the same time: how long
    /// it takes says nothing about them.
    pub(super) fn find(&self, shown: &str) -> Option<&Key> {
        let hash = sha256(shown.as_bytes());
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.hash.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        found
    }
}

impl Key {
    fn read(section: &ApiKeyConfig, place: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let count = problems.len();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::new(format!("{place}.{key}"), message));
        };
        if let Err(error) = Name::new(&section.name) {
            wrong("name", error.to_string());
        }
        let hash = read_hash(&section.hash);
        if hash.is_none() {
            let text = "is no `sha256:` with 64 hexadecimal digits: `roomcast config key` makes a \
                        key and its hash";
            wrong("hash", text.to_owned());
        }
        let names = VERBS.iter().map(|verb| verb.name).chain([BATCH]);
        for verb in section.verbs.iter().flatten() {
            if !names.clone().any(|name| name == verb) {
                let meant = hint(verb, names.clone());
                let known: Vec<_> = names.clone().collect();
                let (verb, known) = (verb.escape_debug(), known.join(", "));
                wrong("verbs", format!("`{verb}` is no verb{meant}; there are {known}"));
            }
        }
        let rooms = section.rooms.as_ref().map(|patterns| {
            let read = patterns.iter().filter_map(|pattern| match RoomPath::parse(pattern) {
                Ok(path) => {
                    let namespace = path.namespace().unwrap_or(DEFAULT_NAMESPACE);
                    Some([Box::from(namespace), Box::from(path.room())])
                }
                Err(error) => {
                    wrong("rooms", format!("`{}`: {error}", pattern.escape_debug()));
                    None
                }
            });
            read.collect()
        });
        let (name, verbs) = (section.name.as_str().into(), section.verbs.clone());
        (problems.len() == count).then_some(Self { name, hash: hash?, verbs, rooms })
    }

    /// Whether it may be used for a verb.
    ///
    /// # Errors
    /// It may not: the refusal names the way out.
    pub(super) fn check_verb(&self, verb: &str) -> Result<(), Refusal> {
        if self.verbs.as_ref().is_none_or(|verbs| verbs.iter().any(|one| one == verb)) {
            return Ok(());
        }
        Err(forbidden(format!(
            "the key `{}` is not for {verb} (`verbs` of [[api.keys]])",
            self.name
        )))
    }

    /// Whether it may touch what a command is about.
    ///
    /// # Errors
    /// It may not, or what the command is about cannot be read.
    pub(super) fn check_reach(&self, verb: &Verb, given: &Given<'_>) -> Result<(), Refusal> {
        let Some(patterns) = &self.rooms else { return Ok(()) };
        let name = &self.name;
        let reach = match verb.reach {
            Reach::Target if given.has("user") => Reach::Namespace,
            Reach::Target => Reach::Server,
            reach => reach,
        };
        match reach {
            Reach::Room => {
                let room = given.room()?;
                let path = RoomPath::parse(room.as_str());
                let path =
                    path.map_err(|error| Refusal::new(ErrorCode::InvalidName, error.to_string()))?;
                let namespace = path.namespace().unwrap_or(DEFAULT_NAMESPACE);
                let fits = patterns.iter().any(|[spaces, rooms]| {
                    glob::matches(spaces, namespace) && glob::matches(rooms, path.room())
                });
                let text =
                    || format!("the key `{name}` is not for this room (`rooms` of [[api.keys]])");
                if fits { Ok(()) } else { Err(forbidden(text())) }
            }
            Reach::Namespace => {
                let namespace = verbs::namespace(given)?;
                let fits = patterns
                    .iter()
                    .any(|[spaces, rooms]| **rooms == *"*" && glob::matches(spaces, &namespace));
                let text = || {
                    format!(
                        "the key `{name}` is bound to single rooms, and {} reaches a whole \
                         namespace: that needs `namespace/*` among its `rooms`",
                        verb.name
                    )
                };
                if fits { Ok(()) } else { Err(forbidden(text())) }
            }
            Reach::Server | Reach::Target => Err(forbidden(format!(
                "the key `{name}` is bound to rooms, and {} reaches the whole server: that needs a \
                 key without `rooms`",
                verb.name
            ))),
        }
    }
}

fn forbidden(message: String) -> Refusal {
    Refusal::new(ErrorCode::Forbidden, message)
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 64)?;
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?;
    }
    Some(hash)
}

/// Wrong keys of the last second, by address. A lock: taken once for each wrong key.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// Which second of the server's clock.
    second: u64,
    counts: HashMap<u64, u32>,
}

impl Failures {
    /// Counts a failure. Returns whether the address may try again in this second.
    pub(super) fn count(&self, now: Now, from: IpAddr) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.0 / 1_000;
        if window.second != second {
            *window = Window { second, counts: HashMap::new() };
        }
        let network = match from {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            // What one subscriber gets.
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let is_new = !window.counts.contains_key(&network);
        let network = if is_new && window.counts.len() >= ADDRESSES_MAX { 0 } else { network };
        let count = window.counts.entry(network).or_default();
        *count = count.saturating_add(1);
        *count <= FAILURES_PER_S
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let written = api_key_hash("abc");
        // FIPS 180-2, appendix B.1.
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(written, format!("sha256:{digits}"));
        assert_eq!(read_hash(&written).map(|hash| hash.to_vec()), Some(sha256(b"abc")));
        let plus = format!("sha256:+{}", &digits[1..]);
        for wrong in
            ["", digits, "sha256:", &written[..70], "md5:00", &plus, &written.replace('b', "ä")]
        {
            assert_eq!(read_hash(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn five_wrong_keys_a_second_of_one_network() {
        let failures = Failures::default();
        let one = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let tries = |at: u64, from| {
            (0..7).map(|_| failures.count(Now(at), from)).filter(|may| *may).count()
        };
        assert_eq!(tries(1_000, one), 5);
        assert_eq!(tries(1_999, one), 0);
        assert_eq!(tries(1_999, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))), 5);
        assert_eq!(tries(2_000, one), 5);
        let six = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!((tries(2_000, six(1)), tries(2_000, six(2))), (5, 0));
    }
}
