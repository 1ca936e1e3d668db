//! Another program beside roomcast, on a bad link of the same make: its server and its members,
//! in one process and on one clock, tell what they said and heard.
//!
//! The program is started with how many members, how many messages of each class a second, their
//! bytes and for how many seconds. Lines go to and fro (`bench/enet/library.c` is such a program):
//!
//! ```text
//! > port 40001                 where its server takes datagrams
//! < link 40002                 where the bad link to it is entered
//! > ready                      all members are connected; the link is good until then
//! < begin
//! > said 0 17 283333           class (0 has to arrive), number, microseconds since `begin`
//! > heard 3 0 17 341210        the same behind the member; in the order of hearing
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc;

use super::bad_link::{BadLink, Quality};
use super::quality::{CLASSES, Ear, Outcome, Plan, watch};

/// What an event of the native dialect has around its data, in JSON, about:
/// 158 bytes if it is reliable, 194 if it is not.
const ENVELOPE_BYTES: usize = 167;

/// Lines that are read ahead; then the program waits.
const LINES_MAX: usize = 1_024;

/// # Errors
/// The program cannot be started, or says something else than it should.
pub fn run(plan: &Plan, words: &str) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(plan, words))
}

async fn measure(plan: &Plan, words: &str) -> Result<Outcome> {
    let mut words = words.split_whitespace();
    let program = words.next().context("--beside names no program")?;
    let bytes = plan.payload + ENVELOPE_BYTES;
    let mut child = Command::new(program)
        .args(words)
        .args([plan.members.to_string(), plan.rate.to_string(), bytes.to_string()])
        .arg(plan.whole().as_secs_f64().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("--beside: cannot start {program}"))?;
    let mut orders = child.stdin.take().context("the program has no input")?;
    let output = child.stdout.take().context("the program has no output")?;
    let mut lines = lines_of(output);

    let port = word_after(&mut lines, "port").await?.parse().context("which port?")?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let link = BadLink::open(server, true, Quality::default()).await?;
    writeln!(orders, "link {}", link.address.port())?;
    word_after(&mut lines, "ready").await?;
    link.set(plan.quality);
    let before = watch(&link.passed);
    writeln!(orders, "begin")?;
    let begun = Instant::now();
    let mut worse = None;
    if let Some((quality, duration)) = plan.worse {
        tokio::time::sleep(plan.duration).await;
        let from = Instant::now();
        link.set(quality);
        tokio::time::sleep(duration).await;
        link.set(plan.quality);
        worse = Some((from, Instant::now()));
    }
    let told = Told::read(&mut lines, plan.members as usize, begun).await?;
    let ended = child.wait()?;
    if !ended.success() {
        bail!("the program beside has ended with {ended}");
    }
    let ears: Vec<_> = told.ears.iter().collect();
    let times = [&told.times[0], &told.times[1]];
    Ok(Outcome::new(&ears, &times, worse, before, &link.passed))
}

/// The lines as they come; a thread waits for them, so that the link goes on.
fn lines_of(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// What stands behind `word` in the next line.
async fn word_after(lines: &mut mpsc::Receiver<String>, word: &str) -> Result<String> {
    let line = lines.recv().await.unwrap_or_default();
    match line.strip_prefix(word) {
        Some(rest) => Ok(rest.trim().to_owned()),
        None => bail!("the program beside said `{line}` and not `{word}`"),
    }
}

/// What a program said and heard.
struct Told {
    /// By class and number.
    times: [Vec<Instant>; CLASSES],
    ears: Vec<Ear>,
}

impl Told {
    async fn read(
        lines: &mut mpsc::Receiver<String>,
        members: usize,
        begun: Instant,
    ) -> Result<Self> {
        let ears = std::iter::repeat_with(Ear::default).take(members).collect();
        let mut told = Self { times: Default::default(), ears };
        while let Some(line) = lines.recv().await {
            told.add(&line, begun)
                .with_context(|| format!("the program beside said `{line}`, which says nothing"))?;
        }
        Ok(told)
    }

    fn add(&mut self, line: &str, begun: Instant) -> Option<()> {
        let (verb, numbers) = line.split_once(' ')?;
        let numbers: Vec<u64> =
            numbers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        match (verb, numbers[..].as_ref()) {
            ("said", &[class, n, micros]) => {
                let times = self.times.get_mut(class as usize)?;
                (n == times.len() as u64).then(|| times.push(begun + Duration::from_micros(micros)))
            }
            ("heard", &[member, class, n, micros]) => {
                let heard = self.ears.get_mut(member as usize)?.heard.get_mut(class as usize)?;
                heard.push((n, begun + Duration::from_micros(micros)));
                Some(())
            }
            _ => None,
        }
    }
}
