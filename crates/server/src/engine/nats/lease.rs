//! The node's lease: its own record, written again before it ends.

use std::time::{Duration, Instant};

use super::super::registry::{NodeRecord, hex, node_key};
use super::bucket::{Bucket, Outcome};

/// Renewals a lease. Three may fail in a row.
const RENEWALS: u32 = 4;

/// After a renewal that failed.
const RETRY: Duration = Duration::from_millis(250);

/// The node's lease.
#[derive(Debug)]
pub(super) struct Lease {
    node: u16,
    pub(super) length: Duration,
    record: NodeRecord,
    /// What this process was before its lease ended; its record may stand still.
    previous: Option<String>,
    /// The revision of the record; none: there is none.
    revision: Option<u64>,
    /// Whether it has begun and not ended.
    stands: bool,
    /// When the last renewal that was acknowledged had been sent.
    sent: Instant,
    /// When the next is due; none: one is on its way.
    due: Option<Instant>,
}

/// What is sent to renew the lease, or to begin it anew.
#[derive(Debug)]
pub(super) struct Renewal {
    node: u16,
    length: Duration,
    record: NodeRecord,
    previous: Option<String>,
    revision: Option<u64>,
    pub(super) sent: Instant,
}

impl Lease {
    pub(super) fn new(node: u16, length: Duration, record: NodeRecord) -> Self {
        let now = Instant::now();
        Self {
            node,
            length,
            record,
            previous: None,
            revision: None,
            stands: false,
            sent: now,
            due: None,
        }
    }

    /// Takes the number, if nobody has it.
    pub(super) async fn begin(&mut self, bucket: &Bucket) -> Outcome {
        self.renewal().write(bucket).await
    }

    /// What is to be sent now. One at a time.
    pub(super) fn renewal(&mut self) -> Renewal {
        self.due = None;
        let (node, length, revision) = (self.node, self.length, self.revision);
        let (record, previous) = (self.record.clone(), self.previous.clone());
        let sent = Instant::now();
        if !self.stands {
            // A lease that begins counts from here.
            self.sent = sent;
        }
        Renewal { node, length, record, previous, revision, sent }
    }

    /// The lease has begun, with this revision of its record.
    pub(super) fn begun(&mut self, revision: u64) {
        self.renewed(revision, self.sent);
    }

    /// The record stands, as it was sent then.
    pub(super) fn renewed(&mut self, revision: u64, sent: Instant) {
        self.revision = Some(revision);
        self.stands = true;
        self.sent = sent;
        self.due = Some(sent + self.length / RENEWALS);
    }

    /// The record stands, but it is not known since when.
    pub(super) fn found(&mut self, revision: u64) {
        self.revision = Some(revision);
        self.due = Some(Instant::now());
    }

    /// The renewal did not succeed.
    pub(super) fn failed(&mut self) {
        self.due = Some(Instant::now() + RETRY);
    }

    /// The lease has ended; whether it stood until now. The node comes back as another.
    pub(super) fn end(&mut self, incarnation: u64) -> bool {
        self.revision = None;
        let stood = std::mem::take(&mut self.stands);
        if stood {
            self.previous = Some(std::mem::replace(&mut self.record.incarnation, hex(incarnation)));
        }
        stood
    }

    /// The registry has lost the record, but the lease stands.
    pub(super) fn lose_record(&mut self) {
        self.revision = None;
        self.due = Some(Instant::now());
    }

    /// NATS answers again.
    pub(super) fn hurry(&mut self) {
        self.due = self.due.map(|_| Instant::now());
    }

    /// The others are to give this node nothing more; told with the next renewal.
    pub(super) fn drain(&mut self) {
        self.record.draining = true;
        self.hurry();
    }

    /// What all nodes must have alike.
    pub(super) fn digest(&self) -> &str {
        &self.record.digest
    }

    pub(super) fn revision(&self) -> Option<u64> {
        self.revision
    }

    pub(super) fn key(&self) -> String {
        node_key(self.node)
    }

    /// Nothing may be accepted after this. The registry's clock begins when it gets the renewal,
    /// which is later than it was sent; the rest is for clocks that do not run alike.
    pub(super) fn until(&self) -> Instant {
        self.sent + self.length - self.length / 10
    }

    /// When something is to be done: a renewal, or the end to be noticed.
    pub(super) fn next(&self) -> Option<Instant> {
        let end = self.stands.then(|| self.until());
        [self.due, end].into_iter().flatten().min()
    }

    pub(super) fn has_run_out(&self, now: Instant) -> bool {
        self.stands && now >= self.until()
    }

    /// Whether a record is this process's.
    pub(super) fn is_own(&self, record: &[u8]) -> bool {
        incarnation_in(record).is_some_and(|incarnation| incarnation == self.record.incarnation)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

impl Renewal {
    /// Writes the record over the last one, or where no other process has the number.
    pub(super) async fn write(&self, bucket: &Bucket) -> Outcome {
        let key = node_key(self.node);
        let replaces = match self.revision {
            Some(revision) => revision,
            None => match bucket.get(&key).await {
                Ok((revision, found)) if found.as_ref().is_none_or(|f| self.is_own(f)) => revision,
                Ok(_) => return Outcome::Another,
                Err(problem) => return Outcome::Failed(problem),
            },
        };
        bucket.put(&key, &self.record, replaces, Some(self.length)).await
    }

    /// Whether the lease begins with it.
    pub(super) fn is_first(&self) -> bool {
        self.revision.is_none()
    }

    /// Whether a record is this process's, whatever it was before its lease ended.
    pub(super) fn is_own(&self, record: &[u8]) -> bool {
        let found = incarnation_in(record);
        found.is_some_and(|i| i == self.record.incarnation || Some(i) == self.previous)
    }
}

fn incarnation_in(record: &[u8]) -> Option<String> {
    let record = serde_json::from_slice::<NodeRecord>(record).ok()?;
    Some(record.incarnation)
}
