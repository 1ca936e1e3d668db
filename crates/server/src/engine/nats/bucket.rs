//! The records that all nodes share: a key-value bucket of JetStream.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::kv::{self, Operation, Store, Watch};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::StorageType;
use bytes::Bytes;
use serde::Serialize;

use super::super::EngineError;
use super::super::registry::{CLUSTER_KEY, ClusterRecord};
use super::connect::Address;
use crate::config::ClusterConfig;

/// How long an answer of JetStream may take before a write counts as doubtful.
const ANSWER: Duration = Duration::from_secs(1);

/// How long the mark of an ended record stays: for those whose watch was cut off meanwhile, who
/// read everything anew. Longer only costs room.
const MARK: Duration = Duration::from_secs(3600);

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has this revision.
    Written(u64),
    /// Another record is there than the one to be replaced.
    Another,
    /// There is no such bucket any more.
    Missing,
    /// It may have happened or not.
    Failed(String),
}

/// The bucket of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    context: Context,
    name: String,
    replicas: usize,
    store: Store,
}

impl Bucket {
    /// Opens it, or makes it.
    pub(super) async fn open(
        client: &Client,
        config: &ClusterConfig,
        address: &Address,
    ) -> Result<Self, EngineError> {
        let context = ContextBuilder::new().timeout(ANSWER).build(client.clone());
        let (name, replicas) = (address.bucket(), config.replicas);
        let opened = make(&context, &name, replicas).await;
        let store = opened.map_err(|problem| {
            address
                .unusable(format!("the bucket `{name}` can be neither opened nor made: {problem}"))
        })?;
        Ok(Self { context, name, replicas, store })
    }

    /// Opens or makes it again.
    pub(super) async fn reopen(&mut self) -> Result<(), String> {
        self.store = make(&self.context, &self.name, self.replicas).await?;
        Ok(())
    }

    /// Whether another bucket has come in the place of the one that was opened.
    pub(super) async fn is_replaced(&self) -> Result<bool, String> {
        let stream = self.context.get_stream(format!("KV_{}", self.name)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        Ok(stream.cached_info().created != self.store.stream.cached_info().created)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes a record in place of the one with that revision (0: none).
    pub(super) async fn put(
        &self,
        key: &str,
        record: &impl Serialize,
        replaces: u64,
        lease: Option<Duration>,
    ) -> Outcome {
        let Ok(value) = serde_json::to_vec(record) else { return Outcome::Another };
        let message = PublishMessage::build().payload(value.into());
        let mut message = message.expected_last_subject_sequence(replaces);
        if let Some(lease) = lease {
            message = message.ttl(lease);
        }
        let subject = format!("$KV.{}.{key}", self.name);
        let sent = match self.context.send_publish(subject, message).await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(acknowledged) => Outcome::Written(acknowledged.sequence),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Outcome::Another,
                PublishErrorKind::StreamNotFound => Outcome::Missing,
                _ => Outcome::Failed(error.to_string()),
            },
        }
    }

    /// The revision that a new record must replace, and what stands there; no value: it has ended.
    pub(super) async fn get(&self, key: &str) -> Result<(u64, Option<Bytes>), String> {
        let entry = self.store.entry(key).await.map_err(|error| error.to_string())?;
        let entry = entry.map(|e| (e.revision, (e.operation == Operation::Put).then_some(e.value)));
        Ok(entry.unwrap_or((0, None)))
    }

    /// Ends a record before its lease does; whether that is done.
    pub(super) async fn end(&self, key: &str, revision: u64) -> bool {
        self.store.purge_expect_revision_with_ttl(key, revision, MARK).await.is_ok()
    }

    /// All records, then what becomes of them.
    pub(super) async fn watch(&self) -> Result<Watch, String> {
        self.store.watch_with_history(">").await.map_err(|error| error.to_string())
    }

    /// What all nodes agree on: `own`, unless another was there before.
    pub(super) async fn agree(&self, own: &ClusterRecord) -> Result<ClusterRecord, String> {
        // Whoever comes second finds what the first has written.
        for _ in 0..3 {
            let (revision, found) = self.get(CLUSTER_KEY).await?;
            if let Some(found) = found {
                let agreed = serde_json::from_slice(&found);
                return agreed.map_err(|error| {
                    format!("the record `{CLUSTER_KEY}` cannot be read: {error}")
                });
            }
            match self.put(CLUSTER_KEY, own, revision, None).await {
                Outcome::Written(_) => return Ok(own.clone()),
                Outcome::Another => {}
                Outcome::Missing => return Err("there is no bucket any more".to_owned()),
                Outcome::Failed(problem) => return Err(problem),
            }
        }
        Err(format!("the record `{CLUSTER_KEY}` changes all the time"))
    }
}

async fn make(context: &Context, name: &str, replicas: usize) -> Result<Store, String> {
    if let Ok(store) = context.get_key_value(name).await {
        return Ok(store);
    }
    let config = kv::Config {
        bucket: name.to_owned(),
        description: "nodes and homes of a roomcast cluster".to_owned(),
        history: 1,
        num_replicas: replicas,
        storage: StorageType::File,
        limit_markers: Some(MARK),
        ..kv::Config::default()
    };
    context.create_key_value(config).await.map_err(|error| match error.source_text() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

/// What lies behind an error.
trait SourceText {
    fn source_text(&self) -> Option<String>;
}

impl<T: std::error::Error> SourceText for T {
    fn source_text(&self) -> Option<String> {
        self.source().map(ToString::to_string)
    }
}
