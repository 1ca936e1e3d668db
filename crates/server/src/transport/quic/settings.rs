//! How the QUIC of a port is set up, and every bound of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
};
use roomcast_client::congestion::Congestion;
use roomcast_wire::Codec;

use crate::config::LimitsConfig;
use crate::tls::Tls;

/// The protocol of WebTransport.
pub(super) const H3: &str = "h3";

/// The application protocols (ALPN) on offer, with the codec of those of our own.
pub(super) const PROTOCOLS: &[(&str, Option<Codec>)] = &[
    ("roomcast.v1.json", Some(Codec::Json)),
    ("roomcast.v1.msgpack", Some(Codec::MsgPack)),
    (H3, None),
];

/// Streams of both directions that a peer may have open: that of the messages; for WebTransport,
/// that of the session, too, and two requests that are being refused.
const STREAMS_BIDI: u32 = 4;

/// Streams of one direction: HTTP/3 has three, and clients open one or two that say nothing so
/// that servers keep on bearing it.
const STREAMS_UNI: u32 = 8;

/// What a peer may send on one stream ahead of what was read. A window of 64 KiB carries 640 KiB/s
/// at a round trip of 100 ms.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// The same over all its streams.
const WINDOW_BYTES: u32 = 128 << 10;

/// What is kept of a peer's messages until it has acknowledged them. Above that they wait in the
/// outbox, where the rules for slow readers hold.
const UNACKNOWLEDGED_BYTES: u64 = 256 << 10;

/// Datagrams that wait to be sent to one peer: two packets. More would make what is newest wait;
/// what does not fit stays in the outbox, where a newer one takes its place. While the path is not
/// full, the next turn begins at once and goes on with them.
const DATAGRAMS_OUT_BYTES: usize = 2_400;

/// Datagrams of one peer that wait to be looked at, while it is held. The oldest are dropped.
const DATAGRAMS_IN_BYTES: usize = 64 << 10;

/// What a peer may send of its handshake ahead of its beginning: a ClientHello is 2 KiB at most.
const HANDSHAKE_BYTES: usize = 16 << 10;

/// How long the answer to a retry is good for.
const RETRY_TOKEN: Duration = Duration::from_secs(15);

/// The endpoint's side: what holds for all connections.
pub(super) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![1]);
    config
}

/// What connections are accepted with. 0-RTT is off: what comes in it can be replayed, and a
/// command must be carried out once.
///
/// # Errors
/// There is no certificate, or the TLS library has no QUIC.
pub(super) fn server(tls: Option<&Tls>, limits: &LimitsConfig) -> io::Result<ServerConfig> {
    let tls = tls.ok_or_else(|| io::Error::other("QUIC needs a certificate"))?;
    let protocols = PROTOCOLS.iter().map(|(name, _)| name.as_bytes().to_vec());
    let tls = tls.for_quic(protocols.collect()).map_err(io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    // Tokens for a later connection would be remembered, or could be used twice.
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config.validation_token_config(tokens);
    config.retry_token_lifetime(RETRY_TOKEN);
    config.transport_config(Arc::new(transport(limits)));
    Ok(config)
}

fn transport(limits: &LimitsConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let silence_ms = limits.ping_ms.saturating_add(limits.pong_ms);
    // A time that QUIC cannot say (2^62 ms) stands for none, which no configuration allows.
    let silence = IdleTimeout::try_from(Duration::from_millis(silence_ms)).ok();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_BIDI))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_UNI))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(UNACKNOWLEDGED_BYTES)
        .datagram_send_buffer_size(DATAGRAMS_OUT_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAMS_IN_BYTES))
        .crypto_buffer_size(HANDSHAKE_BYTES)
        .congestion_controller_factory(Arc::new(Congestion))
        .keep_alive_interval(Some(Duration::from_millis(limits.ping_ms)))
        .max_idle_timeout(silence);
    transport
}
