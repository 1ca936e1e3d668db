//! WebTransport spoken byte by byte: what browsers never send.

use quinn::{Connection, RecvStream, SendStream};
use roomcast_wire::h3::{close_session, connect, control_stream, frame, qpack, records, varint};
use tokio::time::timeout;

use crate::member::{Host, code, host};
use crate::peer::{Lines, PATIENCE, address};
use crate::run;

/// A connection that speaks HTTP/3, its control stream open.
async fn h3(host: &Host) -> (quinn::Endpoint, Connection) {
    let (endpoint, connection) = host.dial(host.quic(), "h3").await;
    let mut control = connection.open_uni().await.unwrap();
    control.write_all(&control_stream()).await.unwrap();
    // It stands as long as the connection.
    std::mem::forget(control);
    (endpoint, connection)
}

/// Asks for a session, and returns the first bytes of the answer.
async fn ask(connection: &Connection, fields: &[(&str, &str)]) -> (SendStream, Vec<u8>) {
    let (send, _, answer) = ask_and_keep(connection, fields).await;
    (send, answer)
}

async fn ask_and_keep(
    connection: &Connection,
    fields: &[(&str, &str)],
) -> (SendStream, RecvStream, Vec<u8>) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let mut request = Vec::new();
    records::write(&mut request, 0x21 + 0x1f * 3, b"to be passed over");
    records::write(&mut request, frame::HEADERS, &qpack::encode(fields));
    send.write_all(&request).await.unwrap();
    let answer = some(&mut receive).await;
    (send, receive, answer)
}

async fn some(receive: &mut RecvStream) -> Vec<u8> {
    let read = timeout(PATIENCE, receive.read_chunk(1 << 16, true)).await.unwrap();
    read.unwrap().map(|chunk| chunk.bytes.to_vec()).unwrap_or_default()
}

fn status(answer: &[u8]) -> String {
    let mut buffer = bytes::BytesMut::from(answer);
    let record = records::Records::default().next(&mut buffer, &[frame::HEADERS]);
    let (_, fields) = record.unwrap().unwrap();
    let fields = qpack::decode(&fields).unwrap();
    assert_eq!(fields[0].0, ":status");
    fields[0].1.clone()
}

fn wish<'a>(authority: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", "webtransport"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
    ]
}

#[test]
fn a_session_in_messagepack_talks_with_a_tcp_member() {
    run(async {
        let host = host(|_| {});
        let mut tcp = Lines::connect(&host.server);
        tcp.join("wt");
        let (_endpoint, connection) = h3(&host).await;
        let at = host.quic().to_string();
        let path = format!("{}?codec=msgpack", connect::PATH);
        let (session, answer) = ask(&connection, &wish(&at, &path)).await;
        assert_eq!(status(&answer), "200");
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let mut begin = Vec::new();
        varint::write(&mut begin, frame::WEBTRANSPORT_STREAM);
        varint::write(&mut begin, 0);
        // {"type":"join","ref":1,"room":"wt"}
        let join = b"\x83\xa4type\xa4join\xa3ref\x01\xa4room\xa2wt";
        begin.extend((join.len() as u32).to_be_bytes());
        begin.extend_from_slice(join);
        send.write_all(&begin).await.unwrap();
        let joined = some(&mut receive).await;
        assert!(joined.windows(6).any(|bytes| bytes == b"joined"), "{joined:x?}");
        tcp.expect("member_joined");
        tcp.send(r#"{"type":"publish","room":"wt","event":"e","data":1,"reliable":false}"#);
        let datagram = timeout(PATIENCE, connection.read_datagram()).await.unwrap().unwrap();
        // The session is stream 0, so its datagrams begin with 0.
        assert_eq!(datagram[0], 0);
        assert!(datagram.windows(5).any(|bytes| bytes == b"event"));
        // A datagram of no session is passed over, one of this session is a message.
        let publish = b"\x84\xa4type\xa7publish\xa4room\xa2wt\xa5event\xa1d\xa4data\x02";
        for prefix in [5, 0] {
            let datagram = [&[prefix], &publish[..]].concat();
            connection.send_datagram(datagram.into()).unwrap();
        }
        assert_eq!(tcp.expect("event")["data"], 1);
        assert_eq!(tcp.expect("event")["data"], 2);
        // The end of the session is the end of the link.
        drop(session);
        tcp.expect("member_left");
    });
}

#[test]
fn strangers_pages_and_other_requests_are_refused_by_status() {
    run(async {
        let host = host(|_| {});
        let at = host.quic().to_string();
        let page = format!("http://localhost:{}", address(&host.server, "ws").port());
        let (_endpoint, connection) = h3(&host).await;
        let mut get = wish(&at, "/");
        get[0] = (":method", "GET");
        assert_eq!(status(&ask(&connection, &get).await.1), "405");
        assert_eq!(status(&ask(&connection, &wish(&at, "/other")).await.1), "404");
        assert_eq!(status(&ask(&connection, &wish("evil.example", connect::PATH)).await.1), "421");
        let mut of_page = wish(&at, connect::PATH);
        of_page.push(("origin", "https://evil.example"));
        assert_eq!(status(&ask(&connection, &of_page).await.1), "403");
        of_page.pop();
        of_page.push(("origin", &page));
        let (_session, answer) = ask(&connection, &of_page).await;
        assert_eq!(status(&answer), "200");
        // There is one session; another request is turned away, and the first stands.
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        let mut request = Vec::new();
        records::write(&mut request, frame::HEADERS, &qpack::encode(&of_page));
        send.write_all(&request).await.unwrap();
        assert!(timeout(PATIENCE, receive.read_chunk(1, true)).await.unwrap().is_err());
        assert!(connection.close_reason().is_none());
    });
}

#[test]
fn a_server_that_stops_says_goodbye_before_it_closes_the_session() {
    run(async {
        let host = host(|_| {});
        let at = host.quic().to_string();
        let (_endpoint, connection) = h3(&host).await;
        let (_session, mut closing, answer) = ask_and_keep(&connection, &wish(&at, "/wt")).await;
        assert_eq!(status(&answer), "200");
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(b"\x40\x41\x00{\"type\":\"ping\",\"ref\":1}\n").await.unwrap();
        some(&mut receive).await;
        let Host { server, .. } = host;
        let stopping = std::thread::spawn(move || server.drain_and_stop());
        let goodbye = timeout(PATIENCE, receive.read_to_end(1 << 16)).await.unwrap().unwrap();
        assert!(String::from_utf8(goodbye).unwrap().contains("\"code\":4802"));
        let capsule = timeout(PATIENCE, closing.read_to_end(1 << 16)).await.unwrap().unwrap();
        assert_eq!(capsule, close_session(4802, "drain"));
        assert_eq!(code(&connection).await, 0x100);
        tokio::task::spawn_blocking(move || stopping.join().unwrap()).await.unwrap();
    });
}

#[test]
fn broken_rules_end_the_connection_with_their_number() {
    run(async {
        let host = host(|_| {});
        let too_long = [&[1][..], &[0x80, 0x01, 0, 0]].concat();
        let dynamic = [1, 3, 1, 0, 0x80];
        for (stream, bytes, number) in [
            // DATA before HEADERS; a request of 64 KiB; one that needs a dynamic table.
            (true, &[0, 1, 0][..], 0x105),
            (true, &too_long, 0x107),
            (true, &dynamic, 0x200),
            // A push, and a second control stream.
            (false, &[1], 0x103),
            (false, &[0, 4, 0], 0x103),
        ] {
            let (_endpoint, connection) = h3(&host).await;
            if stream {
                let (mut send, _receive) = connection.open_bi().await.unwrap();
                send.write_all(bytes).await.unwrap();
                assert_eq!(code(&connection).await, number, "{bytes:x?}");
            } else {
                let mut send = connection.open_uni().await.unwrap();
                send.write_all(bytes).await.unwrap();
                assert_eq!(code(&connection).await, number, "{bytes:x?}");
            }
        }
        let (_endpoint, connection) = host.dial(host.quic(), "h3").await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&control_stream()).await.unwrap();
        control.finish().unwrap();
        assert_eq!(code(&connection).await, 0x104);
    });
}
