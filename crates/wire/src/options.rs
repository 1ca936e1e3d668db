//! What may be set for a room: namespace defaults, overridden by configuration, by `create`, or by
//! code.

use serde::{Deserialize, Serialize};

use crate::limits::{MESSAGE_BYTES_CEILING, MESSAGE_BYTES_DEFAULT};
use crate::{Codec, Payload};

/// Longest `ttl_s` that a client may give a room by itself, in seconds.
pub const CLIENT_TTL_S_MAX: u64 = 3_600;

/// Largest `history.size` that a client may give a room by itself, in events.
pub const CLIENT_HISTORY_SIZE_MAX: u64 = 1_024;

/// Largest `history.bytes` that a client may give a room by itself.
pub const CLIENT_HISTORY_BYTES_MAX: u64 = 1 << 20;

/// Largest `logic_config` that a client may give a room by itself, in bytes of JSON.
pub const CLIENT_LOGIC_CONFIG_BYTES_MAX: u64 = 4_096;

/// The options of one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomOptions {
    /// Keep the room for `ttl_s` when nobody is in it. Otherwise it ends with its last member
    /// (dropped members count until their resume window ends).
    pub keep_when_empty: bool,
    /// How long an empty room is kept, in seconds; 10 to 86,400. Only with `keep_when_empty`.
    pub ttl_s: u64,
    /// Most members; 1 to 1,000,000.
    pub members_max: u32,
    /// Who may take a seat.
    pub join: JoinRule,
    /// Who may publish.
    pub publish: PublishRule,
    /// Whether a sender receives its own events (a `publish` may say otherwise).
    pub echo: bool,
    /// What is kept for those who come back or come late.
    pub history: HistoryOptions,
    /// What an event of the room has survived when its publisher is answered and its members hear
    /// it. Other than `off` needs a server with a `data_dir`.
    pub durable: Durability,
    /// Gather events for so many milliseconds after the first, then deliver them together;
    /// 0 (off) to 10,000.
    pub merge_ms: u32,
    /// Deliver only at the ticks of a clock of so many milliseconds, without drift; 0 (off), or
    /// 10 to 60,000. Stronger than `merge_ms`. In a room with a logic it is the logic's clock
    /// instead, and holds nothing back.
    pub tick_ms: u32,
    /// What members hear of each other.
    pub presence: PresenceRule,
    /// How long a member whose link was lost keeps its seat, in seconds; 0 to 3,600.
    pub resume_s: u32,
    /// What happens to a member that does not keep up.
    pub slow: SlowRule,
    /// How much may be said in this room.
    pub rate: RateOptions,
    /// Largest payload of an event, in bytes.
    pub payload_max: usize,
    /// Whether two members may have the same display name.
    pub names: NameRule,
    /// What the room does beside relaying: the name of a logic the server knows. None: it relays.
    pub logic: Option<Box<str>>,
    /// What the logic is told; each logic says what it takes.
    pub logic_config: Option<Box<serde_json::Value>>,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self {
            keep_when_empty: false,
            ttl_s: 60,
            members_max: 100_000,
            join: JoinRule::Open,
            publish: PublishRule::Members,
            echo: true,
            history: HistoryOptions::default(),
            durable: Durability::Off,
            merge_ms: 0,
            tick_ms: 0,
            presence: PresenceRule::Members,
            resume_s: 60,
            slow: SlowRule::Close,
            rate: RateOptions::default(),
            payload_max: MESSAGE_BYTES_DEFAULT,
            names: NameRule::Any,
            logic: None,
            logic_config: None,
        }
    }
}

/// Who may take a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRule {
    /// Whoever asks.
    Open,
    /// Whom the server lets in.
    Granted,
}

/// Who may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishRule {
    /// Who has a seat.
    Members,
    /// Every session of the namespace.
    Anyone,
    /// The server, and who has the right `admin`.
    Server,
}

/// What members hear of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceRule {
    /// Nothing.
    Off,
    /// How many there are, at most once a second.
    Counts,
    /// Who joins, drops, resumes and leaves.
    Members,
}

/// What happens to a member whose outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowRule {
    /// Its link is closed with `slow_reader`; it can resume.
    Close,
    /// The oldest waiting events of this room are dropped; positions show the gap.
    DropOldest,
    /// Only the newest waiting events of this room are kept as soon as its link is behind.
    Latest,
}

/// What an event has survived when it is told, from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: the room and its log end with the server.
    #[default]
    Off,
    /// The end of the server's process, however sudden: the event is with the operating system.
    Memory,
    /// The end of the machine too: the disk has said that it has the event.
    Sync,
}

/// Whether two members may have the same display name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameRule {
    /// They may.
    Any,
    /// The newcomer is refused with `name_taken`.
    Unique,
}

/// What a room keeps of what was said. Whichever bound is reached first trims the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryOptions {
    /// Most events; 0 (off) to 100,000.
    pub size: u32,
    /// Most payload bytes; up to 64 MiB.
    pub bytes: usize,
    /// Longest age, in seconds; up to 31,622,400.
    pub age_s: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { size: 128, bytes: 256 << 10, age_s: 300 }
    }
}

/// How much may be said in a room; 0 means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateOptions {
    /// Events a second; a second's worth may come at once.
    pub events_per_s: u32,
    /// Payload bytes times members a second; a second's worth may come at once.
    pub fanout_bytes_per_s: u64,
}

impl RoomOptions {
    /// These options with those of `patch` (a map) in their place.
    ///
    /// # Errors
    /// In words for the client: what is unknown, of the wrong kind, or out of bounds.
    pub fn patched(&self, patch: &Payload) -> Result<Self, String> {
        let patch = patch.to_codec(Codec::Json);
        let mut whole = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let patch: serde_json::Value =
            serde_json::from_slice(patch.bytes()).map_err(|error| error.to_string())?;
        if patch.get("logic").is_some() {
            // What another logic was told means nothing to this one.
            whole["logic_config"] = serde_json::Value::Null;
        }
        merge(&mut whole, patch)?;
        let options: Self = serde_json::from_value(whole).map_err(|error| error.to_string())?;
        options.check()?;
        Ok(options)
    }

    /// Whether a client may give a room these options, in a namespace whose own are `defaults`:
    /// what a room holds on to is bounded tighter than for configuration and code, unless the
    /// namespace itself allows more. Otherwise one client could fill the memory with rooms that
    /// nobody is in (threat S26).
    ///
    /// # Errors
    /// In words: which option, its value and its bounds.
    pub fn check_client(&self, defaults: &Self) -> Result<(), String> {
        let most = |name: &str, value: u64, default: u64, most: u64| {
            let most = most.max(default);
            if value <= most {
                return Ok(());
            }
            Err(format!("`{name}` is {value}, but a client may set {most} at most here"))
        };
        let (history, own) = (&self.history, &defaults.history);
        most("ttl_s", self.ttl_s, defaults.ttl_s, CLIENT_TTL_S_MAX)?;
        most("history.size", history.size.into(), own.size.into(), CLIENT_HISTORY_SIZE_MAX)?;
        let bytes = (history.bytes as u64, own.bytes as u64);
        most("history.bytes", bytes.0, bytes.1, CLIENT_HISTORY_BYTES_MAX)?;
        if self.durable > defaults.durable {
            return Err("`durable` is for the configuration and the server's own code".to_owned());
        }
        if self.logic_config == defaults.logic_config {
            return Ok(());
        }
        let bytes = self.logic_config.as_ref().map_or(0, |config| config.to_string().len());
        match bytes as u64 {
            ..=CLIENT_LOGIC_CONFIG_BYTES_MAX => Ok(()),
            bytes => Err(format!(
                "`logic_config` has {bytes} bytes, but a client may give \
                 {CLIENT_LOGIC_CONFIG_BYTES_MAX} at most"
            )),
        }
    }

    /// Whether every number is within its bounds.
    ///
    /// # Errors
    /// In words: which option, its value and its bounds.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("`{name}` is {value}, but must be {low} to {high}"))
            }
        };
        within("ttl_s", self.ttl_s, 10, 86_400)?;
        within("members_max", self.members_max.into(), 1, 1_000_000)?;
        within("history.size", self.history.size.into(), 0, 100_000)?;
        within("history.bytes", self.history.bytes as u64, 0, 64 << 20)?;
        within("history.age_s", self.history.age_s, 0, 31_622_400)?;
        within("merge_ms", self.merge_ms.into(), 0, 10_000)?;
        if self.tick_ms != 0 {
            within("tick_ms", self.tick_ms.into(), 10, 60_000)?;
        }
        within("resume_s", self.resume_s.into(), 0, 3_600)?;
        within("payload_max", self.payload_max as u64, 1, MESSAGE_BYTES_CEILING as u64)
    }
}

fn merge(whole: &mut serde_json::Value, patch: serde_json::Value) -> Result<(), String> {
    use serde_json::Value::Object;
    match (whole, patch) {
        (Object(whole), Object(patch)) => {
            for (key, value) in patch {
                match whole.get_mut(&key) {
                    None => return Err(format!("unknown option `{key}`")),
                    // Not ours to merge: the logic reads it as one.
                    Some(slot) if key == "logic_config" => *slot = value,
                    Some(slot) if slot.is_object() => merge(slot, value)?,
                    Some(slot) => *slot = value,
                }
            }
            Ok(())
        }
        _ => Err("options must be a map".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn patch(text: &'static str) -> Result<RoomOptions, String> {
        let payload = Payload::new(Codec::Json, text.into()).unwrap();
        RoomOptions::default().patched(&payload)
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let options = patch(r#"{"history":{"size":7},"names":"unique"}"#).unwrap();
        assert_eq!(options.history.size, 7);
        assert_eq!(options.history.bytes, HistoryOptions::default().bytes);
        assert_eq!(options.names, NameRule::Unique);
    }

    #[test]
    fn another_logic_is_not_told_what_this_one_was() {
        let base = patch(r#"{"logic":"a","logic_config":{"x":1,"y":2}}"#).unwrap();
        let again = |text: &'static str| {
            let payload = Payload::new(Codec::Json, text.into()).unwrap();
            base.patched(&payload).unwrap().logic_config.map(|config| config.to_string())
        };
        assert_eq!(again(r#"{"logic":"b"}"#), None);
        assert_eq!(again(r#"{"echo":false}"#).as_deref(), Some(r#"{"x":1,"y":2}"#));
        assert_eq!(again(r#"{"logic_config":{"z":3}}"#).as_deref(), Some(r#"{"z":3}"#));
    }

    #[test]
    fn a_client_may_set_less_than_the_configuration() {
        let defaults = RoomOptions::default();
        let check = |text, defaults: &RoomOptions| patch(text)?.check_client(defaults);
        assert_eq!(check(r#"{"ttl_s":3600,"history":{"bytes":1048576}}"#, &defaults), Ok(()));
        assert!(check(r#"{"ttl_s":3601}"#, &defaults).unwrap_err().contains("3600 at most"));
        assert!(check(r#"{"history":{"size":1025}}"#, &defaults).is_err());
        assert!(check(r#"{"history":{"bytes":1048577}}"#, &defaults).is_err());
        let long = format!(r#"{{"logic":"a","logic_config":"{}"}}"#, "x".repeat(4_095));
        let long = patch(long.leak()).unwrap().check_client(&defaults).unwrap_err();
        assert!(long.contains("`logic_config` has 4097 bytes"), "{long}");
        let generous = RoomOptions { ttl_s: 7_200, ..defaults };
        assert_eq!(check(r#"{"ttl_s":7200}"#, &generous), Ok(()));
        let durable = RoomOptions { durable: Durability::Memory, ..RoomOptions::default() };
        assert_eq!(check(r#"{"durable":"memory"}"#, &durable), Ok(()));
        assert_eq!(check(r#"{"durable":"off"}"#, &durable), Ok(()));
        assert!(check(r#"{"durable":"sync"}"#, &durable).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(patch(r#"{"histroy":{}}"#).unwrap_err().contains("histroy"));
        assert!(patch(r#"{"ttl_s":9}"#).unwrap_err().contains("10 to 86400"));
        assert!(patch(r#"{"join":"maybe"}"#).unwrap_err().contains("maybe"));
        assert!(patch("[]").unwrap_err().contains("map"));
        assert!(patch(r#"{"tick_ms":5}"#).unwrap_err().contains("tick_ms"));
    }
}
