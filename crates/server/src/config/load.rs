//! From a file and the environment to a [`Config`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Kind;
use toml::de::DeTable;
use toml::{Table, Value};

use super::problem::{ConfigError, Problem};
use super::schema::Schema;
use super::{Config, suggest};

/// The file that is read if it is there and no other is named.
pub const FILE_DEFAULT: &str = "roomcast.toml";

/// Names of the environment that begin like ours and are read elsewhere: by the verbs that are
/// clients, and for the path of the file. Sorted.
pub const ENV_OTHER: &[&str] =
    &["ROOMCAST_CONFIG", "ROOMCAST_NAME", "ROOMCAST_TOKEN", "ROOMCAST_URL"];

const PREFIX: &str = "ROOMCAST_";

impl Config {
    /// The file at `path`, or else the one that `ROOMCAST_CONFIG` names, or else `roomcast.toml`
    /// if it is there; over it the settings of the environment (`ROOMCAST_SECTION__KEY`).
    ///
    /// # Errors
    /// Every problem of the first stage that has one: the file, then the environment. What the
    /// values mean together is looked at by [`Config::check`].
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let env: Vec<_> = env.into_iter().collect();
        let pairs = env.iter().map(|(key, value)| (key, value));
        let table = match Self::file(path, pairs) {
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    Problem::new(path.display().to_string(), format!("cannot be read: {error}"))
                })?;
                read_file(&text, &path.display().to_string())?
            }
            None => Table::new(),
        };
        read_env(table, env)
    }

    /// The file that [`Config::load`] reads; none: there is none to read.
    pub fn file<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Option<PathBuf> {
        let mut env = env.into_iter().filter(|(_, value)| !value.as_ref().is_empty());
        let named = || {
            let named = env.find(|(key, _)| key.as_ref() == "ROOMCAST_CONFIG");
            named.map(|(_, value)| PathBuf::from(value.as_ref()))
        };
        let usual = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.exists());
        path.map(Path::to_owned).or_else(named).or_else(usual)
    }

    /// Reads the text of a file. `name` is what problems call it.
    ///
    /// # Errors
    /// A fault of syntax, or every unknown key, or a value of the wrong kind; with line and column.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConfigError> {
        let table = read_file(text, name)?;
        Self::deserialize(table).map_err(|error| Problem::new(name, plain(error.message())).into())
    }
}

fn read_file(text: &str, name: &str) -> Result<Table, ConfigError> {
    let place = |at: usize| {
        let (line, column) = line_and_column(text, at);
        format!("{name}:{line}:{column}")
    };
    let fault = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        ConfigError::from(Problem::new(place(at), plain(error.message())))
    };
    let document = DeTable::parse(text).map_err(fault)?;
    let unknown = Schema::new().unknown_keys(document.get_ref());
    if !unknown.is_empty() {
        let problems = unknown.into_iter();
        let problems = problems.map(|key| Problem::new(place(key.span.start), key.message));
        return Err(ConfigError { problems: problems.collect() });
    }
    // Read once as a whole, because only this knows where a value of the wrong kind stands.
    toml::from_str::<Config>(text).map_err(fault)?;
    toml::from_str(text).map_err(fault)
}

fn read_env(mut table: Table, env: Vec<(OsString, OsString)>) -> Result<Config, ConfigError> {
    let schema = Schema::new();
    let mut problems = Vec::new();
    let mut ours: Vec<_> = env.into_iter().filter(|(key, _)| is_ours(key)).collect();
    ours.sort();
    for (key, value) in ours {
        let key = key.to_string_lossy().into_owned();
        if let Err(message) = set(&mut table, &schema, &key, &value) {
            problems.push(Problem::new(key, message));
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    Config::deserialize(table)
        .map_err(|error| Problem::new("configuration", plain(error.message())).into())
}

/// Whether a name of the environment is meant for the configuration. Kubernetes and Docker links
/// set `ROOMCAST_PORT…` and `ROOMCAST_SERVICE_…` in every container beside a service `roomcast`;
/// no key of ours begins so.
fn is_ours(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    key.strip_prefix(PREFIX).is_some_and(|rest| {
        let linked = rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
        !linked && !ENV_OTHER.contains(&&*key)
    })
}

fn set(table: &mut Table, schema: &Schema, key: &str, value: &OsStr) -> Result<(), String> {
    let words = key[PREFIX.len()..].to_lowercase();
    let path: Vec<_> = words.split("__").map(str::to_owned).collect();
    let kind = schema.at(&path).ok_or_else(|| {
        // Without what all have in common: how many slips are too many goes by the length.
        let known: Vec<_> = schema.paths().iter().map(|path| path.join("__")).collect();
        let near = suggest::nearest(&words, known.iter().map(String::as_str));
        let near = near.map(|near| format!("; did you mean `{PREFIX}{}`?", near.to_uppercase()));
        format!("unknown setting{}", near.unwrap_or_default())
    })?;
    let value = value.to_str().ok_or("its value is not UTF-8")?;
    let mut changed = table.clone();
    insert(&mut changed, &path, read_value(key, kind, value)?)?;
    Config::deserialize(changed.clone()).map_err(|error| plain(error.message()))?;
    *table = changed;
    Ok(())
}

/// Reads a value of the kind that stands in the schema.
fn read_value(key: &str, kind: &Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Bool(_) => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(format!("must be true or false, not `{text}`")),
        },
        Kind::Number(_) => {
            let wrong = |_| format!("must be a whole number, not `{text}`");
            text.parse().map(Value::Integer).map_err(wrong)
        }
        // A list of plain values may be written with commas; anything else as in the file.
        Kind::Array(one) if !text.starts_with('[') && !one.iter().any(Kind::is_object) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(Value::from).collect()))
        }
        // The text is not shown: keys of clients stand here.
        Kind::Array(_) => text.parse().map_err(|_| {
            "must be a list as in the file, for example [{ key = \"...\", user = \"...\" }]".into()
        }),
        Kind::Object(_) => Err(format!("is a section: set {key}__KEY")),
        Kind::String(_) | Kind::Null => Ok(Value::from(text)),
    }
}

fn insert(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    let mut table = table;
    for section in sections {
        let slot = table.entry(section.clone()).or_insert_with(|| Table::new().into());
        table = slot.as_table_mut().ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

/// The message of a reader without the text it read, which may be a secret, and without the names
/// of types.
fn plain(message: &str) -> String {
    let message = match message.rsplit_once(", expected ") {
        Some((before, "u8" | "u16" | "u32" | "u64" | "usize")) => {
            &format!("{before}, expected a whole number in the range of this setting")
        }
        _ => message,
    };
    match message.split_once("string \"") {
        Some((before, rest)) => match rest.rsplit_once('"') {
            Some((_, after)) => format!("{before}string{after}"),
            None => format!("{before}string"),
        },
        None => message.to_owned(),
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Config, String> {
        Config::from_toml(text, "f.toml").map_err(|error| error.to_string())
    }

    fn env(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let env = pairs.iter().map(|(key, value)| (key.into(), value.into())).collect();
        read_env(Table::new(), env).map_err(|error| error.to_string())
    }

    #[test]
    fn every_unknown_key_is_reported_with_its_place() {
        let said = file(
            "lisen = []\n[limits]\noutbox_byte = 1\nping_ms = 5\n\
             [namespaces.game.rooms.history]\n  sise = 3\n[[auth.keys]]\nusr = 1\n",
        );
        let said = said.unwrap_err();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(
            lines,
            [
                "f.toml:1:1: unknown key `lisen`; did you mean `listen`?",
                "f.toml:3:1: unknown key `outbox_byte`; did you mean `outbox_bytes`?",
                "f.toml:6:3: unknown key `sise`; did you mean `size`?",
                "f.toml:8:1: unknown key `usr`; did you mean `user`?",
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_reported_with_its_place() {
        let said = file("[limits]\nping_ms = true\n").unwrap_err();
        assert!(said.starts_with("f.toml:2:11: ") && said.contains("boolean"), "{said}");
        let said = file("[rooms]\njoin = \"maybe\"\n").unwrap_err();
        assert!(said.starts_with("f.toml:2:8: ") && said.contains("granted"), "{said}");
        let said = file("[limits\n").unwrap_err();
        assert!(said.starts_with("f.toml:1:"), "{said}");
        let said = file("[limits]\nping_ms = -1\n").unwrap_err();
        assert!(said.starts_with("f.toml:2:11: "), "{said}");
    }

    #[test]
    fn a_message_never_shows_a_secret() {
        let said = file("[auth]\nkeys = \"hunter2hunter2hunter2\"\n").unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
        let said = env(&[("ROOMCAST_AUTH__KEYS", "hunter2hunter2hunter2")]).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
        let said = env(&[("ROOMCAST_AUTH__KEYS", "[\"hunter2hunter2\"]")]).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn the_environment_reaches_every_kind_of_value() {
        let config = env(&[
            ("ROOMCAST_LISTEN", "ws://127.0.0.1:1, tcp://127.0.0.1:2"),
            ("ROOMCAST_INSECURE", "true"),
            ("ROOMCAST_LIMITS__OUTBOX_BYTES", "200000"),
            ("ROOMCAST_TLS__CERT", "a.pem"),
            ("ROOMCAST_AUTH__KEYS", r#"[{ key = "0123456789abcdef", admin = true }]"#),
            ("ROOMCAST_NAMESPACES__GAME__CREATE", "false"),
            ("ROOMCAST_NAMESPACES__GAME__ROOMS__HISTORY__SIZE", "9"),
            ("ROOMCAST_LOG__FORMAT", "json"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(config.listen, ["ws://127.0.0.1:1", "tcp://127.0.0.1:2"]);
        assert!(config.insecure && config.auth.keys[0].admin);
        assert_eq!(config.limits.outbox_bytes, 200_000);
        assert_eq!(config.tls.cert.as_deref(), Some(Path::new("a.pem")));
        assert_eq!(config.namespaces["game"].create, Some(false));
        assert_eq!(config.namespaces["game"].rooms["history"]["size"].as_integer(), Some(9));
        assert_eq!(config.log.format, crate::config::LogFormat::Json);
    }

    #[test]
    fn a_wrong_setting_of_the_environment_is_named() {
        let said = env(&[("ROOMCAST_LIMITS_OUTBOX_BYTES", "1"), ("ROOMCAST_INSECURE", "yes")]);
        let said = said.unwrap_err();
        assert!(said.contains("did you mean `ROOMCAST_LIMITS__OUTBOX_BYTES`?"), "{said}");
        assert!(said.contains("ROOMCAST_INSECURE: must be true or false"), "{said}");
        let said = env(&[("ROOMCAST_LOG__FORMAT", "fancy")]).unwrap_err();
        assert!(said.starts_with("ROOMCAST_LOG__FORMAT: ") && said.contains("pretty"), "{said}");
        let said = env(&[("ROOMCAST_LIMITS", "1")]).unwrap_err();
        assert!(said.contains("ROOMCAST_LIMITS__KEY"), "{said}");
        let said = env(&[("ROOMCAST_LIMITS__ROOMS", "-1")]).unwrap_err();
        assert!(said.starts_with("ROOMCAST_LIMITS__ROOMS: "), "{said}");
        assert!(said.ends_with("expected a whole number in the range of this setting"), "{said}");
        let said = env(&[("ROOMCAST_LIMITS__OUTBX", "1")]).unwrap_err();
        assert_eq!(said, "ROOMCAST_LIMITS__OUTBX: unknown setting");
    }

    #[test]
    fn names_that_are_not_ours_are_left_alone() {
        let linked = ["ROOMCAST_PORT", "ROOMCAST_PORT_7400_TCP", "ROOMCAST_SERVICE_HOST"];
        for key in linked.iter().chain(ENV_OTHER) {
            assert_eq!(env(&[(key, "tcp://10.0.0.1:7400")]), Ok(Config::default()), "{key}");
        }
    }

    #[test]
    fn the_environment_is_stronger_than_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "workers = 3\n[limits]\nrooms = 7\nping_ms = 1000\n").unwrap();
        let env = [("ROOMCAST_LIMITS__ROOMS".into(), "8".into())];
        let config = Config::load(Some(&path), env.clone()).unwrap();
        assert_eq!((config.workers, config.limits.rooms, config.limits.ping_ms), (3, 8, 1000));
        let by_env = [("ROOMCAST_CONFIG".into(), path.clone().into_os_string())];
        assert_eq!(Config::load(None, by_env).unwrap().workers, 3);
        let missing = Config::load(Some(&dir.path().join("b.toml")), env).unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
    }
}
