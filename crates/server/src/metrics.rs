//! What the server counts. Each worker has plain counters of its own and publishes them once a
//! turn; they are added up when somebody asks. `docs/metrics.md` lists them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use roomcast_core::Counters;

use crate::engine::Engine;
use crate::server::Shared;

macro_rules! counters {
    ($($field:ident, $kind:ident, $of:ident, $help:literal;)*) => {
        /// The published counters of one worker.
        #[derive(Debug, Default)]
        pub(crate) struct WorkerCounters {
            $($field: AtomicU64,)*
        }

        impl WorkerCounters {
            /// Publishes what the worker has counted. Each store is to memory that only this
            /// worker writes.
            pub(crate) fn publish(&self, hub: &Counters, io: &IoCounters) {
                $(self.$field.store(counters!(@read $of, hub, io).$field, Ordering::Relaxed);)*
            }
        }

        /// Sorted by name within hub and input/output, as in `docs/metrics.md`.
        const FAMILIES: &[Family] = &[
            $(Family {
                name: stringify!($field),
                kind: Kind::$kind,
                help: $help,
                read: |counters| counters.$field.load(Ordering::Relaxed),
            },)*
        ];
    };
    (@read hub, $hub:ident, $io:ident) => { $hub };
    (@read io, $hub:ident, $io:ident) => { $io };
}

counters! {
    commands_total, Counter, hub, "Commands read";
    deliveries_dropped_total, Counter, hub, "Events not delivered: slow rule or unreliable";
    deliveries_total, Counter, hub, "Events put into outboxes";
    events_total, Counter, hub, "Events numbered by rooms";
    hook_timeouts_total, Counter, hub, "Commands refused because a hook took too long";
    hooks_total, Counter, hub, "Commands that waited for a hook";
    hooks_waiting, Gauge, hub, "Commands that wait for a hook";
    links, Gauge, hub, "Open links";
    logics_failed_total, Counter, hub, "Rooms closed because their logic was at fault";
    outbox_bytes_total, Counter, hub, "Bytes put into outboxes";
    pauses_total, Counter, hub, "Pauses of reading because of rate limits";
    recovered_total, Counter, hub, "Recoveries that were complete";
    refusals_total, Counter, hub, "Commands refused";
    resumed_total, Counter, hub, "Sessions resumed";
    rooms, Gauge, hub, "Rooms";
    seats, Gauge, hub, "Seats in rooms";
    sessions, Gauge, hub, "Sessions, dropped ones included";
    sessions_dropped, Gauge, hub, "Sessions whose link is lost and whose seats are kept";
    slow_readers_total, Counter, hub, "Links closed because they did not keep up";
    unrecovered_total, Counter, hub, "Recoveries that were not complete";
    blocked_total, Counter, io, "Writes that a socket could not take whole";
    datagrams_read_total, Counter, io, "Datagrams received";
    datagrams_refused_total, Counter, io, "Datagrams passed over: of no protocol, forged, unknown";
    datagrams_repeated_total, Counter, io, "Pieces sent again because nobody acknowledged them";
    datagrams_replayed_total, Counter, io, "Datagrams passed over because they came before";
    datagrams_too_large_total, Counter, io, "Unreliable messages dropped: no datagram takes them";
    datagrams_written_total, Counter, io, "Datagrams sent";
    faults_total, Counter, io, "Links closed because the peer broke the rules of its transport";
    handshake_timeouts_total, Counter, io, "Connections closed before their handshake was done";
    messages_total, Counter, io, "Messages read";
    peers_turned_away_total, Counter, io, "Clients on UDP refused because of a limit";
    read_bytes_total, Counter, io, "Bytes read";
    reads_total, Counter, io, "Reads from sockets";
    turns_total, Counter, io, "Turns of the worker's loop";
    upgrades_total, Counter, io, "Sessions that went from HTTP long-polling to a WebSocket";
    writes_total, Counter, io, "Writes to sockets";
    written_bytes_total, Counter, io, "Bytes written";
}

/// What a worker counts beside its shard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IoCounters {
    pub(crate) blocked_total: u64,
    pub(crate) datagrams_read_total: u64,
    pub(crate) datagrams_refused_total: u64,
    pub(crate) datagrams_repeated_total: u64,
    pub(crate) datagrams_replayed_total: u64,
    pub(crate) datagrams_too_large_total: u64,
    pub(crate) datagrams_written_total: u64,
    pub(crate) faults_total: u64,
    pub(crate) handshake_timeouts_total: u64,
    pub(crate) messages_total: u64,
    pub(crate) peers_turned_away_total: u64,
    pub(crate) read_bytes_total: u64,
    pub(crate) reads_total: u64,
    pub(crate) turns_total: u64,
    pub(crate) upgrades_total: u64,
    pub(crate) writes_total: u64,
    pub(crate) written_bytes_total: u64,
}

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&WorkerCounters) -> u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The text that Prometheus reads.
pub(crate) fn text(shared: &Arc<Shared>) -> String {
    let mut registry = Registry::with_prefix("roomcast");
    registry.register_collector(Box::new(Scrape(Arc::clone(shared))));
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// The counters of all workers, added up.
pub(crate) fn sum(workers: &[Arc<WorkerCounters>]) -> Counters {
    let total = |read: fn(&WorkerCounters) -> &AtomicU64| {
        workers.iter().map(|worker| read(worker).load(Ordering::Relaxed)).sum()
    };
    Counters {
        links: total(|c| &c.links),
        sessions: total(|c| &c.sessions),
        sessions_dropped: total(|c| &c.sessions_dropped),
        rooms: total(|c| &c.rooms),
        seats: total(|c| &c.seats),
        commands_total: total(|c| &c.commands_total),
        refusals_total: total(|c| &c.refusals_total),
        events_total: total(|c| &c.events_total),
        deliveries_total: total(|c| &c.deliveries_total),
        deliveries_dropped_total: total(|c| &c.deliveries_dropped_total),
        outbox_bytes_total: total(|c| &c.outbox_bytes_total),
        slow_readers_total: total(|c| &c.slow_readers_total),
        resumed_total: total(|c| &c.resumed_total),
        recovered_total: total(|c| &c.recovered_total),
        unrecovered_total: total(|c| &c.unrecovered_total),
        pauses_total: total(|c| &c.pauses_total),
        logics_failed_total: total(|c| &c.logics_failed_total),
        hooks_waiting: total(|c| &c.hooks_waiting),
        hooks_total: total(|c| &c.hooks_total),
        hook_timeouts_total: total(|c| &c.hook_timeouts_total),
    }
}

#[derive(Debug)]
struct Scrape(Arc<Shared>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in FAMILIES {
            // The encoder appends `_total` to the names of counters.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut lines = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (worker, counters) in self.0.counters.iter().enumerate() {
                let labels = [("worker", worker.to_string())];
                let value = (family.read)(counters);
                let line = lines.encode_family(&labels)?;
                match family.kind {
                    Kind::Counter => ConstCounter::new(value).encode(line)?,
                    Kind::Gauge => ConstGauge::new(value as i64).encode(line)?,
                }
            }
        }
        self.encode_server(&mut encoder)
    }
}

impl Scrape {
    /// What is counted once for the whole server.
    fn encode_server(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let acceptor = &self.0.acceptor;
        let counters = [
            ("accepted", "Connections let in", &acceptor.accepted_total),
            ("accept_exhausted", "Accepts that found no descriptor", &acceptor.exhausted_total),
            ("refused", "Connections refused because of a limit", &acceptor.refused_total),
        ];
        for (name, help, value) in counters {
            let line = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value.load(Ordering::Relaxed)).encode(line)?;
        }
        let gauges = [
            ("connections", "Connections that count towards the limit", self.0.connections()),
            ("logics_stuck", "Workers in a callback of a logic for 1 s", self.0.watch.stuck()),
            ("polling_sessions", "Sessions on long-polling", self.0.polling.len() as u64),
            ("draining", "1 while the server is about to stop", u64::from(self.0.is_draining())),
        ];
        for (name, help, value) in gauges {
            let line = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(line)?;
        }
        if let Some(engine) = &self.0.engine {
            encode_cluster(encoder, engine)?;
        }
        let help = "Callbacks of a logic that took longer than 20 ms";
        let mut lines = encoder.encode_descriptor("logic_slow", help, None, MetricType::Counter)?;
        for (logic, slow) in self.0.watch.slow() {
            ConstCounter::new(slow).encode(lines.encode_family(&[("logic", &*logic)])?)?;
        }
        Ok(())
    }
}

/// What only a server of a cluster has.
fn encode_cluster(
    encoder: &mut DescriptorEncoder<'_>,
    engine: &Engine,
) -> Result<(), std::fmt::Error> {
    let of = &engine.state.counters;
    let counters = [
        ("cluster_bytes_received", "Bytes of other nodes", &of.bytes_received_total),
        ("cluster_bytes_sent", "Bytes for other nodes", &of.bytes_sent_total),
        ("cluster_disturbed", "Times words of a node may be lost", &of.disturbed_total),
        ("cluster_dropped", "Parcels of words for a node not sent", &of.dropped_total),
        ("cluster_leases_lost", "Times the node's own lease ended", &of.leases_lost_total),
        ("cluster_messages_received", "Messages of nodes", &of.messages_received_total),
        ("cluster_messages_sent", "Messages for nodes", &of.messages_sent_total),
        ("cluster_readings", "Times all records were read", &of.readings_total),
        ("cluster_reconnects", "Connections to the engine made", &of.reconnects_total),
        ("cluster_renewals_failed", "Renewals that failed", &of.renewals_failed_total),
        ("cluster_takeovers", "Partitions of homes taken", &of.takeovers_total),
        ("cluster_words_received", "Words of other nodes", &of.words_received_total),
    ];
    for (name, help, value) in counters {
        let line = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value.load(Ordering::Relaxed)).encode(line)?;
    }
    let ready = u64::from(engine.state.unready().is_none());
    let gauges = [
        ("cluster_homes", "Partitions held, of 256", of.homes.load(Ordering::Relaxed)),
        ("cluster_nodes", "Live nodes, this one included", of.nodes.load(Ordering::Relaxed)),
        ("cluster_ready", "1 while the node has its lease", ready),
    ];
    for (name, help, value) in gauges {
        let line = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value as i64).encode(line)?;
    }
    Ok(())
}
