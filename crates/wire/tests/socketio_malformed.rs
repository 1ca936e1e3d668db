//! Socket.IO: packets that no client writes (threats S19 and S20). Each ends its connection with a
//! parse error, as the reference server does, and none does more.
#![allow(clippy::unwrap_used)]

mod socketio_support;

use bytes::Bytes;
use roomcast_wire::CloseCode;
use roomcast_wire::dialect::Standing;
use roomcast_wire::dialect::socketio::{ATTACHMENTS_MAX, AssembleError, Assembler};
use socketio_support::{MSGPACK, assembled, read, standing};

#[test]
fn malformed_texts_end_the_connection() {
    for line in include_str!("socketio_malformed.txt").lines() {
        let text = line.split_once("  # ").map_or(line, |(text, _)| text);
        let error = read(text, &standing()).expect_err(text);
        assert_eq!((error.reference, error.close), (None, Some(CloseCode::Protocol)), "{text}");
    }
}

#[test]
fn before_connect_only_connect_is_taken() {
    let nobody = Standing { session: None, ..standing() };
    for text in [r#"2["join","lobby"]"#, "31[]", "1", "4{}", r#"0[]"#, r#"0"a""#, "0null", "0{"] {
        assert_eq!(read(text, &nobody).unwrap_err().close, Some(CloseCode::Protocol), "{text}");
    }
}

#[test]
fn a_million_attachments_are_refused_at_once() {
    for text in
        ["51000000-[{\"_placeholder\":true,\"num\":0}]", "511-[]", "599999999999999999999-[]"]
    {
        let mut assembler = Assembler::new(65_536);
        let error = assembler.text(Bytes::from_static(text.as_bytes())).unwrap_err();
        assert!(matches!(error, AssembleError::Malformed(_)), "{text}: {error}");
        assert!(!assembler.is_waiting());
    }
    assert_eq!(ATTACHMENTS_MAX, 10);
}

#[test]
fn bytes_are_counted_from_the_first() {
    let mut assembler = Assembler::new(100);
    let text = r#"52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(assembler.text(Bytes::from_static(text.as_bytes())), Ok(None));
    assert!(assembler.is_waiting());
    assert_eq!(assembler.binary(Bytes::from_static(&[0; 20])), Ok(None));
    let error = AssembleError::TooLarge { size: text.len() + 40, limit: 100 };
    assert_eq!(assembler.binary(Bytes::from_static(&[0; 20])), Err(error));
    let mut assembler = Assembler::new(100);
    assert!(assembler.text(Bytes::from(vec![b'x'; 101])).is_err());
    let mut assembler = Assembler::new(100);
    assert!(assembler.binary(Bytes::from(vec![0x80; 101])).is_err());
}

#[test]
fn messages_out_of_their_order_are_refused() {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let waits = text(r#"51-["a",{"_placeholder":true,"num":0}]"#);
    let mut assembler = Assembler::new(1_000);
    assert_eq!(assembler.text(waits.clone()), Ok(None));
    assert_eq!(assembler.text(text("2[\"a\"]")), Err(AssembleError::Interleaved));
    let mut assembler = Assembler::new(1_000);
    assert!(assembler.text(text("0")).is_ok());
    assert_eq!(assembler.binary(text("x")), Err(AssembleError::Unannounced));
    let mut assembler = Assembler::new(1_000);
    assert!(assembler.binary(text("\u{80}")).is_ok());
    assert_eq!(assembler.text(text("0")), Err(AssembleError::OtherParser));
}

#[test]
fn a_text_is_no_packet_of_the_msgpack_parser() {
    for text in ["", "0", "2[\"a\"]", "50-[\"a\"]", "51-[\"a\",{\"_placeholder\":true,\"num\":0}]"]
    {
        let mut assembler = Assembler::new(1_000);
        let whole = assembler.binary(Bytes::from_static(text.as_bytes()));
        assert!(matches!(whole, Err(AssembleError::Malformed(_))), "{text}: {whole:?}");
    }
}

/// Threat S19: while a packet is not whole, it must not keep more than the bytes that are counted.
/// What comes is a piece of a larger buffer, all of which would stay.
#[test]
fn a_packet_that_waits_keeps_its_own_bytes_only() {
    let text = r#"52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let mut assembler = Assembler::new(1_000);
    let read = [Bytes::from(text.to_owned()), Bytes::from(vec![7; 3])];
    assert_eq!(assembler.text(read[0].clone()), Ok(None));
    assert_eq!(assembler.binary(read[1].clone()), Ok(None));
    assert!(assembler.is_waiting() && read.iter().all(Bytes::is_unique));
}

#[test]
fn every_attachment_has_one_place_of_its_own() {
    let one = r#"{"_placeholder":true,"num":0}"#;
    for (data, parts) in [
        (format!("[\"a\",{one},{one}]"), 1),
        (format!("[\"a\",{one}]"), 2),
        ("[\"a\"]".to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":1}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":-1}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":0.5}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":"0"}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":"splice"}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":"__proto__"}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":1e300}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true,"num":null}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":true}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":false,"num":0}]"#.to_owned(), 1),
        (r#"["a",{"_placeholder":1,"num":0}]"#.to_owned(), 1),
        (format!("[\"a\",{one}"), 1),
        (format!("[\"a\",{one}] x"), 1),
        (format!("{}{one}{}", "[".repeat(65), "]".repeat(65)), 1),
        (String::new(), 1),
    ] {
        let text = format!("5{parts}-{data}");
        let whole = assembled(&text, &vec![&b"x"[..]; parts]);
        assert!(matches!(whole, Err(AssembleError::Malformed(_))), "{text}: {whole:?}");
    }
    // A name or a whole list that is an attachment is put together, but is no event.
    for data in [format!("[{one}]"), one.to_owned(), format!("{{\"a\":{one}}}")] {
        let packet = assembled(&format!("51-{data}"), &[b"x"]).unwrap();
        let error = socketio_support::JSON.decode(&packet, &standing()).unwrap_err();
        assert_eq!(error.close, Some(CloseCode::Protocol), "{data}");
    }
}

#[test]
fn malformed_maps_end_the_connection() {
    let packet = |kind: &[u8], data: &[u8], rest: &[u8]| {
        let count = 0x83 + u8::from(!rest.is_empty());
        let mut bytes = vec![count];
        for part in [&b"\xa4type"[..], kind, b"\xa4data", data, b"\xa3nsp\xa1/", rest] {
            bytes.extend_from_slice(part);
        }
        Bytes::from(bytes)
    };
    let good = packet(b"\x02", b"\x91\xa1a", b"\xa2id\x01");
    assert!(MSGPACK.decode(&good, &standing()).is_ok());
    for bad in [
        packet(b"\x05", b"\x91\xa1a", b""),
        packet(b"\xa12", b"\x91\xa1a", b""),
        packet(b"\xff", b"\x91\xa1a", b""),
        packet(b"\x02", b"\xa1a", b""),
        packet(b"\x02", b"\xc0", b""),
        packet(b"\x02", b"\x90", b""),
        packet(b"\x02", b"\x91\xc0", b""),
        packet(b"\x02", b"\x91\xc4\x01a", b""),
        packet(b"\x02", b"\x91\xaaconnect\xaa", b""),
        packet(b"\x02", b"\x91\xa7connect", b""),
        packet(b"\x02", b"\xdd\xff\xff\xff\xff\xa1a", b""),
        packet(b"\x02", b"\x91\xa1a", b"\xa2id\xa11"),
        packet(b"\x02", b"\x91\xa1a", b"\xa2id\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        packet(b"\x02", b"\x91\xa1a", b"\xa4type\x03"),
        packet(b"\x03", b"\x90", b""),
        packet(b"\x01", b"\x90", b""),
        packet(b"\x04", b"\x80", b""),
        Bytes::from_static(b"\x80"),
        Bytes::from_static(b"\x93\x02\xa1/\x90"),
        Bytes::from_static(b"\xdf\xff\xff\xff\xff"),
        Bytes::from_static(b"\xc1"),
    ] {
        let error = MSGPACK.decode(&bad, &standing()).unwrap_err();
        assert_eq!((error.reference, error.close), (None, Some(CloseCode::Protocol)), "{bad:?}");
    }
}
