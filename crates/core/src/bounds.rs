//! What every publication asks of a room's options.

use roomcast_wire::RoomOptions;
use roomcast_wire::options::{Durability, PublishRule};

/// What every publication asks of the options, in one piece: they have three cache lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub fanout_bytes_per_s: u64,
    pub events_per_s: u32,
    pub payload_max: u32,
    pub publish: PublishRule,
    pub echo: bool,
    /// There is a history.
    pub keeps: bool,
    pub merges: bool,
    pub ticks: bool,
    /// Its events wait for the log.
    pub durable: bool,
}

impl Bounds {
    pub fn new(options: &RoomOptions) -> Self {
        Self {
            fanout_bytes_per_s: options.rate.fanout_bytes_per_s,
            events_per_s: options.rate.events_per_s,
            payload_max: u32::try_from(options.payload_max).unwrap_or(u32::MAX),
            publish: options.publish,
            echo: options.echo,
            keeps: options.history.size > 0,
            merges: options.merge_ms > 0,
            ticks: options.tick_ms > 0,
            durable: options.durable != Durability::Off,
        }
    }
}
