//! Bounds that hold whatever the configuration says. What a configuration may lower or raise
//! within them stands in `roomcast_core::Limits`.

/// Deepest nesting of a value, in levels, for every codec. JSON's reader stops at 128 by itself;
/// MessagePack recursion of about 1,000 levels overflows a 2 MiB stack, so both stop here.
pub const DEPTH_MAX: usize = 64;

/// Largest message a configuration may allow, in bytes.
pub const MESSAGE_BYTES_CEILING: usize = 16 << 20;

/// Default largest message, in bytes, in either direction.
pub const MESSAGE_BYTES_DEFAULT: usize = 64 << 10;

/// Largest message before the session is known (before `welcome`), in bytes.
pub const MESSAGE_BYTES_UNKNOWN_PEER: usize = 16 << 10;

/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// Longest token in a `hello` or `refresh`, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Largest `data` of a member (given with `join`), in bytes.
pub const MEMBER_DATA_BYTES_MAX: usize = 4 << 10;
