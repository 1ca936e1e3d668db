//! Clients of all dialects and codecs in one room.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use roomcast::{Codec, Config, Payload, Server, SessionId};
use roomcast_wire::dialect::mesh::slug;

use crate::gopher::{self, Gopher, Heard};
use crate::peer::{self, HANDSHAKE, connect, frame, read_head};
use crate::transcript::until_members;

/// How often each client speaks.
const ROUNDS: usize = 20;

/// How what a client says is written, and how what it hears shows who said it.
#[derive(Clone, Copy, PartialEq)]
enum Tongue {
    Native,
    NativePacked,
    MaChat,
    Mesh,
    MsgIo,
    MsgIoPacked,
    SimpleChat,
    SocketIo,
    SocketIoPacked,
}

/// How messages are cut out of the stream.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Lines,
    LengthBe,
    LengthLe,
    Frames,
    /// By what is in it.
    Values,
}

/// A listener, and what is said there.
struct Kind {
    name: &'static str,
    listen: &'static str,
    path: &'static str,
    offer: &'static str,
    tongue: Tongue,
    cut: Cut,
}

const fn kind(
    name: &'static str,
    listen: &'static str,
    (path, offer): (&'static str, &'static str),
    tongue: Tongue,
    cut: Cut,
) -> Kind {
    Kind { name, listen, path, offer, tongue, cut }
}

/// Where Socket.IO is, without a subprotocol.
const SOCKETIO: (&str, &str) = ("/socket.io/?EIO=4&transport=websocket", "");

const KINDS: [Kind; 13] = [
    kind("line", "tcp://127.0.0.1:0", ("", ""), Tongue::Native, Cut::Lines),
    kind("packed", "tcp://127.0.0.1:0", ("", ""), Tongue::NativePacked, Cut::LengthBe),
    kind("frame", "ws://127.0.0.1:0", ("/ws", "roomcast.v1.json"), Tongue::Native, Cut::Frames),
    kind(
        "binary",
        "ws://127.0.0.1:0",
        ("/ws", "roomcast.v1.msgpack"),
        Tongue::NativePacked,
        Cut::Frames,
    ),
    kind("mina", "tcp://127.0.0.1:0?dialect=machat", ("", ""), Tongue::MaChat, Cut::Lines),
    kind("bob", "ws://127.0.0.1:0?dialect=machat", ("/mychat", ""), Tongue::MaChat, Cut::Frames),
    kind("slug", "ws://127.0.0.1:0?dialect=mesh", ("/any", ""), Tongue::Mesh, Cut::Frames),
    kind(
        "nim",
        "tcp://127.0.0.1:0?dialect=msgio&codec=json",
        ("", ""),
        Tongue::MsgIo,
        Cut::LengthLe,
    ),
    kind(
        "nimpack",
        "tcp://127.0.0.1:0?dialect=msgio&codec=msgpack",
        ("", ""),
        Tongue::MsgIoPacked,
        Cut::LengthLe,
    ),
    kind("web", "ws://127.0.0.1:0?dialect=msgio", ("/any", "default"), Tongue::MsgIo, Cut::Frames),
    kind(
        "gopher",
        "tcp://127.0.0.1:0?dialect=simple-chat",
        ("", ""),
        Tongue::SimpleChat,
        Cut::Values,
    ),
    kind("io", "ws://127.0.0.1:0", SOCKETIO, Tongue::SocketIo, Cut::Frames),
    kind("iopack", "ws://127.0.0.1:0", SOCKETIO, Tongue::SocketIoPacked, Cut::Frames),
];

struct Client {
    kind: &'static Kind,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// Messages of one frame that were not taken yet.
    waiting: VecDeque<String>,
    session: SessionId,
}

impl Client {
    fn open(server: &Server, place: usize, kind: &'static Kind) -> Self {
        let mut stream = connect(server.listeners()[place].address);
        if kind.cut == Cut::Frames {
            let mut request = HANDSHAKE.replace("GET /ws", &format!("GET {}", kind.path));
            if !kind.offer.is_empty() {
                request += &format!("Sec-WebSocket-Protocol: {}\r\n", kind.offer);
            }
            stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
            let head = read_head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        }
        let reader = BufReader::new(stream.try_clone().unwrap());
        let session = SessionId(0);
        let mut client = Self { kind, stream, reader, waiting: VecDeque::new(), session };
        let name = kind.name;
        match kind.tongue {
            Tongue::Native => {
                client.put(format!(r#"{{"type":"hello","name":"{name}"}}"#).as_bytes());
            }
            Tongue::NativePacked => {
                let hello = serde_json::json!({ "type": "hello", "name": name });
                client.put(&packed(&hello));
            }
            Tongue::MaChat => {
                let hello = format!(r#"{{"name":"{name}","room":"r"}}"#);
                match kind.cut {
                    Cut::Frames => client.put(hello.as_bytes()),
                    _ => client.stream.write_all(hello.as_bytes()).unwrap(),
                }
            }
            Tongue::Mesh => {}
            Tongue::MsgIo | Tongue::MsgIoPacked if kind.cut == Cut::LengthLe => {
                client.stream.write_all(b"msgio").unwrap();
            }
            Tongue::MsgIo | Tongue::MsgIoPacked => {}
            Tongue::SimpleChat => client.put(&gopher::request(gopher::Kind::GetRooms, "")),
            Tongue::SocketIo => client.put(format!(r#"40{{"name":"{name}"}}"#).as_bytes()),
            Tongue::SocketIoPacked => {
                let auth = serde_json::json!({ "type": 0, "nsp": "/", "data": { "name": name } });
                client.put(&packed(&auth));
            }
        }
        client
    }

    /// Sends one message.
    fn put(&mut self, message: &[u8]) {
        let len = message.len() as u32;
        let binary = matches!(self.kind.tongue, Tongue::NativePacked | Tongue::SocketIoPacked);
        let bytes = match self.kind.cut {
            Cut::Lines => [message, b"\n"].concat(),
            Cut::LengthBe => [&len.to_be_bytes(), message].concat(),
            Cut::LengthLe => [&len.to_le_bytes(), message].concat(),
            Cut::Frames => frame(if binary { 0x82 } else { 0x81 }, message),
            Cut::Values => message.to_vec(),
        };
        self.stream.write_all(&bytes).unwrap();
    }

    fn say(&mut self, round: usize) {
        let text = format!("(({}-{round}))", self.kind.name);
        let native = serde_json::json!({
            "type": "publish", "room": "r", "event": "chat", "data": { "text": text },
        });
        match self.kind.tongue {
            Tongue::Native => self.put(native.to_string().as_bytes()),
            Tongue::NativePacked => self.put(&packed(&native)),
            Tongue::MaChat if self.kind.cut == Cut::Frames => {
                self.put(format!("{text}\n").as_bytes());
            }
            Tongue::MaChat => self.put(text.as_bytes()),
            Tongue::Mesh => {
                let body = format!(r#""message_body":{{"text":"{text}"}},"target":"r""#);
                self.put(format!(r#"{{"action":"chat",{body}}}"#).as_bytes());
            }
            Tongue::MsgIo => {
                let body = serde_json::json!({"namespace": "", "event": "chat", "payload": text});
                self.put(body.to_string().as_bytes());
            }
            Tongue::MsgIoPacked => self.put(&packed(&serde_json::json!(["", "chat", text]))),
            Tongue::SimpleChat => {
                let post = gopher::post("r", "somebody else", &text);
                self.put(&[gopher::action(gopher::Kind::Post), post].concat());
            }
            Tongue::SocketIo => self.put(format!(r#"42["publish",{native}]"#).as_bytes()),
            Tongue::SocketIoPacked => {
                let data = ["publish".into(), native];
                self.put(&packed(&serde_json::json!({ "type": 2, "nsp": "/", "data": data })));
            }
        }
    }

    /// The next message that is speech: who and what, and the whole of it.
    fn hear(&mut self) -> (String, String) {
        loop {
            let message = self.message();
            if let Some((_, rest)) = message.split_once("((") {
                let said = rest.split_once("))").unwrap().0.to_owned();
                return (said, message);
            }
        }
    }

    fn message(&mut self) -> String {
        if let Some(message) = self.waiting.pop_front() {
            return message;
        }
        let mut bytes = Vec::new();
        match self.kind.cut {
            Cut::Lines => {
                self.reader.read_until(b'\n', &mut bytes).unwrap();
                assert!(!bytes.is_empty(), "{} was closed", self.kind.name);
            }
            Cut::LengthBe => bytes = self.take(|head| u32::from_be_bytes(head) as usize),
            Cut::LengthLe => bytes = self.take(|head| u32::from_le_bytes(head) as usize),
            Cut::Frames => {
                let mut head = [0; 2];
                self.reader.read_exact(&mut head).unwrap();
                assert!(matches!(head[0], 0x81 | 0x82), "{}: {head:?}", self.kind.name);
                let mut len = usize::from(head[1]);
                if len == 126 {
                    let mut long = [0; 2];
                    self.reader.read_exact(&mut long).unwrap();
                    len = u16::from_be_bytes(long).into();
                }
                bytes.resize(len, 0);
                self.reader.read_exact(&mut bytes).unwrap();
            }
            Cut::Values => {
                // Nothing is buffered: the values say where they end.
                let mut gopher = Gopher::over(self.stream.try_clone().unwrap());
                if let Heard::Post(_, author, text) = gopher.next().unwrap() {
                    bytes = format!("{author}:{text}").into_bytes();
                }
            }
        }
        if matches!(self.kind.tongue, Tongue::SocketIo | Tongue::SocketIoPacked) && bytes == b"2" {
            self.stream.write_all(&frame(0x81, b"3")).unwrap();
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if self.kind.tongue == Tongue::Mesh {
            self.waiting.extend(text.lines().map(str::to_owned));
            return self.waiting.pop_front().unwrap_or_default();
        }
        text
    }

    fn take(&mut self, len: impl Fn([u8; 4]) -> usize) -> Vec<u8> {
        let mut head = [0; 4];
        self.reader.read_exact(&mut head).unwrap();
        let mut body = vec![0; len(head)];
        self.reader.read_exact(&mut body).unwrap();
        body
    }
}

/// A value in MessagePack.
fn packed(value: &serde_json::Value) -> Vec<u8> {
    Payload::json(value).unwrap().to_codec(Codec::MsgPack).bytes().to_vec()
}

/// What a message must hold if `speaker` has said it.
fn mark(hears: Tongue, speaker: &Client) -> String {
    let session = speaker.session.to_string();
    let has_name = !matches!(
        speaker.kind.tongue,
        Tongue::Mesh | Tongue::MsgIo | Tongue::MsgIoPacked | Tongue::SimpleChat
    );
    match hears {
        Tongue::Native | Tongue::NativePacked | Tongue::SocketIo | Tongue::SocketIoPacked => {
            session
        }
        Tongue::Mesh => format!(r#""sender":"{}""#, slug(speaker.session)),
        Tongue::MaChat | Tongue::SimpleChat if has_name => format!("{}:((", speaker.kind.name),
        Tongue::MaChat | Tongue::SimpleChat => format!("{session}:(("),
        // There messages name no sender.
        Tongue::MsgIo | Tongue::MsgIoPacked => String::new(),
    }
}

fn start() -> Server {
    peer::start(|config| {
        // Everybody is in the lobby from the start, and its logic passes on what is said: so
        // clients that join and publish by no command of their own can take part.
        let text = "[namespaces.default]\nlobby = \"r\"\n\
                    [namespaces.default.static.r]\nlogic = \"script\"\n";
        config.namespaces = Config::from_toml(text, "test").unwrap().namespaces;
        config.listen = KINDS.iter().map(|kind| kind.listen.into()).collect();
    })
}

#[test]
fn all_dialects_and_codecs_hear_one_room_in_one_order_with_the_right_sender() {
    let server = start();
    let mut clients: Vec<Client> = Vec::new();
    for (place, kind) in KINDS.iter().enumerate() {
        let mut client = Client::open(&server, place, kind);
        until_members(&server, "r", place as u32 + 1);
        let members = server.handle().room("r").members().wait().unwrap().members;
        let known = |id: SessionId| clients.iter().any(|client| client.session == id);
        let new = members.iter().find(|member| !known(member.sender.session)).unwrap();
        client.session = new.sender.session;
        clients.push(client);
    }
    for round in 0..ROUNDS {
        for client in &mut clients {
            client.say(round);
        }
    }
    let mut order: Vec<String> = Vec::new();
    for at in 0..clients.len() {
        let hears = clients[at].kind;
        let heard: Vec<_> = (0..KINDS.len() * ROUNDS).map(|_| clients[at].hear()).collect();
        for (said, message) in &heard {
            let (name, _) = said.split_once('-').unwrap();
            let speaker = clients.iter().find(|client| client.kind.name == name).unwrap();
            let mark = mark(hears.tongue, speaker);
            assert!(message.contains(&mark), "{}: {mark} is not in {message}", hears.name);
        }
        let said: Vec<_> = heard.into_iter().map(|(said, _)| said).collect();
        if order.is_empty() {
            order = said;
            continue;
        }
        assert_eq!(said, order, "{}", hears.name);
    }
    // Once each, and those of one speaker as it said them.
    for kind in &KINDS {
        let own: Vec<_> = order.iter().filter_map(|said| said.split_once('-')).collect();
        let own = own.iter().filter(|(name, _)| *name == kind.name);
        let rounds: Vec<usize> = own.map(|(_, round)| round.parse().unwrap()).collect();
        assert_eq!(rounds, (0..ROUNDS).collect::<Vec<_>>(), "{}", kind.name);
    }
}
