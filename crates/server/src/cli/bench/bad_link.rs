//! A bad link in user space: what passes it is lost, late, out of order, as often as asked for.
//!
//! Where the kernel has no `tc netem`, and without any privilege. Datagrams are lost and overtake
//! each other; a stream loses nothing, but a lost segment holds up all that follows for a round
//! trip, which is what TCP's fast retransmit needs at best. The same seed draws the same chances.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::histogram::Histogram;

/// What may be on its way in one direction of one link, in datagrams or segments. More datagrams
/// are lost, as in a router; a stream waits.
const UNDERWAY_MAX: usize = 1_024;
/// What of a stream is lost or late together: the payload of a usual TCP segment.
const SEGMENT: usize = 1_448;
/// The largest datagram there is.
const DATAGRAM_MAX: usize = 65_536;
/// By how much one that is overtaken is held back at least: most senders have sent the next by
/// then.
const OVERTAKEN: Duration = Duration::from_millis(20);
/// The shortest round trip that a lost segment costs.
const STALL_MIN: Duration = Duration::from_millis(10);
/// How long something waits at most, usually, where a link carries only so much.
const QUEUE: Duration = Duration::from_millis(200);

/// What a link does to what passes it, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// The share that is lost.
    pub loss: f64,
    /// How long everything takes.
    pub delay: Duration,
    /// How much longer than that it takes at most.
    pub jitter: Duration,
    /// The share that is overtaken.
    pub reorder: f64,
    /// What it carries, in bytes a second; none: anything.
    pub rate: Option<u32>,
    /// How long something waits at most where it carries only so much: a datagram that would wait
    /// longer is lost, a stream waits.
    pub queue: Duration,
    /// What the chances are drawn from.
    pub seed: u64,
}

impl Default for Quality {
    fn default() -> Self {
        let (delay, jitter) = (Duration::ZERO, Duration::ZERO);
        let (rate, queue) = (None, QUEUE);
        Self { loss: 0.0, delay, jitter, reorder: 0.0, rate, queue, seed: 1 }
    }
}

impl FromStr for Quality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut quality = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = |wanted: &str| format!("`{part}`: write it like {key}={wanted}");
            match key {
                "loss" => quality.loss = share(value).ok_or_else(|| wrong("5%"))?,
                "reorder" => quality.reorder = share(value).ok_or_else(|| wrong("1%"))?,
                "delay" => quality.delay = millis(value).ok_or_else(|| wrong("50ms"))?,
                "jitter" => quality.jitter = millis(value).ok_or_else(|| wrong("10ms"))?,
                "rate" => quality.rate = Some(rate(value).ok_or_else(|| wrong("50000"))?),
                "queue" => quality.queue = millis(value).ok_or_else(|| wrong("200ms"))?,
                "seed" => quality.seed = value.parse().map_err(|_| wrong("7"))?,
                _ => {
                    return Err(format!(
                        "`{key}` is nothing a link has: loss=5%, delay=50ms, jitter=10ms, \
                         reorder=1%, rate=50000 (bytes a second), queue=200ms, seed=7"
                    ));
                }
            }
        }
        Ok(quality)
    }
}

fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.strip_suffix("ms")?.parse().ok()?;
    (0.0..=60_000.0).contains(&millis).then(|| Duration::from_secs_f64(millis / 1e3))
}

fn rate(text: &str) -> Option<u32> {
    text.parse().ok().filter(|rate| *rate > 0)
}

/// What passed a link, both directions together.
#[derive(Debug, Default)]
pub struct Passed {
    /// Datagrams, or segments of a stream.
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    /// Lost, or sent again where nothing is lost.
    pub lost: AtomicU64,
    /// Those of `packets` that the server sent.
    pub back: AtomicU64,
    /// How long the link kept what it handed on from the server, in nanoseconds.
    pub kept: Mutex<Histogram>,
}

impl Passed {
    fn keep(&self, since: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.add(since.elapsed().as_nanos() as u64);
    }
}

/// A bad link in front of one server. It ends with this.
pub struct BadLink {
    /// Where it is entered.
    pub address: SocketAddr,
    pub passed: Arc<Passed>,
    quality: Arc<Mutex<Quality>>,
    _tasks: JoinSet<()>,
}

impl BadLink {
    /// A link to `server` for datagrams, or else for streams.
    ///
    /// # Errors
    /// No socket can be had.
    pub async fn open(server: SocketAddr, datagrams: bool, quality: Quality) -> io::Result<Self> {
        let passed = Arc::<Passed>::default();
        let quality = Arc::new(Mutex::new(quality));
        let road = Road { server, quality: Arc::clone(&quality), passed: Arc::clone(&passed) };
        let mut tasks = JoinSet::new();
        let here = (Ipv4Addr::LOCALHOST, 0);
        let address = if datagrams {
            let socket = UdpSocket::bind(here).await?;
            let address = socket.local_addr()?;
            tasks.spawn(carry_datagrams(Arc::new(socket), road));
            address
        } else {
            let listener = TcpListener::bind(here).await?;
            let address = listener.local_addr()?;
            tasks.spawn(carry_streams(listener, road));
            address
        };
        Ok(Self { address, passed, quality, _tasks: tasks })
    }

    /// The link is another one from now on. The chances go on where they were.
    pub fn set(&self, quality: Quality) {
        *self.quality.lock().unwrap_or_else(PoisonError::into_inner) = quality;
    }
}

/// What all ways over one link share.
#[derive(Clone)]
struct Road {
    server: SocketAddr,
    quality: Arc<Mutex<Quality>>,
    passed: Arc<Passed>,
}

impl Road {
    /// One direction of the `number`th client's way.
    fn way(&self, number: u64) -> Way {
        let quality = *self.quality.lock().unwrap_or_else(PoisonError::into_inner);
        let chance = Chance(quality.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Way { road: self.clone(), chance, last: None, free: None }
    }
}

/// One direction.
struct Way {
    road: Road,
    chance: Chance,
    /// When the one before arrives.
    last: Option<Instant>,
    /// When the one before has left, where a link carries only so much.
    free: Option<Instant>,
}

impl Way {
    fn draw(&mut self) -> (Quality, bool, Duration) {
        let quality = *self.road.quality.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = self.chance.hits(quality.loss);
        (quality, lost, quality.delay + quality.jitter.mul_f64(self.chance.unit()))
    }

    /// When so many bytes have left that come now; none: they would wait longer than `queue`.
    fn leave(&mut self, now: Instant, bytes: usize, quality: &Quality) -> Option<Instant> {
        let Some(rate) = quality.rate else { return Some(now) };
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins - now > quality.queue {
            return None;
        }
        let left = begins + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
        self.free = Some(left);
        Some(left)
    }

    fn count(&self, bytes: usize, lost: bool) {
        self.road.passed.packets.fetch_add(1, Ordering::Relaxed);
        self.road.passed.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.road.passed.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
    }

    /// When a datagram arrives, if it does.
    fn datagram(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let (quality, lost, takes) = self.draw();
        let overtaken = self.chance.hits(quality.reorder);
        let left = self.leave(now, bytes, &quality);
        self.count(bytes, lost || left.is_none());
        let left = left.filter(|_| !lost)?;
        let due = self.last.map_or(left + takes, |last| last.max(left + takes));
        if overtaken {
            return Some(due + OVERTAKEN);
        }
        self.last = Some(due);
        Some(due)
    }

    /// When a segment of a stream arrives.
    fn segment(&mut self, now: Instant, bytes: usize) -> Instant {
        let (quality, lost, mut takes) = self.draw();
        self.count(bytes, lost);
        if lost {
            takes += (quality.delay * 2).max(STALL_MIN);
        }
        // Nothing of a stream is dropped: what is read ahead of the link waits, in its order.
        let endless = Quality { queue: Duration::MAX, ..quality };
        let left = self.leave(now, bytes, &endless).unwrap_or(now);
        let due = self.last.map_or(left + takes, |last| last.max(left + takes));
        self.last = Some(due);
        due
    }
}

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Chance(u64);

impl Chance {
    /// From 0 up to, but without, 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn hits(&mut self, share: f64) -> bool {
        self.unit() < share
    }
}

/// Something on its way: when it is due, when it came, and its bytes.
type Underway = (Instant, Instant, Bytes);

/// Hands on what is under way when it is due, in that order, until nothing more comes. `passed`
/// hears how long each was kept.
async fn hand_on<F: Future<Output = io::Result<()>>>(
    mut coming: mpsc::Receiver<Underway>,
    passed: Option<&Passed>,
    mut send: impl FnMut(Bytes) -> F,
) -> io::Result<()> {
    let mut underway = BTreeMap::new();
    let mut number = 0_u64;
    let mut open = true;
    while open || !underway.is_empty() {
        let first = underway.first_key_value().map(|((due, _), _)| *due);
        let due = async {
            match first {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = coming.recv(), if open => match next {
                Some((due, came, bytes)) => {
                    number += 1;
                    underway.insert((due, number), (came, bytes));
                }
                None => open = false,
            },
            () = due => {
                if let Some((_, (came, bytes))) = underway.pop_first() {
                    passed.into_iter().for_each(|passed| passed.keep(came));
                    send(bytes).await?;
                }
            }
        }
    }
    Ok(())
}

/// One client of a link for datagrams.
struct Client {
    out: Way,
    to_server: mpsc::Sender<Underway>,
}

async fn carry_datagrams(socket: Arc<UdpSocket>, road: Road) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        // An error tells that an earlier datagram found nobody: it is lost.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        if !clients.contains_key(&from) {
            let number = clients.len() as u64 * 2;
            let Ok(server) = connected(road.server).await else { continue };
            let (to_server, coming) = mpsc::channel(UNDERWAY_MAX);
            let (socket, back) = (Arc::clone(&socket), road.way(number + 1));
            tasks.spawn(serve_client(server, coming, socket, from, back));
            clients.insert(from, Client { out: road.way(number), to_server });
        }
        let Some(client) = clients.get_mut(&from) else { continue };
        let now = Instant::now();
        if let Some(due) = client.out.datagram(now, len) {
            let _ = client.to_server.try_send((due, now, Bytes::copy_from_slice(&buffer[..len])));
        }
    }
}

async fn connected(server: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    Ok(Arc::new(socket))
}

async fn serve_client(
    server: Arc<UdpSocket>,
    coming: mpsc::Receiver<Underway>,
    clients: Arc<UdpSocket>,
    client: SocketAddr,
    mut back: Way,
) {
    let (to_client, returning) = mpsc::channel(UNDERWAY_MAX);
    let passed = Arc::clone(&back.road.passed);
    let read = async {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let Ok(len) = server.recv(&mut buffer).await else { continue };
            let now = Instant::now();
            passed.back.fetch_add(1, Ordering::Relaxed);
            if let Some(due) = back.datagram(now, len) {
                let _ = to_client.try_send((due, now, Bytes::copy_from_slice(&buffer[..len])));
            }
        }
    };
    // What cannot be sent is lost, as on any link.
    let out = hand_on(coming, None, async |bytes: Bytes| {
        let _ = server.send(&bytes).await;
        Ok(())
    });
    let home = hand_on(returning, Some(&passed), async |bytes: Bytes| {
        let _ = clients.send_to(&bytes, client).await;
        Ok(())
    });
    tokio::select! {
        () = read => {}
        _ = async { tokio::join!(out, home) } => {}
    }
}

async fn carry_streams(listener: TcpListener, road: Road) {
    let mut tasks = JoinSet::new();
    for number in (0..).step_by(2) {
        let Ok((client, _)) = listener.accept().await else { continue };
        tasks.spawn(carry_stream(client, road.clone(), number));
    }
}

async fn carry_stream(client: TcpStream, road: Road, number: u64) {
    let Ok(server) = TcpStream::connect(road.server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = carry_bytes(from_client, to_server, road.way(number), None);
    let passed = Some(&*road.passed);
    let back = carry_bytes(from_server, to_client, road.way(number + 1), passed);
    // A direction that ends well leaves the other open; a broken one ends both.
    let _ = tokio::try_join!(there, back);
}

async fn carry_bytes(
    mut from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    mut way: Way,
    passed: Option<&Passed>,
) -> io::Result<()> {
    let (sender, coming) = mpsc::channel(UNDERWAY_MAX);
    let read = async move {
        let mut buffer = vec![0; SEGMENT];
        loop {
            let len = from.read(&mut buffer).await?;
            if len == 0 {
                return Ok(());
            }
            let now = Instant::now();
            let due = way.segment(now, len);
            passed.into_iter().for_each(|passed| _ = passed.back.fetch_add(1, Ordering::Relaxed));
            if sender.send((due, now, Bytes::copy_from_slice(&buffer[..len]))).await.is_err() {
                return Ok(());
            }
        }
    };
    let to = tokio::sync::Mutex::new(to);
    let write = async |bytes: Bytes| to.lock().await.write_all(&bytes).await;
    let write = hand_on(coming, passed, write);
    tokio::try_join!(read, write)?;
    to.into_inner().shutdown().await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn way(text: &str) -> Way {
        let quality = Arc::new(Mutex::new(text.parse().unwrap()));
        let server = SocketAddr::from(([127, 0, 0, 1], 1));
        Road { server, quality, passed: Arc::default() }.way(0)
    }

    #[test]
    fn a_link_is_described_in_words() {
        let text = "loss=5%,delay=50ms,jitter=10ms,reorder=1%,seed=7";
        let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(10));
        let wanted = Quality::default();
        let wanted = Quality { loss: 0.05, delay, jitter, reorder: 0.01, seed: 7, ..wanted };
        assert_eq!(text.parse(), Ok(wanted));
        assert_eq!("".parse(), Ok(Quality::default()));
        let narrow = Quality { rate: Some(50_000), queue: delay, ..Quality::default() };
        assert_eq!("rate=50000,queue=50ms".parse(), Ok(narrow));
        for (wrong, says) in [
            ("loss=5", "write it like loss=5%"),
            ("loss=101%", "write it like loss=5%"),
            ("delay=50", "write it like delay=50ms"),
            ("delay=-1ms", "write it like delay=50ms"),
            ("rate=0", "write it like rate=50000"),
            ("seed=x", "write it like seed=7"),
            ("speed=9", "nothing a link has"),
        ] {
            let error = wrong.parse::<Quality>().unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn datagrams_are_lost_late_and_overtaken_as_often_as_asked_for() {
        let mut way = way("loss=20%,delay=50ms,jitter=10ms,reorder=10%");
        let start = Instant::now();
        let mut arrived = Vec::new();
        for n in 0..10_000_u32 {
            let now = start + Duration::from_millis(5) * n;
            if let Some(due) = way.datagram(now, 100) {
                let took = due - now;
                assert!((50..=85).contains(&took.as_millis()), "{took:?}");
                arrived.push(due);
            }
        }
        assert!((7_700..8_300).contains(&arrived.len()), "{}", arrived.len());
        let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((600..1_000).contains(&overtaken), "{overtaken}");
        assert_eq!(way.road.passed.packets.load(Ordering::Relaxed), 10_000);
        assert_eq!(way.road.passed.lost.load(Ordering::Relaxed), 10_000 - arrived.len() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_link_carries_its_rate_and_drops_what_would_wait_too_long() {
        let mut way = way("delay=50ms,rate=10000,queue=100ms");
        let start = Instant::now();
        // Twice what it carries, for ten seconds.
        let mut arrived = 0;
        for n in 0..2_000_u32 {
            let now = start + Duration::from_millis(5) * n;
            let Some(due) = way.datagram(now, 100) else { continue };
            arrived += 1;
            let took = (due - now).as_millis();
            assert!((60..=160).contains(&took), "{took}");
        }
        assert!((1_000..=1_020).contains(&arrived), "{arrived}");
        // A stream waits as long as it takes.
        let end = (0..100).map(|_| way.segment(start, 1_000)).last().unwrap();
        assert!(end - start > Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_segment_holds_up_all_that_follow() {
        let mut way = way("loss=100%,delay=50ms");
        let now = Instant::now();
        assert_eq!(way.segment(now, 10), now + Duration::from_millis(150));
        *way.road.quality.lock().unwrap() = "delay=50ms".parse().unwrap();
        assert_eq!(way.segment(now, 10), now + Duration::from_millis(150));
        let later = now + Duration::from_millis(101);
        assert_eq!(way.segment(later, 10), later + Duration::from_millis(50));
    }

    #[tokio::test]
    async fn streams_and_datagrams_come_through() {
        let quality = "delay=5ms,jitter=5ms,loss=30%".parse().unwrap();
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = BadLink::open(echo.local_addr().unwrap(), false, quality).await.unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let mut client = TcpStream::connect(link.address).await.unwrap();
        let sent: Vec<_> = (0..20_000_u32).flat_map(u32::to_be_bytes).collect();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.unwrap();
        assert!(came == sent);
        server.await.unwrap();
        assert!(link.passed.lost.load(Ordering::Relaxed) > 0);

        let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let link = BadLink::open(echo.local_addr().unwrap(), true, Quality::default()).await;
        let link = link.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"hi", link.address).await.unwrap();
        let mut buffer = [0; 10];
        let (len, from) = echo.recv_from(&mut buffer).await.unwrap();
        echo.send_to(&buffer[..len], from).await.unwrap();
        let (len, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], from), (&b"hi"[..], link.address));
    }
}
