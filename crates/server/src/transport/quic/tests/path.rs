//! What QUIC makes of bad and of narrow paths, in virtual time.

use std::collections::BTreeMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// What a path does to what passes it, in each direction.
#[derive(Clone, Copy)]
struct Quality {
    /// Of 100 datagrams.
    loss: u64,
    delay: Duration,
    jitter: Duration,
    /// Bytes a second towards the client, and how long something waits for them at most.
    carries: Option<(u32, Duration)>,
}

const GOOD: Quality =
    Quality { loss: 0, delay: Duration::from_millis(50), jitter: Duration::ZERO, carries: None };

/// A server's port, a path and a client, in which everything takes its time.
struct World {
    port: Quic,
    client: Client,
    peer: Peer,
    stream: quinn_proto::StreamId,
    quality: Quality,
    now: Duration,
    seed: u64,
    underway: BTreeMap<(Duration, u64), (bool, Vec<u8>)>,
    number: u64,
    /// When the one before arrives, and when the path is free, towards server and client.
    last: [Duration; 2],
    free: Duration,
    /// Datagrams towards the client, and those of them that were lost.
    sent: u64,
    lost: u64,
    /// What the hub has for the client.
    outbox: VecDeque<(Bytes, bool)>,
    blocked: bool,
    unread: Vec<u8>,
    heard: Heard,
}

/// How long what came had been under way.
#[derive(Default)]
struct Heard {
    reliable: Vec<Duration>,
    unreliable: Vec<Duration>,
    /// Bytes of both.
    bytes: usize,
    /// When what came last on the stream was said.
    last: Duration,
}

impl World {
    fn new(quality: Quality) -> Self {
        let (port, cert) = port();
        let client = Client::new(&cert, "127.0.0.1:999".parse().unwrap(), port.origin);
        let stream = quinn_proto::StreamId::new(quinn_proto::Side::Client, Dir::Bi, 0);
        let good = Quality { loss: 0, ..quality };
        let mut world = Self {
            port,
            client,
            peer: Peer(0),
            stream,
            quality: good,
            now: Duration::ZERO,
            seed: 7,
            underway: BTreeMap::new(),
            number: 0,
            last: [Duration::ZERO; 2],
            free: Duration::ZERO,
            sent: 0,
            lost: 0,
            outbox: VecDeque::new(),
            blocked: false,
            unread: Vec::new(),
            heard: Heard::default(),
        };
        world.run(SECOND);
        assert_eq!(world.client.quic.streams().open(Dir::Bi), Some(stream));
        world.client.quic.send_stream(stream).write(b"{\"type\":\"ping\"}\n").unwrap();
        world.run(2 * SECOND);
        assert_eq!(world.port.busy, 1);
        world.quality = quality;
        world
    }

    /// The same numbers each time.
    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % bound.max(1)
    }

    fn pass(&mut self, to_client: bool, datagram: Vec<u8>) {
        let Quality { loss, delay, jitter, carries } = self.quality;
        let lost = self.below(100) < loss;
        let mut due = self.now + delay;
        if jitter > Duration::ZERO {
            due += Duration::from_micros(self.below(jitter.as_micros() as u64));
        }
        self.sent += u64::from(to_client);
        if let Some((rate, queue)) = carries.filter(|_| to_client) {
            let waits = self.free.saturating_sub(self.now);
            if waits > queue {
                self.lost += 1;
                return;
            }
            let takes = Duration::from_secs_f64(datagram.len() as f64 / f64::from(rate));
            self.free = self.now + waits + takes;
            due += waits + takes;
        }
        if lost {
            self.lost += u64::from(to_client);
            return;
        }
        due = due.max(self.last[usize::from(to_client)]);
        self.last[usize::from(to_client)] = due;
        self.number += 1;
        self.underway.insert((due, self.number), (to_client, datagram));
    }

    /// One message, which says when it was sent.
    fn say(&mut self, reliable: bool, len: usize) {
        let mut text = format!("{:012}", self.now.as_micros());
        text.push_str(&"x".repeat(len - text.len() - 1));
        text.push('\n');
        if !reliable && self.outbox.len() >= 5 {
            // The newest take the place of those that wait, as in the hub's outbox.
            self.outbox.pop_front();
        }
        self.outbox.push_back((text.into(), reliable));
        self.flush();
    }

    fn flush(&mut self) {
        while !self.blocked
            && let Some((chunk, reliable)) = self.outbox.front()
        {
            self.blocked = !self.port.send(self.now, self.peer, chunk, *reliable);
            if !self.blocked {
                self.outbox.pop_front();
            }
        }
    }

    /// What may happen now: nothing takes time.
    fn turn(&mut self, told: &mut Vec<Told>) {
        let at = self.port.origin + self.now;
        for told in told.drain(..) {
            match told {
                Told::Writable { .. } => self.blocked = false,
                Told::Closed { .. } => panic!("{told:?}"),
                _ => {}
            }
        }
        self.flush();
        let mut all = Vec::new();
        self.port.transmit(self.now, &mut |_, datagram| all.push((true, datagram.to_vec())));
        all.extend(self.client.datagrams(at).into_iter().map(|datagram| (false, datagram)));
        for (to_client, datagram) in all {
            self.pass(to_client, datagram);
        }
    }

    fn listen(&mut self) {
        let said = |text: &[u8]| {
            Duration::from_micros(std::str::from_utf8(&text[..12]).unwrap().parse().unwrap())
        };
        while let Some(datagram) = self.client.quic.datagrams().recv() {
            self.heard.unreliable.push(self.now - said(&datagram));
            self.heard.bytes += datagram.len();
        }
        while let flow::Taken::Bytes(bytes) = flow::take(&mut self.client.quic, self.stream, 4_096)
        {
            self.unread.extend_from_slice(&bytes);
            self.heard.bytes += bytes.len();
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            assert!(said(&line) >= self.heard.last);
            self.heard.last = said(&line);
            self.heard.reliable.push(self.now - said(&line));
        }
    }

    /// Goes on until then.
    fn run(&mut self, until: Duration) {
        let mut told = Vec::new();
        self.turn(&mut told);
        loop {
            let origin = self.port.origin;
            let timeout = self.client.quic.poll_timeout();
            let timeout = timeout.map(|at| at.saturating_duration_since(origin));
            let arrives = self.underway.first_key_value().map(|((due, _), _)| *due);
            let next = [arrives, self.port.due(), timeout].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(first) = self.underway.first_entry().filter(|f| f.key().0 <= self.now) {
                let (to_client, datagram) = first.remove();
                if to_client {
                    self.client.receive(origin + self.now, &datagram);
                } else {
                    let from = self.client.address;
                    self.port.receive(self.now, from, &datagram, &mut told);
                }
            }
            if timeout.is_some_and(|timeout| timeout <= self.now) {
                self.client.quic.handle_timeout(origin + self.now);
            }
            if self.port.due().is_some_and(|due| due <= self.now) {
                self.port.tick(self.now, &mut told);
            }
            self.listen();
            self.turn(&mut told);
        }
        self.now = until;
    }

    /// 60 messages of either kind a second. Returns what was heard until the end.
    fn play(&mut self, duration: Duration) -> Heard {
        let (begin, beats) = (self.now, duration.as_millis() as u32 * 60 / 1_000);
        for beat in 0..beats {
            self.run(begin + SECOND * beat / 60);
            self.say(true, 200);
            self.say(false, 200);
        }
        self.run(begin + duration);
        let last = self.heard.last;
        std::mem::replace(&mut self.heard, Heard { last, ..Heard::default() })
    }

    /// All the time more than the path carries, of one kind. Returns what was heard.
    fn flood(&mut self, duration: Duration, reliable: bool) -> Heard {
        let begin = self.now;
        while self.now < begin + duration {
            for _ in self.outbox.len()..10 {
                self.say(reliable, 1_000);
            }
            self.run(self.now + 2 * MS);
        }
        let last = self.heard.last;
        std::mem::replace(&mut self.heard, Heard { last, ..Heard::default() })
    }
}

/// What so many of a hundred take at most.
fn of_100(times: &[Duration], share: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * share).div_ceil(100) - 1]
}

#[test]
fn lost_packets_hold_up_nothing_that_may_be_lost() {
    let mut world = World::new(Quality { loss: 5, jitter: 10 * MS, ..GOOD });
    let path = 61 * MS;
    let heard = world.play(20 * SECOND);
    assert!(heard.unreliable.len() > 1_100, "{}", heard.unreliable.len());
    assert!(of_100(&heard.unreliable, 99) < path, "{:?}", of_100(&heard.unreliable, 99));
    // One more round trip, and what it takes to notice; two for what is lost twice.
    assert!(of_100(&heard.reliable, 99) < 320 * MS, "{:?}", of_100(&heard.reliable, 99));
    // Ten bad seconds: later, but neither held up nor said again and again.
    let (sent, lost) = (world.sent, world.lost);
    world.quality.loss = 20;
    let bad = world.play(10 * SECOND);
    assert!(of_100(&bad.unreliable, 99) < path, "{:?}", of_100(&bad.unreliable, 99));
    assert!(of_100(&bad.reliable, 99) < 450 * MS, "{:?}", of_100(&bad.reliable, 99));
    let (sent, lost) = (world.sent - sent, world.lost - lost);
    assert!(sent < 600 + 2 * lost, "{sent} packets for 600 beats, {lost} of them lost");
    // What was lost last is there half a second later, and everything as it was.
    world.quality.loss = 5;
    let mut after = world.play(SECOND / 2);
    let well = world.play(10 * SECOND);
    assert!(of_100(&well.unreliable, 99) < path, "{:?}", of_100(&well.unreliable, 99));
    assert!(of_100(&well.reliable, 99) < 320 * MS, "{:?}", of_100(&well.reliable, 99));
    world.run(world.now + 2 * SECOND);
    after.reliable.append(&mut world.heard.reliable);
    let all = [heard.reliable, bad.reliable, after.reliable, well.reliable].concat();
    assert_eq!(all.len(), 1_200 + 600 + 30 + 600);
}

#[test]
fn a_narrow_path_is_used_and_not_flooded() {
    // Bytes a second, the queue in front of it, the delay there.
    for (rate, queue, delay) in [
        (20_000, 500, 50),
        (50_000, 80, 50),
        (50_000, 200, 10),
        (500_000, 20, 50),
        (500_000, 1_000, 50),
        (1_000_000, 20, 10),
    ] {
        let carries = Some((rate, MS * queue));
        let quality = Quality { delay: MS * delay, carries, ..GOOD };
        for reliable in [true, false] {
            let mut world = World::new(quality);
            world.flood(10 * SECOND, reliable);
            let (sent, lost) = (world.sent, world.lost);
            let heard = world.flood(20 * SECOND, reliable);
            let used = heard.bytes as f64 / f64::from(rate) / 20.0;
            let lost = (world.lost - lost) as f64 / (world.sent - sent) as f64;
            let what = format!("{rate} bytes/s, {queue} ms, reliable {reliable}");
            assert!(used > 0.88, "{what}: {used} used");
            assert!(lost < 0.07, "{what}: {lost} lost");
            if !reliable {
                // No long queue on the path, and none of what is old in front of it: what the five
                // that the hub keeps take, and some packets of that.
                let waits = Duration::from_secs_f64(10_000.0 / f64::from(rate));
                let most = of_100(&heard.unreliable, 90);
                assert!(most < MS * (delay + 60) + waits, "{what}: {most:?}");
            }
        }
    }
}

#[test]
fn a_path_that_becomes_longer_is_no_queue() {
    let mut world = World::new(Quality { delay: 5 * MS, ..GOOD });
    world.flood(5 * SECOND, true);
    world.quality.delay = 100 * MS;
    world.flood(2 * SECOND, true);
    let heard = world.flood(5 * SECOND, true);
    // Ten packets in each round trip, at least.
    assert!(heard.bytes > 5 * 60_000, "{}", heard.bytes);
    let mut world = World::new(Quality { delay: 5 * MS, ..GOOD });
    world.play(SECOND);
    world.quality.delay = 100 * MS;
    let heard = world.play(5 * SECOND);
    assert!(of_100(&heard.unreliable, 100) < 101 * MS);
}

#[test]
fn a_path_that_becomes_narrow_or_ends_is_not_flooded() {
    let wide = Some((500_000, 100 * MS));
    let mut world = World::new(Quality { carries: wide, ..GOOD });
    world.flood(10 * SECOND, true);
    world.quality.carries = Some((50_000, 100 * MS));
    // What was under way is lost once.
    world.flood(2 * SECOND, true);
    let (sent, lost) = (world.sent, world.lost);
    let heard = world.flood(5 * SECOND, true);
    let (sent, lost) = (world.sent - sent, world.lost - lost);
    assert!(
        heard.bytes > 200_000 && lost * 14 < sent,
        "{} bytes, {lost} of {sent} lost",
        heard.bytes
    );
    // Nothing passes: probes, each later than the one before (RFC 9002 section 6.2).
    world.quality.loss = 100;
    let sent = world.sent;
    world.flood(5 * SECOND, true);
    assert!(world.sent - sent < 30, "{} sent", world.sent - sent);
    // When it is there again, it is used again.
    (world.quality.loss, world.quality.carries) = (0, wide);
    world.flood(15 * SECOND, true);
    let heard = world.flood(5 * SECOND, true);
    assert!(heard.bytes > 1_500_000, "{}", heard.bytes);
}
