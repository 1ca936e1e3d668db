//! The port without a socket, in virtual time, with clients of `quinn-proto`.

#![allow(clippy::unwrap_used)]

mod attacks;
mod path;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Connection, Dir, EndpointConfig, TransportConfig};
use roomcast_wire::Format;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::config::{LimitsConfig, QuicConfig, TlsConfig};
use crate::tls::Tls;
use crate::transport::Site;

const HERE: &str = "127.0.0.1:7403";

fn port() -> (Quic, CertificateDer<'static>) {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::load(&TlsConfig { cert: Some(cert), key: Some(key) }).unwrap();
    let port = Port {
        site: Arc::new(Site::default()),
        admissions: Admissions::new(100_000, 1_000),
        limits: LimitsConfig::default(),
        tls: Some(Arc::new(tls)),
        quic: QuicConfig::default(),
    };
    (Quic::new(port).unwrap(), made.cert.der().clone())
}

struct Client {
    endpoint: Endpoint,
    key: ConnectionHandle,
    quic: Connection,
    address: SocketAddr,
}

impl Client {
    fn new(cert: &CertificateDer<'static>, address: SocketAddr, at: Instant) -> Self {
        Self::with(cert, address, at, TransportConfig::default())
    }

    fn with(
        cert: &CertificateDer<'static>,
        address: SocketAddr,
        at: Instant,
        transport: TransportConfig,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider);
        let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"roomcast.v1.json".to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let server = HERE.parse().unwrap();
        let (key, quic) = endpoint.connect(at, config, server, "localhost").unwrap();
        Self { endpoint, key, quic, address }
    }

    fn datagrams(&mut self, at: Instant) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = Vec::new();
        while let Some(made) = self.quic.poll_transmit(at, 1, &mut buffer) {
            all.push(buffer[..made.size].to_vec());
            buffer.clear();
        }
        all
    }

    fn receive(&mut self, at: Instant, datagram: &[u8]) {
        let (server, data) = (HERE.parse().unwrap(), BytesMut::from(datagram));
        let mut buffer = Vec::new();
        let heard = self.endpoint.handle(at, server, None, None, data, &mut buffer);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = heard {
            self.quic.handle_event(event);
        }
        while let Some(event) = self.quic.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.key, event) {
                self.quic.handle_event(event);
            }
        }
        while self.quic.poll().is_some() {}
    }
}

/// Everything there and back, until nothing is under way.
fn exchange(port: &mut Quic, client: &mut Client, now: Duration, told: &mut Vec<Told>) {
    let at = port.origin + now;
    loop {
        let there = client.datagrams(at);
        for datagram in &there {
            port.receive(now, client.address, datagram, told);
        }
        let mut here = Vec::new();
        port.transmit(now, &mut |_, datagram| here.push(datagram.to_vec()));
        for datagram in &here {
            client.receive(at, datagram);
        }
        if there.is_empty() && here.is_empty() {
            return;
        }
    }
}

fn opened(port: &mut Quic, client: &mut Client) -> Vec<Told> {
    let mut told = Vec::new();
    exchange(port, client, Duration::ZERO, &mut told);
    assert!(!client.quic.is_handshaking());
    let stream = client.quic.streams().open(Dir::Bi).unwrap();
    client.quic.send_stream(stream).write(b"{\"type\":\"ping\"}\n").unwrap();
    exchange(port, client, Duration::ZERO, &mut told);
    told
}

#[test]
fn a_source_that_may_be_a_lie_costs_nothing_and_gets_less_than_it_sent() {
    let (mut port, cert) = port();
    let at = port.origin;
    let mut client = Client::new(&cert, "192.0.2.7:999".parse().unwrap(), at);
    let initial = client.datagrams(at);
    let (mut there, mut here) = (0, 0);
    let mut told = Vec::new();
    for n in 0..10_000_u32 {
        let from = SocketAddr::from(([192, 0, 2, (n >> 8) as u8], n as u16));
        for datagram in &initial {
            there += datagram.len();
            port.receive(Duration::ZERO, from, datagram, &mut told);
        }
        port.transmit(Duration::ZERO, &mut |_, datagram| here += datagram.len());
    }
    assert!(here > 0 && here < there / 4, "{here} for {there}");
    assert!(told.is_empty() && port.conns.is_empty() && port.answers.is_empty());
    // Who does receive there, is served after one more round trip.
    let mut client = Client::new(&cert, "192.0.2.7:999".parse().unwrap(), at);
    let told = opened(&mut port, &mut client);
    let format = Format::JSON_LINE;
    assert!(
        matches!(&told[..], [Told::Opened { format: f, .. }, Told::Message { .. }] if *f == format),
        "{told:?}"
    );
}

#[test]
fn a_retry_that_another_address_answers_is_worth_nothing() {
    let (mut port, cert) = port();
    let at = port.origin;
    let mut client = Client::new(&cert, "192.0.2.7:999".parse().unwrap(), at);
    let mut told = Vec::new();
    for datagram in client.datagrams(at) {
        port.receive(Duration::ZERO, client.address, &datagram, &mut told);
    }
    let mut retries = Vec::new();
    port.transmit(Duration::ZERO, &mut |_, datagram| retries.push(datagram.to_vec()));
    for retry in &retries {
        client.receive(at, retry);
    }
    let mut told = Vec::new();
    for datagram in client.datagrams(at) {
        port.receive(Duration::ZERO, "192.0.2.8:999".parse().unwrap(), &datagram, &mut told);
    }
    assert!(port.conns.is_empty());
}

#[test]
fn handshakes_that_are_not_finished_are_bounded_and_end() {
    let (mut port, cert) = port();
    let mut told = Vec::new();
    for n in 0..RETRY_ABOVE as u16 + 50 {
        let address = SocketAddr::from(([127, 0, 0, 1], 1_000 + n));
        let mut client = Client::new(&cert, address, port.origin);
        for datagram in client.datagrams(port.origin) {
            port.receive(Duration::ZERO, address, &datagram, &mut told);
        }
    }
    assert_eq!((port.half_open, port.conns.len()), (RETRY_ABOVE, RETRY_ABOVE));
    // One that goes on is served meanwhile, by a retry.
    let mut client = Client::new(&cert, "127.0.0.1:999".parse().unwrap(), port.origin);
    assert_eq!(opened(&mut port, &mut client).len(), 2);
    // It is alone after the time for a handshake, and what QUIC keeps of the others for a while.
    let mut now = Duration::ZERO;
    while let Some(due) = port.due().filter(|due| *due < Duration::from_secs(20)) {
        now = now.max(due) + Duration::from_millis(1);
        port.tick(now, &mut told);
        exchange(&mut port, &mut client, now, &mut told);
    }
    assert_eq!((port.half_open, port.busy), (0, 1));
    assert_eq!(port.conns.iter().flatten().count(), 1);
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_million_random_datagrams_leave_nothing() {
    let (mut port, _) = port();
    let mut seed = 7_u64;
    let mut datagram = [0_u8; 96];
    let mut told = Vec::new();
    let mut sent = 0;
    let began = Instant::now();
    for n in 0..1_000_000_u32 {
        for chunk in datagram.chunks_mut(8) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&seed.to_le_bytes());
        }
        let len = 1 + (seed >> 32) as usize % datagram.len();
        let from = SocketAddr::from(([127, 0, 0, 1], n as u16));
        port.receive(Duration::from_micros(n.into()), from, &datagram[..len], &mut told);
        port.transmit(Duration::ZERO, &mut |_, datagram| sent += datagram.len());
    }
    assert!(told.is_empty() && port.conns.is_empty() && port.answers.is_empty());
    // Resets of connections that were never there: at most one in 20 ms.
    assert!(sent < 96 * 60, "{sent}");
    assert_eq!(port.counts().refused_total, 1_000_000);
    // Some two seconds without optimization: 2 µs each.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn who_is_held_is_not_heard_and_nothing_is_lost() {
    let (mut port, cert) = port();
    let mut client = Client::new(&cert, "127.0.0.1:999".parse().unwrap(), port.origin);
    let told = opened(&mut port, &mut client);
    let Told::Opened { peer, .. } = told[0] else { panic!("{told:?}") };
    let mut told = Vec::new();
    port.hold(Duration::ZERO, peer, true, &mut told);
    let stream = quinn_proto::StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0);
    // More than its window: the rest waits with the client.
    let mut said = 0;
    while client.quic.send_stream(stream).write(b"{\"type\":\"ping\"}\n").is_ok_and(|n| n == 16) {
        said += 1;
        exchange(&mut port, &mut client, Duration::ZERO, &mut told);
    }
    assert!(told.is_empty() && said > 1_000, "{said}");
    port.hold(Duration::ZERO, peer, false, &mut told);
    let mut now = Duration::ZERO;
    while port.due() == Some(Duration::ZERO) {
        now += Duration::from_micros(1);
        port.tick(now, &mut told);
    }
    assert_eq!(told.len(), said);
}
