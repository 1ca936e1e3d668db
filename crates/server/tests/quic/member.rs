//! A client on QUIC that is not ours: `quinn`, and JSON lines by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, RecvStream, SendStream};
use roomcast::{Config, Server};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::time::timeout;

use crate::peer::{PATIENCE, address, start};

/// A server with a certificate that clients know.
pub struct Host {
    pub server: Server,
    pub cert: CertificateDer<'static>,
    _files: tempfile::TempDir,
}

/// A server on WebSocket, TCP and QUIC.
pub fn host(change: impl FnOnce(&mut Config)) -> Host {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(files.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(files.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let server = start(|config| {
        config.listen.push("quic://127.0.0.1:0".into());
        config.tls.cert = Some(files.path().join("cert.pem"));
        config.tls.key = Some(files.path().join("key.pem"));
        change(config);
    });
    Host { server, cert: made.cert.der().clone(), _files: files }
}

impl Host {
    pub fn quic(&self) -> SocketAddr {
        address(&self.server, "quic")
    }

    /// A connection that speaks `protocol`.
    pub async fn dial(&self, at: SocketAddr, protocol: &str) -> (Endpoint, Connection) {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let connecting = endpoint.connect_with(self.config(protocol), at, "localhost").unwrap();
        let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
        (endpoint, connection)
    }

    pub fn config(&self, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider);
        let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        let silence = IdleTimeout::try_from(Duration::from_secs(20)).unwrap();
        transport.max_idle_timeout(Some(silence));
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        config
    }

    pub async fn member(&self) -> Member {
        self.member_through(self.quic()).await
    }

    pub async fn member_through(&self, at: SocketAddr) -> Member {
        let (endpoint, connection) = self.dial(at, "roomcast.v1.json").await;
        let (send, receive) = connection.open_bi().await.unwrap();
        Member { endpoint, connection, send, receive, unread: Vec::new() }
    }
}

pub struct Member {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub send: SendStream,
    pub receive: RecvStream,
    unread: Vec<u8>,
}

impl Member {
    pub async fn say(&mut self, text: &str) {
        self.send.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    /// The next message of the stream; none at its end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let read = timeout(PATIENCE, self.receive.read_chunk(1 << 16, true)).await.unwrap();
            let chunk = read.ok().flatten()?;
            self.unread.extend_from_slice(&chunk.bytes);
        }
    }

    /// The next message of a kind; others are passed over.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            let message = message.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }

    pub async fn join(&mut self, room: &str) {
        self.say(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#)).await;
        self.expect("joined").await;
    }

    /// The next message that comes as a datagram.
    pub async fn datagram(&self) -> Value {
        let datagram = timeout(PATIENCE, self.connection.read_datagram()).await.unwrap();
        serde_json::from_slice(&datagram.unwrap()).unwrap()
    }

    /// What the server closes the connection with.
    pub async fn closed(&self) -> u64 {
        code(&self.connection).await
    }
}

/// The code that a connection is closed with.
pub async fn code(connection: &Connection) -> u64 {
    match timeout(PATIENCE, connection.closed()).await.unwrap() {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}
