//! Durable rooms of the real binary: killed under load, with a full disk, with damaged files.
#![allow(clippy::unwrap_used)]

mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use peer::child::{Child, Setup};
use peer::{Lines, PATIENCE, connect, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The settings of a server with a durable room.
fn settings(data: &Path, level: &str) -> Vec<(String, String)> {
    [
        ("DATA_DIR", data.to_str().unwrap()),
        ("ROOMS__DURABLE", level),
        ("ROOMS__KEEP_WHEN_EMPTY", "true"),
        ("ROOMS__HISTORY__SIZE", "100000"),
        ("ROOMS__HISTORY__BYTES", "67108864"),
        ("LIMITS__COMMANDS_PER_S", "0"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

fn start(settings: &[(String, String)], mounting: Option<&str>) -> Child {
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    Child::start(&Setup {
        listen: &["tcp://127.0.0.1:0"],
        settings: &settings,
        mounting,
        ..Setup::default()
    })
}

fn lines(child: &Child) -> Lines {
    Lines::over(connect(child.address(0)))
}

/// A small generator of numbers: the seed is the bug report.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What publishers and listeners know beyond the life of a server.
#[derive(Default)]
struct Known {
    next: u64,
    unanswered: BTreeSet<u64>,
    /// Where each number stands.
    stands: BTreeMap<u64, u64>,
    epochs: BTreeSet<String>,
    /// What the listener has heard, by offset.
    heard: BTreeMap<u64, u64>,
    resume: Option<Value>,
}

/// How many publications are on their way at a time.
const WINDOW: usize = 100;

/// Publishes until the link ends: first again what was not answered.
fn publish(known: &mut Known, mut link: Lines, acks: &AtomicUsize) {
    let mut again: Vec<_> = known.unanswered.iter().copied().collect();
    let mut waiting = 0;
    loop {
        while waiting < WINDOW {
            let number = again.pop().unwrap_or_else(|| {
                known.next += 1;
                known.next
            });
            known.unanswered.insert(number);
            let line = json!({"type": "publish", "ref": number, "room": "hall", "event": "n",
                "data": number, "echo": false, "key": format!("k{number}")});
            if std::io::Write::write_all(&mut link.stream, format!("{line}\n").as_bytes()).is_err()
            {
                return;
            }
            waiting += 1;
        }
        let Some(reply) = link.unless_cut() else { return };
        if reply["type"] == "event" || reply["ref"].is_null() {
            continue;
        }
        assert_eq!(reply["type"], "ok", "{reply}");
        let (number, at) = (reply["ref"].as_u64().unwrap(), &reply["position"]);
        let offset = at["offset"].as_u64().unwrap();
        let before = known.stands.insert(number, offset);
        assert!(before.is_none_or(|before| before == offset), "{number}: {before:?}, {offset}");
        known.epochs.insert(at["epoch"].as_str().unwrap().to_owned());
        known.unanswered.remove(&number);
        waiting -= 1;
        acks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Begins a session, or goes on with the one of the life before.
fn come_back(known: &mut Known, link: &mut Lines) {
    let resume = known.resume.take();
    link.send(&json!({"type": "hello", "ref": 0, "resume": resume}).to_string());
    let welcome = link.expect("welcome");
    assert_eq!(welcome["resumed"] == true, resume.is_some(), "{welcome}");
    known.resume = Some(json!({"session": welcome["session"], "secret": welcome["resume"]}));
}

/// Comes back and hears the room until the link ends.
fn listen(known: &mut Known, mut link: Lines) {
    come_back(known, &mut link);
    let last = known.heard.last_key_value().map_or(0, |(offset, _)| *offset);
    let since = known.epochs.first().map(|epoch| json!({"epoch": epoch, "offset": last}));
    let join = json!({"type": "join", "ref": 1, "room": "hall", "since": since});
    link.send(&join.to_string());
    let joined = link.expect("joined");
    assert!(since.is_none() || joined["recovered"] == true, "{joined}");
    known.epochs.insert(joined["position"]["epoch"].as_str().unwrap().to_owned());
    let mut last = last;
    while let Some(line) = link.unless_cut() {
        if line["type"] != "event" {
            continue;
        }
        let offset = line["at"]["offset"].as_u64().unwrap();
        assert_eq!(offset, last + 1, "in order, without gap or repeat");
        known.heard.insert(offset, line["data"].as_u64().unwrap());
        last = offset;
    }
}

fn spawn(mut known: Known, work: impl FnOnce(&mut Known) + Send + 'static) -> JoinHandle<Known> {
    std::thread::spawn(move || {
        work(&mut known);
        known
    })
}

/// Kills a server under load again and again, and looks whether everybody still has everything.
fn kill_under_load(level: &str, seed: u64, lives: u32) {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path(), level);
    let mut chance = Chance(seed);
    let (mut publisher, mut listener) = (Known::default(), Known::default());
    for life in 0..lives {
        let child = start(&settings, None);
        let acks = Arc::new(AtomicUsize::new(0));
        let (hears, speaks) = (lines(&child), lines(&child));
        let listening = spawn(listener, move |known| listen(known, hears));
        if life == 0 {
            // The room is made by the first who joins.
            let mut first = lines(&child);
            first.hello();
            first.join("hall");
        }
        let counted = Arc::clone(&acks);
        let speaking = spawn(publisher, move |known| {
            let mut link = speaks;
            come_back(known, &mut link);
            link.join("hall");
            publish(known, link, &counted);
        });
        let most = 1 + chance.below(3_000) as usize;
        until("publications", || acks.load(Ordering::Relaxed) >= most);
        child.signal(Signal::KILL);
        child.wait();
        (publisher, listener) = (speaking.join().unwrap(), listening.join().unwrap());
    }
    // A last life, to hear everything.
    let child = start(&settings, None);
    let newest = publisher.stands.values().max().copied().unwrap();
    let mut link = lines(&child);
    link.hello();
    let epoch = publisher.epochs.first().unwrap();
    let since = json!({"epoch": epoch, "offset": 0});
    link.send(&json!({"type": "join", "ref": 1, "room": "hall", "since": since}).to_string());
    let joined = link.expect("joined");
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(joined["position"]["epoch"], **epoch);
    let head = joined["position"]["offset"].as_u64().unwrap();
    assert!(head >= newest, "seed {seed}: {head} < {newest}");
    let mut log = BTreeMap::new();
    for offset in 1..=head {
        let event = link.expect("event");
        assert_eq!(event["at"]["offset"], offset, "seed {seed}");
        let twice = log.insert(event["data"].as_u64().unwrap(), offset);
        assert_eq!(twice, None, "seed {seed}: said once, there twice");
    }
    for (number, offset) in &publisher.stands {
        assert_eq!(log.get(number), Some(offset), "seed {seed}: acknowledged {number}");
    }
    for (offset, number) in &listener.heard {
        assert_eq!(log.get(number), Some(offset), "seed {seed}: heard {number}");
    }
    assert_eq!(publisher.epochs.len(), 1, "one epoch through all lives");
    assert!(publisher.stands.len() > lives as usize);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    kill_under_load("sync", 0x5eed, 5);
}

#[test]
fn at_level_memory_too() {
    kill_under_load("memory", 0xcafe, 5);
}

#[test]
fn a_full_disk_refuses_publications_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=2m none {}", folder.path().display());
    if !Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &mount])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("skipped: nobody may mount here");
        return;
    }
    let mut settings = settings(&folder.path().join("data"), "sync");
    settings.push(("NAMESPACES__EASY__ROOMS__DURABLE".into(), "off".into()));
    let child = start(&settings, Some(&mount));
    let mut link = lines(&child);
    link.hello();
    link.join("hall");
    link.join("easy/room");
    let text = "x".repeat(20_000);
    let mut stands = 0;
    let say = |link: &mut Lines, room: &str| {
        let publish = json!({"type": "publish", "ref": 7, "room": room, "event": "e",
            "data": text, "echo": false});
        link.send(&publish.to_string());
        loop {
            let line = link.next().unwrap();
            if line["ref"] == 7 {
                return line;
            }
        }
    };
    let refused = loop {
        let reply = say(&mut link, "hall");
        if reply["type"] != "ok" {
            break reply;
        }
        stands += 1;
        assert_eq!(reply["position"]["offset"], stands);
    };
    assert!(stands > 10, "{stands}");
    assert_eq!((&refused["code"], &refused["retry"]), (&json!(5031), &json!(true)), "{refused}");
    assert!(refused["retry_ms"].as_u64().is_some(), "{refused}");
    assert_eq!(say(&mut link, "easy/room")["type"], "ok", "other rooms go on");
    assert_eq!(say(&mut link, "hall")["code"], 5031);
    // The disk is given more room.
    let grow = format!("mount -o remount,size=8m {}", folder.path().display());
    let entered = Command::new("nsenter")
        .args(["--mount", "--user", "--target", &child.id().to_string(), "sh", "-c", &grow])
        .status();
    assert!(entered.unwrap().success());
    let mut reply = Value::Null;
    let began = Instant::now();
    while reply["type"] != "ok" {
        assert!(began.elapsed() < PATIENCE, "{reply}");
        reply = say(&mut link, "hall");
    }
    assert_eq!(reply["position"]["offset"], stands + 1, "its place is given anew: {reply}");
}

#[test]
fn one_server_works_in_a_folder_and_others_are_told() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path(), "sync");
    let child = start(&settings, None);
    let mut second = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    second.args(["serve", "--listen", "tcp://127.0.0.1:0"]).env("ROOMCAST_DATA_DIR", data.path());
    let output = second.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains(&format!("in use by process {}", child.id())), "{text}");
    child.signal(Signal::KILL);
    child.wait();
    // Its lock went with it.
    drop(start(&settings, None));
    fs::write(data.path().join("FORMAT"), "roomcast data, version 9\n").unwrap();
    let text = String::from_utf8(second.output().unwrap().stderr).unwrap();
    assert!(text.contains("version 9"), "{text}");
}

#[test]
fn a_torn_end_is_cut_and_damage_is_told() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path(), "sync");
    let said = |child: &Child, from: u64, to: u64| {
        let mut link = lines(child);
        link.hello();
        link.join("hall");
        for number in from..=to {
            link.send(&format!(
                r#"{{"type":"publish","ref":2,"room":"hall","event":"e","data":{number}}}"#
            ));
            assert_eq!(link.expect("ok")["position"]["offset"], number);
        }
    };
    let child = start(&settings, None);
    said(&child, 1, 10);
    child.signal(Signal::KILL);
    child.wait();
    let file = data.path().join("log-0000000001");
    // What a dying machine may leave behind.
    let mut end = OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut end, &[7; 300]).unwrap();
    drop(end);
    let child = start(&settings, None);
    said(&child, 11, 12);
    child.signal(Signal::KILL);
    child.wait();
    let mut bytes = fs::read(&file).unwrap();
    bytes[300] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut again = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    again.args(["serve", "--listen", "tcp://127.0.0.1:0"]).env("ROOMCAST_DATA_DIR", data.path());
    let output = again.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("log-0000000001 is damaged at byte"), "{text}");
}
