//! The contract of engines, on a real nats-server: several nodes in this process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::registry::{self, desired};
use super::*;

#[path = "../../tests/nats/mod.rs"]
mod nats_server;

use self::nats_server::Nats;

/// Long enough for a busy machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(2);

/// What a node was told.
#[derive(Default)]
struct Heard {
    table: Option<Arc<Table>>,
    lease: Option<Instant>,
    /// From and for which worker, and what.
    words: Vec<(u16, u16, String)>,
    disturbed: BTreeMap<u16, usize>,
    gone: Vec<u16>,
}

/// One node.
struct Peer {
    engine: Engine,
    heard: Arc<Mutex<Heard>>,
    sending: Sending,
}

impl Peer {
    fn join(config: &ClusterConfig) -> Self {
        Self::try_join(config).unwrap()
    }

    fn try_join(config: &ClusterConfig) -> Result<Self, EngineError> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let told = Arc::clone(&heard);
        let tell = move |what| told.lock().unwrap().take(what);
        let member = Member { workers: 2, digest: "same".to_owned() };
        let engine = Engine::start(config, member, Box::new(tell))?.unwrap();
        Ok(Self { engine, heard, sending: Sending::default() })
    }

    fn number(&self) -> u16 {
        self.engine.membership.node
    }

    fn say(&mut self, to: &Self, word: &str) {
        self.sending.add(to.number(), 1, 0, |bytes| bytes.extend_from_slice(word.as_bytes()));
        self.engine.send(&mut self.sending);
    }

    /// Waits until `look` says yes; how long it took.
    fn until(&self, what: &str, look: impl Fn(&Heard) -> bool) -> Duration {
        let start = Instant::now();
        while !look(&self.heard.lock().unwrap()) {
            let table = self.heard.lock().unwrap().table.clone();
            let held = table.as_ref().map(|table| share(table, self.number()));
            let nodes = table.map(|table| table.nodes.clone());
            assert!(start.elapsed() < PATIENCE, "{what}; holds {held:?} among {nodes:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        start.elapsed()
    }

    /// Waits until all partitions are held by `nodes` nodes.
    fn until_whole(&self, nodes: usize) -> Duration {
        let whole =
            |heard: &Heard| heard.table.as_ref().is_some_and(|table| is_whole(table, nodes));
        self.until("all partitions have a live holder", whole)
    }

    fn words(&self) -> Vec<String> {
        self.heard.lock().unwrap().words.iter().map(|(_, _, word)| word.clone()).collect()
    }

    fn table(&self) -> Arc<Table> {
        self.heard.lock().unwrap().table.clone().unwrap()
    }
}

impl Heard {
    fn take(&mut self, told: Told) {
        match told {
            Told::Table(table) => self.table = Some(table),
            Told::Lease(until) => self.lease = Some(until),
            Told::Word { from_worker, to_worker, bytes, .. } => {
                let word = String::from_utf8(bytes.to_vec()).unwrap();
                self.words.push((from_worker, to_worker, word));
            }
            Told::Disturbed(node) => *self.disturbed.entry(node).or_default() += 1,
            Told::Gone(node) => self.gone.push(node),
        }
    }

    fn is_leased(&self) -> bool {
        self.lease.is_some_and(|until| until > Instant::now())
    }

    fn disturbances(&self, node: u16) -> usize {
        self.disturbed.get(&node).copied().unwrap_or_default()
    }
}

fn share(table: &Table, node: u16) -> usize {
    table.homes.iter().flatten().filter(|holder| holder.node == node).count()
}

/// All partitions are with the nodes that should have them.
fn is_whole(table: &Table, nodes: usize) -> bool {
    let peer = |node: &Node| registry::Peer { node: node.number, incarnation: node.incarnation };
    let peers: Vec<_> = table.nodes.iter().map(peer).collect();
    let right = |(partition, holder): (usize, &Option<Holder>)| {
        holder.map(|holder| holder.node) == desired(partition, &peers).map(|peer| peer.node)
    };
    table.nodes.len() == nodes && table.homes.iter().enumerate().all(right)
}

fn config(nats: &Nats) -> ClusterConfig {
    let lease_s = LEASE.as_secs();
    ClusterConfig { engine: nats.url(), lease_s, node: "test".into(), ..ClusterConfig::default() }
}

#[test]
fn alone_there_is_nothing_to_be_told() {
    let never = Box::new(|told| panic!("{told:?}"));
    let member = Member { workers: 2, digest: String::new() };
    assert!(Engine::start(&ClusterConfig::default(), member, never).unwrap().is_none());
}

#[test]
fn nodes_see_each_other_within_a_second_and_share_the_homes() {
    let nats = Nats::start();
    let a = Peer::join(&config(&nats));
    assert_eq!(share(&a.table(), a.number()), PARTITIONS, "alone it holds all from the start");
    let start = Instant::now();
    let b = Peer::join(&config(&nats));
    assert_eq!(a.engine.membership.home_seed, b.engine.membership.home_seed);
    let both = |heard: &Heard| heard.table.as_ref().is_some_and(|table| table.nodes.len() == 2);
    a.until("it sees the other", both);
    b.until("it sees the other", both);
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    a.until_whole(2);
    b.until_whole(2);
    let c = Peer::join(&config(&nats));
    for member in [&a, &b, &c] {
        member.until_whole(3);
        let held = share(&member.table(), member.number());
        // A share of 85 by lot; 40 and 130 are 5 standard deviations away.
        assert!((40..130).contains(&held), "{held} of {PARTITIONS}");
    }
    let other = ClusterConfig { name: "other".into(), ..config(&nats) };
    let stranger = Peer::join(&other);
    assert_eq!(stranger.table().nodes.len(), 1, "another cluster on the same NATS");
    assert_eq!(a.table().nodes.len(), 3);
}

#[test]
fn words_arrive_once_in_order_whatever_their_size() {
    let nats = Nats::start();
    let (mut a, mut b) = (Peer::join(&config(&nats)), Peer::join(&config(&nats)));
    a.until_whole(2);
    b.until_whole(2);
    let large = "x".repeat(3 << 20);
    let mut said: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    said.insert(1_000, large);
    for word in &said {
        a.say(&b, word);
    }
    b.say(&a, "back");
    b.until("all words", |heard| heard.words.len() >= said.len());
    a.until("the word", |heard| !heard.words.is_empty());
    assert!(b.words() == said, "all, once, in order");
    assert_eq!((b.heard.lock().unwrap().words[0].0, a.words()), (0, vec!["back".to_owned()]));
    assert!(a.heard.lock().unwrap().disturbed.is_empty());
    assert!(b.heard.lock().unwrap().disturbed.is_empty());
}

#[test]
fn the_homes_of_a_node_that_dies_are_taken_within_its_lease_and_a_second() {
    let nats = Nats::start();
    let (a, b) = (Peer::join(&config(&nats)), Peer::join(&config(&nats)));
    a.until_whole(2);
    b.until_whole(2);
    let (lost, before) = (b.number(), b.table());
    // Dropped without leave: nothing more is heard of it.
    drop(b);
    let took = a.until_whole(1);
    assert!(took <= LEASE + Duration::from_secs(1), "took {took:?}");
    assert_eq!(a.heard.lock().unwrap().gone, [lost]);
    for (old, new) in before.homes.iter().zip(&a.table().homes) {
        let (old, new) = (old.unwrap(), new.unwrap());
        assert!(
            if old.node == lost { new.fence > old.fence } else { new == old },
            "{old:?} {new:?}"
        );
    }
}

#[test]
fn who_drains_gives_its_homes_away_and_who_leaves_is_gone_at_once() {
    let nats = Nats::start();
    let (a, b) = (Peer::join(&config(&nats)), Peer::join(&config(&nats)));
    a.until_whole(2);
    b.until_whole(2);
    b.engine.drain();
    let given = |heard: &Heard| {
        heard.table.as_ref().is_some_and(|table| share(table, a.number()) == PARTITIONS)
    };
    a.until("all homes are given", given);
    assert!(a.table().nodes.iter().any(|node| node.number == b.number() && node.draining));
    b.engine.leave(PATIENCE);
    let gone = a.until("it is gone", |heard| heard.gone == [b.number()]);
    assert!(gone < Duration::from_secs(1), "took {gone:?}");
    assert!(a.heard.lock().unwrap().is_leased());
}

#[test]
fn a_pause_of_nats_longer_than_the_lease_ends_it_and_all_goes_on_afterwards() {
    let nats = Nats::start();
    let (mut a, b) = (Peer::join(&config(&nats)), Peer::join(&config(&nats)));
    a.until_whole(2);
    b.until_whole(2);
    let before = a.table();
    nats.pause(true);
    let ended = |heard: &Heard| {
        !heard.is_leased()
            && heard.table.as_ref().is_some_and(|table| table.homes.iter().all(Option::is_none))
    };
    for member in [&a, &b] {
        let took = member.until("the lease has ended", ended);
        assert!(took <= LEASE, "took {took:?}");
        let unready = member.engine.state.unready().unwrap();
        assert!(unready.contains("lease") && unready.contains("127.0.0.1"), "{unready}");
    }
    nats.pause(false);
    for member in [&a, &b] {
        member.until_whole(2);
        assert!(member.heard.lock().unwrap().is_leased());
        assert_eq!(member.engine.state.unready(), None);
    }
    let after = a.table();
    for (old, new) in before.nodes.iter().zip(&after.nodes) {
        assert_eq!(old.number, new.number);
        assert_ne!(old.incarnation, new.incarnation, "what ended comes back as another");
    }
    for (old, new) in before.homes.iter().zip(&after.homes) {
        assert!(new.unwrap().fence > old.unwrap().fence, "what ended is not continued");
    }
    a.say(&b, "again");
    b.until("words go on", |heard| heard.words.iter().any(|(_, _, word)| word == "again"));
}

#[test]
fn nats_may_be_killed_and_started_again() {
    let mut nats = Nats::start();
    let (mut a, b) = (Peer::join(&config(&nats)), Peer::join(&config(&nats)));
    a.until_whole(2);
    b.until_whole(2);
    nats.kill();
    // Words to nobody are not kept: that they are lost is told.
    a.until("the loss is noticed", |heard| !heard.is_leased());
    a.say(&b, "lost");
    nats.run();
    a.until_whole(2);
    b.until_whole(2);
    a.say(&b, "heard");
    b.until("words go on", |heard| heard.words.iter().any(|(_, _, word)| word == "heard"));
    assert_eq!(b.words(), ["heard"]);
    let heard = b.heard.lock().unwrap();
    assert!(heard.disturbances(a.number()) > 0 || heard.gone.contains(&a.number()));
}

#[test]
fn a_bucket_that_is_deleted_is_made_again_and_nobody_loses_a_home() {
    let nats = Nats::start();
    let config = ClusterConfig { lease_s: 4, ..config(&nats) };
    let (a, b) = (Peer::join(&config), Peer::join(&config));
    a.until_whole(2);
    b.until_whole(2);
    let before = a.table();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        context.delete_key_value("roomcast_default").await.unwrap();
    });
    let noticed = |heard: &Heard| {
        heard.table.as_ref().is_some_and(|table| table.homes.iter().any(Option::is_none))
    };
    a.until("the loss is noticed", noticed);
    a.until_whole(2);
    b.until_whole(2);
    let after = a.table();
    // No `assert_eq`: nobody reads so many lines.
    assert!(after.homes == before.homes, "fences go on");
    assert!(after.nodes == before.nodes, "so do nodes");
    assert_eq!(a.heard.lock().unwrap().gone, [0; 0]);
    assert_eq!(b.heard.lock().unwrap().gone, [0; 0]);
}

#[test]
fn nodes_that_would_misunderstand_each_other_do_not_start_together() {
    let nats = Nats::start();
    let a = Peer::join(&config(&nats));
    let member = Member { workers: 2, digest: "other".to_owned() };
    let refused = Engine::start(&config(&nats), member, Box::new(|_| {}));
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("node `test`") && said.contains("namespaces"), "{said}");
    a.until_whole(1);
}

#[test]
fn while_nothing_happens_the_records_are_read_once() {
    let nats = Nats::start();
    let a = Peer::join(&config(&nats));
    // So many renewals that each could have been missed by the watch.
    let later = Instant::now() + 3 * LEASE;
    a.until("the lease goes on", |heard| heard.lease.is_some_and(|until| until > later));
    let readings = &a.engine.state.counters.readings_total;
    assert!(readings.load(Ordering::Relaxed) <= 2, "{readings:?}");
}

/// What a start says that fails.
fn refusal(config: &ClusterConfig) -> String {
    Peer::try_join(config).err().expect("it must not start").to_string()
}

#[test]
fn a_start_says_what_is_missing() {
    let start = Instant::now();
    let nobody = ClusterConfig { engine: "nats://127.0.0.1:1".into(), ..ClusterConfig::default() };
    let said = refusal(&nobody);
    assert!(said.contains("nobody answers there") && said.contains("-js"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    let accounts = "accounts { A { users: [{ user: mina, password: s3cret }] } }";
    let nats = Nats::start_with(accounts);
    let said = refusal(&config(&nats));
    assert!(said.contains("does not let this node in") && said.contains("cluster.user"), "{said}");
    let mina = ClusterConfig {
        user: Some("mina".into()),
        password: Some("s3cret".into()),
        ..config(&nats)
    };
    // In, but the account has no JetStream.
    let said = refusal(&mina);
    assert!(said.contains("roomcast_default") && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_user_with_the_documented_rights_gets_on_with_them() {
    let rights = r#"authorization { users: [{ user: mina, password: s3cret, permissions: {
        publish: ["roomcast.>", "$JS.API.>", "$KV.roomcast_default.>", "$JS.FC.>"]
        subscribe: ["roomcast.>", "_INBOX.>"]
    } }] }"#;
    let nats = Nats::start_with(rights);
    let config = ClusterConfig {
        user: Some("mina".into()),
        password: Some("s3cret".into()),
        ..config(&nats)
    };
    let (mut a, b) = (Peer::join(&config), Peer::join(&config));
    a.until_whole(2);
    a.say(&b, "hello");
    b.until("the word", |heard| heard.words.len() == 1);
}

/// A certificate for `name`, its key, and the authority that signed it, as files.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        let all = [("ca", ca.pem()), ("cert", cert.pem()), ("key", key.serialize_pem())];
        for (name, pem) in all {
            std::fs::write(dir.path().join(name), pem).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> String {
        let (cert, key) = (self.path("cert"), self.path("key"));
        format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}")
    }
}

/// Threat S39.
#[test]
fn a_certificate_counts_only_for_the_name_in_the_url_and_from_the_known_authority() {
    let right = Certificates::new("127.0.0.1");
    let nats = Nats::start_with(&right.settings());
    let url = format!("tls://127.0.0.1:{}", nats.port());
    let trusting = |certificates: &Certificates, url: String| ClusterConfig {
        engine: url,
        tls_ca: Some(certificates.path("ca")),
        ..ClusterConfig::default()
    };
    drop(Peer::join(&trusting(&right, url.clone())));
    let other = Certificates::new("127.0.0.1");
    let said = refusal(&trusting(&other, url));
    assert!(said.contains("TLS fails") && said.contains("cluster.tls_ca"), "{said}");
    let wrong = Certificates::new("nats.example.org");
    let nats = Nats::start_with(&wrong.settings());
    let said = refusal(&trusting(&wrong, format!("tls://127.0.0.1:{}", nats.port())));
    assert!(said.contains("TLS fails") && said.contains("name in the URL"), "{said}");
}

#[test]
fn an_nkey_opens_as_well() {
    let (seed, public) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );
    let nats = Nats::start_with(&format!("authorization {{ users: [{{ nkey: {public} }}] }}"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seed");
    std::fs::write(&file, format!("{seed}\n")).unwrap();
    drop(Peer::join(&ClusterConfig { nkey: Some(file), ..config(&nats) }));
    let missing = ClusterConfig { nkey: Some(dir.path().join("none")), ..config(&nats) };
    assert!(refusal(&missing).contains("cluster.nkey"));
}
