//! What is counted.

/// Plain counters of one shard, read at scrape time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Open links.
    pub links: u64,
    /// Sessions, dropped ones included.
    pub sessions: u64,
    /// Sessions whose link is lost and whose seats are kept.
    pub sessions_dropped: u64,
    /// Rooms with their home here.
    pub rooms: u64,
    /// Seats in those rooms.
    pub seats: u64,
    /// Commands read, since the start.
    pub commands_total: u64,
    /// Commands refused, since the start.
    pub refusals_total: u64,
    /// Events numbered by rooms with their home here, since the start.
    pub events_total: u64,
    /// Events put into outboxes, since the start.
    pub deliveries_total: u64,
    /// Events not delivered because of a room's `slow` rule or `reliable: false`, since the start.
    pub deliveries_dropped_total: u64,
    /// Bytes put into outboxes, since the start.
    pub outbox_bytes_total: u64,
    /// Links closed with `slow_reader`, since the start.
    pub slow_readers_total: u64,
    /// Sessions resumed, since the start.
    pub resumed_total: u64,
    /// Recoveries that were complete, since the start.
    pub recovered_total: u64,
    /// Recoveries that were not, since the start.
    pub unrecovered_total: u64,
    /// Pauses of reading because of rate limits, since the start.
    pub pauses_total: u64,
    /// Rooms closed because their logic was at fault, since the start.
    pub logics_failed_total: u64,
    /// Commands that wait for a hook.
    pub hooks_waiting: u64,
    /// Commands that waited for a hook, since the start.
    pub hooks_total: u64,
    /// Commands refused because a hook took too long, since the start.
    pub hook_timeouts_total: u64,
}
