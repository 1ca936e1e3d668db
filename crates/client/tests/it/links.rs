//! The same introduction and publish over every codec and framing, on loopback.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use roomcast_client::wire::dialect::native;
use roomcast_client::wire::{Command, Reply, Secret};
use roomcast_client::{Client, Codec, Epoch, Error, Position, SessionId, SessionLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What a small server answers to a command.
fn answer(codec: Codec, message: &Bytes) -> Option<Bytes> {
    let request = native::decode(codec, message).unwrap();
    let position = Position { epoch: Epoch::new(1), offset: 1 };
    let reply = match &request.command {
        Command::Hello { .. } => Reply::Welcome {
            session: SessionId(1),
            user: None,
            resume: Secret(2),
            resumed: false,
            rooms: &[],
            ping_ms: 0,
            limits: SessionLimits { message_bytes: 1000, rooms: 1, resume_ms: 1 },
        },
        Command::Join { .. } => {
            Reply::Joined { room: "lobby", position, members: 1, recovery: None }
        }
        Command::Publish { data, .. } => {
            let text = data.as_ref().unwrap().to_codec(Codec::Json);
            assert_eq!(text.bytes(), r#"{"text":"hé"}"#);
            Reply::Ok { position: Some(position), delivered: None }
        }
        Command::Bye => return None,
        other => panic!("{other:?}"),
    };
    let mut out = BytesMut::new();
    native::encode_reply(codec, request.reference, &reply, &mut out);
    Some(out.freeze())
}

async fn serve_ws(listener: TcpListener, codec: Codec) {
    let (io, _) = listener.accept().await.unwrap();
    #[allow(clippy::result_large_err)]
    let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().to_string(), "/ws");
        let subprotocol = request.headers()["Sec-WebSocket-Protocol"].clone();
        response.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(io, choose).await.unwrap();
    loop {
        let message = socket.next().await.unwrap().unwrap();
        assert_eq!(message.is_text(), codec == Codec::Json);
        let Some(answer) = answer(codec, &message.into_data()) else { return };
        let text = String::from_utf8(answer.to_vec());
        socket.send(Message::Ping(Bytes::new())).await.unwrap();
        let message = match codec {
            Codec::Json => Message::text(text.unwrap()),
            Codec::MsgPack => Message::Binary(answer),
        };
        socket.send(message).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_pong());
    }
}

async fn serve_length(listener: TcpListener) {
    let (mut io, _) = listener.accept().await.unwrap();
    loop {
        let length = io.read_u32().await.unwrap();
        let mut message = vec![0; length as usize];
        io.read_exact(&mut message).await.unwrap();
        let Some(answer) = answer(Codec::MsgPack, &message.into()) else { return };
        io.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
        io.write_all(&answer).await.unwrap();
    }
}

#[derive(serde::Serialize)]
struct Chat {
    text: &'static str,
}

async fn talk(url: &str, codec: Codec) {
    let client = Client::builder(url).codec(codec).connect().await.unwrap();
    let room = client.join("lobby").await.unwrap();
    assert_eq!(room.publish("chat", &Chat { text: "hé" }).await.unwrap().unwrap().offset, 1);
    client.close().await;
}

#[tokio::test]
async fn websocket_links_speak_both_codecs() {
    for codec in Codec::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve_ws(listener, *codec));
        talk(&url, *codec).await;
        server.await.unwrap();
    }
}

#[tokio::test]
async fn tcp_links_speak_messagepack_behind_lengths() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve_length(listener));
    talk(&url, Codec::MsgPack).await;
    server.await.unwrap();
}

#[tokio::test]
async fn who_is_no_roomcast_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = io.read(&mut buffer).await.unwrap();
        io.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope").await.unwrap();
    });
    let error = Client::connect(&format!("ws://{address}")).await.unwrap_err();
    server.await.unwrap();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
    assert!(error.to_string().contains("404"), "{error}");
    let refused = Client::connect(&format!("tcp://{address}")).await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn where_nobody_listens_a_datagram_link_fails_at_once_and_where_nobody_answers_in_its_time() {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let url = |scheme: &str| format!("{scheme}://{address}");
    let silent = Client::builder(&url("quic")).connect_timeout(Duration::from_millis(200));
    let error = silent.connect().await.unwrap_err();
    assert!(error.to_string().contains("no answer within 200ms"), "{error}");
    drop(port);
    for scheme in ["quic", "udp"] {
        let refused = Client::builder(&url(scheme)).connect_timeout(Duration::from_secs(60));
        let refused = tokio::time::timeout(Duration::from_secs(20), refused.connect());
        let error = refused.await.expect("it should fail at once").unwrap_err();
        let refused = std::io::ErrorKind::ConnectionRefused;
        assert!(matches!(error, Error::Unreachable { kind, .. } if kind == refused), "{error:?}");
    }
}
