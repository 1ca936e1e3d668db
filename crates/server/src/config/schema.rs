//! Which keys there are. Read off a [`Config`] with every optional part filled in, so that a new
//! field is known here without a second list.

use std::collections::BTreeMap;
use std::ops::Range;

use roomcast_wire::RoomOptions;
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::hint;
use super::{
    ApiConfig, ApiKeyConfig, AuthConfig, ClusterConfig, Config, KeyConfig, NamespaceSection,
    RuleConfig, TlsConfig, TokenConfig,
};

/// Stands for any name in a map whose keys the operator chooses.
const ANY: &str = "*";

/// All keys as a tree; each leaf holds a value of the right kind.
pub(crate) struct Schema(Value);

/// A key that is not known, and where it stands in the text.
pub(crate) struct UnknownKey {
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
    /// What to say.
    pub(crate) message: String,
}

impl Schema {
    pub(crate) fn new() -> Self {
        let rule = RuleConfig { room: String::new(), can: vec![String::new()] };
        let key = KeyConfig {
            key: String::new(),
            user: Some(String::new()),
            admin: false,
            rooms: Some(vec![rule.clone()]),
        };
        let namespace = NamespaceSection {
            anonymous: Some(true),
            anonymous_rooms: Some(vec![rule]),
            create: Some(true),
            list_rooms: Some(true),
            convention: Some(true),
            lobby: Some("lobby".into()),
            client_logics: vec!["turns".into()],
            ..NamespaceSection::default()
        };
        let api_key = ApiKeyConfig {
            name: String::new(),
            hash: String::new(),
            verbs: Some(vec![String::new()]),
            rooms: Some(vec![String::new()]),
        };
        let full = Config {
            api: ApiConfig { keys: vec![api_key], ..ApiConfig::default() },
            tls: TlsConfig { cert: Some("cert".into()), key: Some("key".into()) },
            auth: AuthConfig {
                keys: vec![key],
                tokens: vec![TokenConfig::full()],
                ..AuthConfig::default()
            },
            cluster: ClusterConfig::full(),
            namespaces: BTreeMap::from([(ANY.to_owned(), namespace)]),
            ..Config::default()
        };
        // These are plain structs with string keys: nothing in them that JSON cannot hold.
        let mut tree = serde_json::to_value(full).unwrap_or_default();
        let rooms = serde_json::to_value(RoomOptions::default()).unwrap_or_default();
        tree["namespaces"][ANY]["static"] = json!({ ANY: &rooms });
        let mut pattern = rooms.clone();
        pattern["match"] = json!("battle-*");
        tree["namespaces"][ANY]["patterns"] = json!([pattern]);
        tree["namespaces"][ANY]["rooms"] = rooms;
        Self(tree)
    }

    /// The value that stands at `path`; its kind is the kind that is wanted there.
    pub(crate) fn at(&self, path: &[String]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |tree, key| child(tree.as_object()?, key))
    }

    /// The path of every leaf that has one name, as its words.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        collect(&self.0, &mut Vec::new(), &mut paths);
        paths
    }

    /// Every key of `document` that is not known.
    pub(crate) fn unknown_keys(&self, document: &DeTable<'_>) -> Vec<UnknownKey> {
        let mut found = Vec::new();
        compare(document, &self.0, &mut found);
        found.sort_by_key(|unknown| unknown.span.start);
        found
    }
}

fn child<'a>(tree: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    tree.get(key).or_else(|| tree.get(ANY))
}

fn collect(tree: &Value, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let Value::Object(children) = tree else { return paths.push(path.clone()) };
    for (key, child) in children.iter().filter(|(key, _)| *key != ANY) {
        path.push(key.clone());
        collect(child, path, paths);
        path.pop();
    }
}

fn compare(document: &DeTable<'_>, tree: &Value, found: &mut Vec<UnknownKey>) {
    let Value::Object(children) = tree else { return };
    for (key, value) in document {
        match child(children, key.get_ref()) {
            Some(tree) => compare_value(value, tree, found),
            None => {
                let hint = hint(key.get_ref(), children.keys().map(String::as_str));
                let message = format!("unknown key `{}`{hint}", key.get_ref());
                found.push(UnknownKey { span: key.span(), message });
            }
        }
    }
}

fn compare_value(value: &Spanned<DeValue<'_>>, tree: &Value, found: &mut Vec<UnknownKey>) {
    match (value.get_ref(), tree) {
        (DeValue::Table(table), tree) => compare(table, tree, found),
        (DeValue::Array(values), Value::Array(one)) => {
            let Some(tree) = one.first() else { return };
            values.iter().for_each(|value| compare_value(value, tree, found));
        }
        // A value of the wrong kind is reported when it is read.
        _ => {}
    }
}
