//! The verbs that talk to a server, as processes against the real server.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use roomcast_client::{Client, Codec, Reconnect, RoomEvent};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use serde_json::{Value, json};

/// Nothing here takes longer on an idle machine than a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

const KEY: &str = "a key for tests only";
const KEY_OF_MINA: &str = "another key for tests";

struct Server {
    process: Child,
    urls: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The real server, with an admin key, on free ports unless `listen` names them.
fn serve(listen: &[&str], more: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("roomcast.toml");
    // Who is away for a moment misses a few hundred events here.
    let text = format!(
        "drain_retry_ms = 100\n[[auth.keys]]\nkey = \"{KEY}\"\nadmin = true\n\
         [[auth.keys]]\nkey = \"{KEY_OF_MINA}\"\nuser = \"mina\"\n\
         [rooms.history]\nsize = 1000\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.arg("serve").arg("--config").arg(&config).args(more);
    for url in listen {
        command.args(["--listen", url]);
    }
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let urls = lines.take(listen.len()).map(|line| {
        let line = line.unwrap();
        line.split_whitespace().find(|word| word.contains("://")).unwrap().to_owned()
    });
    let urls = urls.collect();
    Server { process, urls }
}

fn serve_both() -> Server {
    serve(&["ws://127.0.0.1:0", "tcp://127.0.0.1:0"], &[])
}

fn roomcast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.args(args).env_remove("ROOMCAST_URL").env_remove("ROOMCAST_TOKEN");
    command.env_remove("ROOMCAST_NAME").env("USER", "tester");
    command
}

fn run(args: &[&str]) -> Output {
    roomcast(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs a verb that must succeed; its standard output.
fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a verb that must fail; its standard error.
fn fail(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A verb that runs while the test talks to it.
struct Running {
    process: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

fn start(args: &[&str]) -> Running {
    let piped = || (Stdio::piped(), Stdio::piped(), Stdio::inherit());
    let (input, output, errors) = piped();
    let mut process = roomcast(args).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    let (line, lines) = mpsc::channel();
    let output = BufReader::new(process.stdout.take().unwrap());
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).all(|text| line.send(text).is_ok())
    });
    let input = process.stdin.take();
    Running { process, input, lines }
}

impl Running {
    fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// The next line that contains `text`.
    #[track_caller]
    fn hear(&self, text: &str) -> String {
        let mut heard = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if line.contains(text) {
                return line;
            }
            heard.push(line);
        }
        panic!("{text:?} did not come, but {heard:?}");
    }

    /// Ends its input; its exit code and the rest of its lines.
    fn end(mut self) -> (i32, Vec<String>) {
        drop(self.input.take());
        let code = self.process.wait().unwrap().code().unwrap();
        (code, self.lines.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn two_people_talk_over_different_transports() {
    let server = serve_both();
    let [ws, tcp] = server.urls.as_slice() else { panic!() };
    let mut zoe = start(&["chat", ws, "--name", "Zoe"]);
    zoe.hear("* in lobby: you and nobody else yet");
    zoe.say("first!");
    zoe.hear("Zoe: first!");
    let mut mina = start(&["chat", tcp, "--name", "Mina", "--codec", "msgpack"]);
    mina.hear("Zoe: first!");
    mina.hear("* in lobby: you and Zoe");
    zoe.hear("* Mina is here");
    mina.say("hello // \x1b[31mred");
    zoe.hear(r"Mina: hello // \u{1b}[31mred");
    mina.say("/msg Zoe only you");
    zoe.hear("Mina (to you): only you");
    zoe.say("/who");
    zoe.hear("(you)");
    zoe.hear("Mina · session");
    zoe.say("/rooms");
    zoe.hear("lobby (you are here)");

    mina.say("/name Minka");
    mina.hear("* you are Minka now");
    zoe.hear("* Minka is here");
    mina.say("/join other");
    mina.hear("* in other: you and nobody else yet");
    zoe.say("still there?");
    mina.hear("[lobby] Zoe: still there?");
    mina.say("/leave other");
    mina.say("back");
    zoe.hear("Minka: back");
    let (code, _) = mina.end();
    assert_eq!(code, 0);
    zoe.hear("* Minka left");
    zoe.say("/quit");
    assert_eq!(zoe.end().0, 0);
}

#[test]
fn of_several_ways_one_that_works_is_taken_and_named() {
    let server = serve(&["udp://127.0.0.1:0", "ws://127.0.0.1:0"], &[]);
    // Datagrams end here, as behind a firewall.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = format!("udp://{}", silent.local_addr().unwrap());
    let [udp, ws] = &server.urls[..] else { panic!("{:?}", server.urls) };
    for (ways, taken) in [([udp, ws], "udp"), ([&silent, ws], "ws")] {
        let ways = ways.map(String::as_str).join(",");
        let output = run(&["pub", "news", "n", "1", "--url", &ways]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ways}: {said}");
        assert!(said.contains(&format!("connected by {taken}\n")), "{ways}: {said}");
        let mut talk = start(&["chat", &ways, "--name", "mina"]);
        talk.hear(&format!("* connected by {taken}"));
        talk.input = None;
        assert_eq!(talk.end().0, 0);
    }
}

#[test]
fn a_script_ends_when_all_it_said_is_acknowledged() {
    let server = serve_both();
    let listener = start(&["sub", "ops", "--count", "200", "--json", "--url", &server.urls[1]]);
    listener.hear("joined");
    let mut script = start(&["chat", &server.urls[0], "--room", "ops", "--name", "ci"]);
    for n in 0..200 {
        script.say(&format!("line {n}"));
    }
    let (code, lines) = script.end();
    assert_eq!(code, 0);
    assert!(lines.iter().any(|line| line == "ci: line 199"), "its own last line is shown");
    let (code, lines) = listener.end();
    assert_eq!(code, 0);
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let texts: Vec<_> =
        events.filter(|e| e["type"] == "event").map(|e| e["data"].clone()).collect();
    let expected: Vec<_> = (0..200).map(|n| json!({"text": format!("line {n}")})).collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_script_with_a_wrong_line_goes_on_and_ends_with_1() {
    let server = serve_both();
    let mut script = start(&["chat", &server.urls[0]]);
    script.say("/fly");
    script.say("said anyway");
    let (code, lines) = script.end();
    assert_eq!(code, 1);
    assert!(lines.iter().any(|line| line == "tester: said anyway"), "{lines:?}");
}

#[test]
fn what_is_published_is_heard_from_a_position_or_from_history() {
    let server = serve_both();
    let url = server.urls[1].as_str();
    // Somebody who stays, so that the room does.
    let host = start(&["chat", url, "--room", "news"]);
    host.hear("* in news");
    let first = succeed(&["pub", "news", "n", "1", "--json", "--url", url]);
    let at = &json_lines(&first)[0]["position"];
    let since = format!("{}:{}", at["epoch"].as_str().unwrap(), at["offset"]);
    // An idempotency key is its user's: said again by another process, it is the same.
    let key = ["pub", "news", "n", "2", "--key", "once", "--token", KEY_OF_MINA, "--url", url];
    succeed(&key);
    succeed(&key);
    let mut more = start(&["pub", "news", "7", "--stdin", "--codec", "msgpack", "--url", url]);
    more.say("[3]\n\n{\"n\": 4}");
    assert_eq!(more.end().0, 0);

    let args = ["sub", "news", "--since", &since, "--count", "3", "--json", "--url", url];
    let heard = json_lines(&succeed(&args));
    assert_eq!((&heard[0]["type"], &heard[1]["type"]), (&json!("joined"), &json!("recovered")));
    let events: Vec<_> = heard.iter().filter(|e| e["type"] == "event").collect();
    let said: Vec<_> = events.iter().map(|e| (&e["event"], &e["data"])).collect();
    let (three, four) = (json!([3]), json!({"n": 4}));
    assert_eq!(said, [(&json!("n"), &json!(2)), (&json!(7), &three), (&json!(7), &four)]);

    let args = ["sub", "news", "--history", "1", "--count", "1", "--url", url];
    assert!(succeed(&args).contains(r#"[7] {"n":4}"#));
    let args = ["sub", "news", "--count", "1", "--timeout", "0.1", "--url", url];
    assert!(fail(&args).contains("1 event too few"));
    succeed(&["sub", "news", "--timeout", "0.1", "--url", url]);
    let shown = json_lines(&succeed(&["room", "news", "--join", "--json", "--url", url]));
    assert_eq!((&shown[0]["members"], &shown[0]["history"][3]["data"]), (&json!(2), &four));
}

#[test]
fn an_operator_lists_looks_and_kicks() {
    let server = serve_both();
    let url = server.urls[0].as_str();
    let mina = start(&["chat", url, "--room", "lobby", "--name", "Mina"]);
    mina.hear("* in lobby");
    let rooms = json_lines(&succeed(&["rooms", "--json", "--token", KEY, "--url", url]));
    assert_eq!(rooms[0]["rooms"], json!([{"room": "lobby", "members": 1}]));
    let stranger = fail(&["room", "lobby", "--url", url]);
    assert!(stranger.contains("--join"), "{stranger}");
    let room = json_lines(&succeed(&["room", "lobby", "--json", "--token", KEY, "--url", url]));
    let session = room[0]["list"][0]["session"].as_str().unwrap();
    let refused = fail(&["kick", "lobby", session, "--url", url]);
    assert!(refused.contains("--token"), "{refused}");
    succeed(&["kick", "lobby", session, "--token", KEY, "--message", "bye", "--url", url]);
    mina.hear("* you were put out");
}

#[test]
fn errors_say_what_to_do() {
    for (verb, more) in
        [("sub", &["lobby"][..]), ("pub", &["t", "1"]), ("room", &[]), ("kick", &["w"])]
    {
        let output = run(&[&[verb, "ws://127.0.0.1:7400"], more].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains("--url"), "{error}");
    }
    // A port that was free a moment ago, and that nobody was told of.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("ws://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}")] {
        for args in [&["chat", &url][..], &["rooms", "--url", &url], &["sub", "x", "--url", &url]] {
            let error = fail(args);
            assert!(error.contains(&url) && error.contains("`roomcast serve`"), "{error}");
        }
    }
    // What begins with `-` is no flag where it can be something else: these are understood.
    let nowhere = ["--url", &format!("tcp://127.0.0.1:{port}")];
    for args in [
        &["kick", "lobby", "-EV0Qhwac-xm0tN-vAJCbQ"][..],
        &["sub", "lobby", "--since", "-pVb-eLl:1"],
        &["pub", "lobby", "t", "-5"],
    ] {
        assert!(fail(&[args, &nowhere].concat()).contains("`roomcast serve`"));
        if args[0] == "kick" {
            let flags_first = [&args[..1], &nowhere, &args[1..]].concat();
            assert!(fail(&flags_first).contains("`roomcast serve`"));
        }
    }
    assert!(fail(&["pub", "lobby", "chat", "{hi"]).contains("needs quotes"));
    let long = format!("[{}", "1,".repeat(10_000));
    assert!(fail(&["pub", "lobby", "chat", &long]).len() < 300);
    assert!(fail(&["rooms", "--url", "localhost:7400"]).contains("ws://127.0.0.1:7400"));
    assert_eq!(run(&["sub"]).status.code(), Some(2));
    assert_eq!(run(&["sub", "x", "--since", "41"]).status.code(), Some(2));
}

#[test]
fn a_talk_outlives_its_server() {
    let mut server = serve_both();
    let urls: Vec<_> = server.urls.iter().map(String::as_str).collect();
    let mut mina = start(&["chat", urls[1], "--name", "Mina"]);
    mina.hear("* in lobby");
    let pid = rustix::process::Pid::from_child(&server.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.process.wait().unwrap().success());
    mina.hear("* connection lost: drain (4802): the server is stopping");
    let _again = serve(&urls, &[]);
    mina.hear("* connected again by ");
    mina.hear("* something was missed: the room began anew");
    mina.say("here again");
    mina.hear("Mina: here again");
    assert_eq!(mina.end().0, 0);
}

#[test]
fn tls_needs_a_reason_to_trust() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key) = (path(&cert), path(&key));
    let files = ["--tls-cert", &cert, "--tls-key", &key];
    let server = serve(&["wss://127.0.0.1:0", "tls://127.0.0.1:0"], &files);
    for url in &server.urls {
        let url = url.replace("127.0.0.1", "localhost");
        let error = fail(&["rooms", "--url", &url]);
        assert!(error.to_lowercase().contains("certificate"), "{error}");
        succeed(&["rooms", "--url", &url, "--ca", &cert]);
        succeed(&["rooms", "--url", &url, "--insecure-tls"]);
    }
}

/// A person at a terminal: what the screen is told, and the keys.
struct Terminal {
    process: Child,
    keys: File,
    screen: mpsc::Receiver<Vec<u8>>,
    told: String,
}

impl Terminal {
    fn open(args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let mut command = roomcast(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
        let process = command.stderr(theirs).spawn().unwrap();
        let keys = File::from(ours);
        let (told, screen) = mpsc::channel();
        let mut output = keys.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // At the end of the process the terminal reads as an error.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if told.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process, keys, screen, told: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen was told `text`; forgets it and what came before.
    #[track_caller]
    fn see(&mut self, text: &str) {
        loop {
            if let Some(at) = self.told.find(text) {
                self.told.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.told.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} was not seen, but {:?}", self.told),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn lines_that_come_in_do_not_tear_what_is_being_typed() {
    let server = serve_both();
    let mut mina = Terminal::open(&["chat", &server.urls[0], "--name", "Mina"]);
    mina.see("in lobby: you and nobody else yet");
    mina.see("lobby> ");
    mina.press("half a lin");
    mina.see("n");
    let nasty = "\u{1b}[2Jboo\u{9b}";
    let url = &server.urls[1];
    succeed(&["pub", "lobby", "chat", "--text", nasty, "--name", "Zoe", "--url", url]);
    // On a line of its own, in a colour of ours and with none of theirs; then the prompt again.
    mina.see("Zoe\u{1b}[0m: \\u{1b}[2Jboo\\u{9b}");
    mina.see("\r\nlobby> half a lin");
    mina.press("e\r");
    mina.see("Mina\u{1b}[0m: half a line\r\n");
    mina.press("/rooms\r");
    mina.see("lobby (you are here)");
    mina.see("lobby> ");
    mina.press("\u{4}");
    assert!(mina.process.wait().unwrap().success());
}

#[test]
fn a_talk_that_the_server_ended_gives_the_terminal_back() {
    let config =
        roomcast::Config { listen: vec!["tcp://127.0.0.1:0".into()], ..Default::default() };
    let server = roomcast::Server::builder().config(config).start().unwrap();
    let mut mina = Terminal::open(&["chat", &server.listeners()[0].url, "--name", "Mina"]);
    let before = tcgetattr(&mina.keys).unwrap();
    mina.see("lobby> ");
    let url = &server.listeners()[0].url;
    let shown = succeed(&["room", "lobby", "--join", "--json", "--url", url]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let members = shown["list"].as_array().unwrap().iter();
    let session = members.filter(|one| one["name"] == "Mina").map(|one| &one["session"]).next();
    let session = session.and_then(Value::as_str).unwrap().parse().unwrap();
    server.handle().session(session).disconnect().wait().unwrap();
    mina.see("the talk has ended");
    assert_eq!(mina.process.wait().unwrap().code(), Some(1));
    assert_eq!(tcgetattr(&mina.keys).unwrap().local_modes, before.local_modes);
}

/// Passes bytes on, until it cuts every link.
struct Cutter {
    url: String,
    links: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cutter {
    fn before(url: &str) -> Self {
        let server = url.split_once("://").unwrap().1.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let links = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&links);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(&server).unwrap());
                kept.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut to) in
                    [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
                {
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
        Self { url, links }
    }

    fn cut(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            // The other direction may have ended it already.
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}

/// Publishes and listens through links that are cut all the time: everything is heard once and in
/// order, though both sides lost commands and events under way.
#[test]
fn nothing_is_lost_or_repeated_through_cut_links() {
    const EVENTS: u64 = 400;
    let server = serve_both();
    let cutter = Cutter::before(&server.urls[1]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let soon = Reconnect { cap: Duration::from_millis(20), ..Reconnect::default() };
        let connect = |codec| {
            let soon = Some(soon.clone());
            Client::builder(&cutter.url).codec(codec).reconnect(soon).connect()
        };
        let speaker = connect(Codec::MsgPack).await.unwrap().join("lobby").await.unwrap();
        let listener = connect(Codec::Json).await.unwrap().join("lobby").await.unwrap();
        let saying = tokio::spawn(async move {
            for n in 1..=EVENTS {
                assert_eq!(speaker.publish("n", &n).await.unwrap().unwrap().offset, n);
            }
            speaker
        });
        let mut heard = 0;
        while heard < EVENTS {
            let event = tokio::time::timeout(PATIENCE, listener.next_event()).await.unwrap();
            match event.unwrap() {
                RoomEvent::Event(event) => {
                    heard += 1;
                    assert_eq!(event.data::<u64>().unwrap(), heard);
                    if heard % 50 == 0 {
                        cutter.cut();
                    }
                }
                RoomEvent::Lost(reason) => panic!("{reason:?} after {heard}"),
                _ => {}
            }
        }
        saying.await.unwrap();
    });
}
