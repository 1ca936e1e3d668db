//! Who breaks the rules of QUIC, one by one.

use quinn_proto::congestion::CubicConfig;
use rustls::Tls13CipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, KeyChange, Version};

use super::*;

/// The same numbers each time.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 33) as usize
}

/// Goes on until nothing is to be done, with nothing more of anybody.
fn end(port: &mut Quic, told: &mut Vec<Told>) {
    let mut now = Duration::ZERO;
    while let Some(due) = port.due() {
        now = now.max(due) + Duration::from_millis(1);
        port.tick(now, told);
        port.transmit(now, &mut |_, _| {});
        assert!(now < Duration::from_secs(120));
    }
}

#[test]
fn gaps_that_are_never_filled_end_the_connection() {
    let (mut port, cert) = port();
    let mut transport = TransportConfig::default();
    let mut window = CubicConfig::default();
    window.initial_window(1 << 40);
    transport.congestion_controller_factory(Arc::new(window));
    let address = "127.0.0.1:999".parse().unwrap();
    let mut client = Client::with(&cert, address, port.origin, transport);
    opened(&mut port, &mut client);
    let stream = quinn_proto::StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0);
    let mut told = Vec::new();
    let mut came = 0;
    // Each second byte comes, in a packet of its own, which would be kept whole.
    for byte in 0..16_000 {
        client.quic.send_stream(stream).write(b"x").unwrap();
        for datagram in client.datagrams(port.origin).iter().filter(|_| byte % 2 == 1) {
            port.receive(Duration::ZERO, address, datagram, &mut told);
            came += 1;
        }
        port.transmit(Duration::ZERO, &mut |_, _| {});
        if !told.is_empty() {
            break;
        }
    }
    let ended = PeerLoss::Ended(CloseCode::Protocol);
    assert!(matches!(&told[..], [Told::Closed { loss, .. }] if *loss == ended), "{told:?}");
    assert!(came < 2_100, "{came}");
    end(&mut port, &mut told);
    assert!(port.conns.is_empty());
}

#[test]
fn whose_address_is_not_validated_gets_three_times_what_it_sent() {
    let (mut port, cert) = port();
    // Of this machine, so without a retry; it never says more.
    let mut client = Client::new(&cert, "127.0.0.1:999".parse().unwrap(), port.origin);
    let (mut there, mut here) = (0, 0);
    let mut told = Vec::new();
    for datagram in client.datagrams(port.origin) {
        there += datagram.len();
        port.receive(Duration::ZERO, client.address, &datagram, &mut told);
    }
    let mut now = Duration::ZERO;
    loop {
        port.transmit(now, &mut |_, datagram| here += datagram.len());
        let Some(due) = port.due() else { break };
        now = now.max(due) + Duration::from_millis(1);
        port.tick(now, &mut told);
    }
    assert!(here > there && here <= 3 * there, "{here} for {there}");
    assert!(told.is_empty() && port.conns.is_empty());
}

#[test]
fn who_knows_or_guesses_a_connection_id_changes_nothing() {
    let (mut port, cert) = port();
    let mut client = Client::new(&cert, "127.0.0.1:999".parse().unwrap(), port.origin);
    opened(&mut port, &mut client);
    client.quic.ping();
    let known = client.datagrams(port.origin).pop().unwrap();
    let mut told = Vec::new();
    let (mut seed, mut sent) = (7, 0);
    for n in 0..20_000_u32 {
        let mut forged = known.clone();
        // The number of the connection stands in the eight bytes behind the first.
        let from = if n % 2 == 0 { 9 } else { 1 };
        for byte in &mut forged[from..] {
            *byte = next(&mut seed) as u8;
        }
        let from = SocketAddr::from(([192, 0, 2, (n >> 8) as u8], n as u16));
        port.receive(Duration::ZERO, from, &forged, &mut told);
        port.transmit(Duration::ZERO, &mut |to, datagram| {
            assert_ne!(to, client.address);
            sent += datagram.len();
        });
    }
    // Resets of connections that were never there, and nothing of this one.
    assert!(told.is_empty() && sent < 200, "{told:?} {sent}");
    assert_eq!(port.conns.iter().flatten().count(), 1);
    let stream = quinn_proto::StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0);
    client.quic.send_stream(stream).write(b"{\"type\":\"ping\"}\n").unwrap();
    exchange(&mut port, &mut client, Duration::ZERO, &mut told);
    assert!(matches!(&told[..], [Told::Message { .. }]), "{told:?}");
}

/// The first datagram of a client (RFC 9001 section 5) that says these transport parameters.
fn initial(cert: &CertificateDer<'static>, number: u64, parameters: Vec<u8>) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let suite = TLS13_AES_128_GCM_SHA256.tls13().and_then(Tls13CipherSuite::quic_suite);
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"roomcast.v1.json".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(tls.into(), Version::V1, name, parameters).unwrap();
    let mut hello = Vec::new();
    let keys: Option<KeyChange> = client.write_hs(&mut hello);
    assert!(keys.is_none() && hello.len() < 1_000);
    let number = number.to_be_bytes();
    let keys = suite.unwrap().keys(&number, rustls::Side::Client, Version::V1);
    // A CRYPTO frame, and padding to the 1,200 bytes that a first datagram has.
    let mut payload = vec![0x06, 0, 0x40 | (hello.len() >> 8) as u8, hello.len() as u8];
    payload.extend_from_slice(&hello);
    payload.resize(1_200 - 30 - 16, 0);
    let length = 4 + payload.len() + 16;
    let mut header = [&[0xc3, 0, 0, 0, 1, 8][..], &number, &[8], &number, &[0]].concat();
    header.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8, 0, 0, 0, 0]);
    let tag = keys.local.packet.encrypt_in_place(0, &header, &mut payload).unwrap();
    let (head, packet_number) = header.split_at_mut(26);
    let sample = &payload[..keys.local.header.sample_len()];
    keys.local.header.encrypt_in_place(sample, &mut head[0], packet_number).unwrap();
    [&header[..], &payload, tag.as_ref()].concat()
}

/// One transport parameter (RFC 9000 section 18).
fn parameter(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id, value.len() as u8], value].concat()
}

#[test]
fn bad_transport_parameters_end_the_handshake_and_nothing_else() {
    let (mut port, cert) = port();
    let address = "127.0.0.1:999".parse().unwrap();
    let mut told = Vec::new();
    let mut number = 0_u64;
    let mut begin = |port: &mut Quic, bad: &[u8]| {
        number += 1;
        // Its own source connection id, without which nothing is right.
        let parameters = [&parameter(0x0f, &number.to_be_bytes())[..], bad].concat();
        let datagram = initial(&cert, number, parameters);
        let before = port.half_open;
        port.receive(Duration::ZERO, address, &datagram, &mut told);
        let mut answered = 0;
        port.transmit(Duration::ZERO, &mut |_, datagram| answered += datagram.len());
        assert!(
            answered > 0 && answered <= 3 * datagram.len(),
            "{answered} {} {bad:x?}",
            datagram.len()
        );
        port.half_open > before
    };
    let huge = 0xffff_ffff_ffff_ffff_u64.to_be_bytes();
    assert!(begin(&mut port, &[]));
    // What is as large as can be said, and of no use here.
    for id in [0x01, 0x04, 0x05, 0x06, 0x07, 0x0e, 0x20] {
        assert!(begin(&mut port, &parameter(id, &huge)), "{id}");
    }
    let bad = [
        parameter(0x0f, &[1; 8]),           // said twice
        parameter(0x00, &[1; 8]),           // what only servers say
        parameter(0x02, &[1; 16]),          // the same
        parameter(0x0d, &[1; 60]),          // the same
        parameter(0x10, &[1; 8]),           // the same
        parameter(0x03, &[0x44, 0xaf]),     // packets below 1,200 bytes
        parameter(0x0a, &[21]),             // an exponent above 20
        parameter(0x0b, &[0x80, 0, 64, 0]), // acknowledgements later than 2^14 ms
        parameter(0x0e, &[1]),              // fewer than two connection ids
        parameter(0x08, &huge),             // streams above 2^60
        parameter(0x09, &huge),             // the same
        parameter(0x04, &[0x40]),           // half a number
        parameter(0x04, &[0, 0]),           // one and a half
        vec![0x04, 0x08, 0],                // shorter than it says
        vec![0xc0],                         // no whole name
    ];
    for bad in &bad {
        assert!(!begin(&mut port, bad), "{bad:x?}");
    }
    let mut seed = 7;
    for _ in 0..500 {
        let len = next(&mut seed) % 60;
        let bad: Vec<u8> = (0..len).map(|_| (next(&mut seed) % 80) as u8).collect();
        begin(&mut port, &bad);
    }
    assert!(told.is_empty());
    end(&mut port, &mut told);
    assert!(told.is_empty() && port.conns.is_empty() && port.half_open == 0);
    let mut client = Client::new(&cert, address, port.origin);
    assert_eq!(opened(&mut port, &mut client).len(), 2);
}
