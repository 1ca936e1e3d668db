//! The task behind a client: it owns the link, and makes a new one when it is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::reply::SessionLimits;
use roomcast_wire::{Command, ErrorCode, Name, Next, Request, Resume, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff;
use crate::builder::Settings;
use crate::error::{Error, Refused};
use crate::event::ClientEvent;
use crate::ledger::{Ledger, Op};
use crate::link::{Ended, Link, LinkEvent};
use crate::queue::Queue;
use crate::race::{Race, Taken, is_missing, listed};
use crate::token::Renewal;
use crate::url::Transport;

/// No more commands are taken while so many bytes wait to be written.
const OUT_BYTES_MAX: usize = 256 << 10;

/// How long the server may take to answer a sign of life.
const PROBE: Duration = Duration::from_secs(10);

/// How long an open link may leave the `hello` unanswered while there are other ways.
const WELCOME: Duration = Duration::from_secs(3);

/// A link that lived so long was a good one: the next delay begins small again.
const GOOD_LINK: Duration = Duration::from_secs(5);

/// Why a client has ended that the application closed.
const CLOSED: &str = "closed by the application";

/// The application asked for the end; it hears when the farewell was said.
pub(crate) type Closing = oneshot::Sender<()>;

/// What handles may look up at any time. Held for a copy only.
#[derive(Debug)]
pub(crate) struct Status(Mutex<Known>);

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) session: SessionId,
    pub(crate) user: Option<Name>,
    pub(crate) limits: SessionLimits,
    pub(crate) token: Option<String>,
    pub(crate) transport: Transport,
    pub(crate) ended: Option<String>,
}

impl Status {
    pub(crate) fn get(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What `welcome` told.
pub(crate) struct Welcome {
    session: SessionId,
    user: Option<Name>,
    resume: Resume,
    resumed: bool,
    ping: Duration,
    limits: SessionLimits,
}

impl Welcome {
    pub(crate) fn status(&self, token: Option<String>, transport: Transport) -> Arc<Status> {
        Arc::new(Status(Mutex::new(Known {
            session: self.session,
            user: self.user.clone(),
            limits: self.limits,
            token,
            transport,
            ended: None,
        })))
    }
}

pub(crate) struct Driver {
    pub(crate) settings: Arc<Settings>,
    pub(crate) status: Arc<Status>,
    pub(crate) ops: mpsc::Receiver<Op>,
    pub(crate) closing: mpsc::Receiver<Closing>,
    pub(crate) events: Arc<Queue<ClientEvent>>,
    pub(crate) ledger: Ledger,
    pub(crate) welcome: Welcome,
    pub(crate) renewal: Renewal,
    /// By which way the link is, or was last.
    pub(crate) taken: Taken,
}

/// Why [`Driver::serve`] returned.
enum Stop {
    /// The application wants no more; it waits for the farewell, unless it just dropped its
    /// handles.
    Asked(Option<Closing>),
    Lost(Ended),
}

impl Driver {
    /// Runs until the application has enough, or there is no way back to the server.
    pub(crate) async fn run(mut self, mut link: Link) {
        let mut attempt = 0;
        self.ledger.set_message_bytes_max(self.welcome.limits.message_bytes);
        let (reason, closing) = loop {
            let began = Instant::now();
            let lost = match self.serve(&mut link).await {
                Stop::Asked(closing) => {
                    self.say_bye(link).await;
                    break (CLOSED.to_owned(), closing);
                }
                Stop::Lost(lost) => lost,
            };
            drop(link);
            if began.elapsed() >= GOOD_LINK {
                attempt = 0;
            }
            match self.reconnect(lost, &mut attempt).await {
                Ok(new) => link = new,
                Err(Stop::Asked(closing)) => break (CLOSED.to_owned(), closing),
                Err(Stop::Lost(lost)) => break (lost.reason, None),
            }
        };
        self.end(reason);
        if let Some(closing) = closing {
            // Who asked may have given up waiting.
            let _ = closing.send(());
        }
    }

    fn end(&mut self, reason: String) {
        self.status.set(|known| known.ended = Some(reason.clone()));
        self.ops.close();
        self.ledger.end(&reason);
        self.events.push(ClientEvent::Closed { reason });
        self.events.close();
    }

    /// Carries messages both ways until the link or the application ends it.
    async fn serve(&mut self, link: &mut Link) -> Stop {
        let mut heard = Instant::now();
        let mut probed = false;
        loop {
            let full = self.ledger.full();
            let take = link.queued_bytes() < OUT_BYTES_MAX && self.ledger.has_room();
            let wake = self.wake_at(heard, probed, full.is_some());
            tokio::select! {
                closing = self.closing.recv() => return Stop::Asked(closing),
                event = link.next(full.is_none()) => {
                    (heard, probed) = (Instant::now(), false);
                    let lost = match event {
                        LinkEvent::Message(message) => self.handle(link, &message),
                        LinkEvent::Alive => None,
                        LinkEvent::Ended(ended) => Some(ended),
                    };
                    if let Some(lost) = lost {
                        return Stop::Lost(lost);
                    }
                }
                () = wait_for_room(full.as_deref()) => heard = Instant::now(),
                Some(op) = self.ops.recv(), if take => self.open(link, op),
                token = self.renewal.next() => link.queue(self.ledger.refresh(token)),
                () = sleep_until(wake) => {
                    self.ledger.rejoin_due(wake).into_iter().for_each(|join| link.queue(join));
                    if full.is_none() && self.is_silent(heard, probed) {
                        if probed {
                            return Stop::Lost(Ended::broken("the server went silent"));
                        }
                        probed = true;
                        link.queue(self.ledger.probe());
                    }
                }
            }
        }
    }

    /// Opens one command and those that wait behind it, so that they are written together.
    fn open(&mut self, link: &mut Link, first: Op) {
        let mut next = Some(first);
        while let Some(op) = next {
            let may_be_lost = op.may_be_lost();
            match self.ledger.open(op) {
                Some(message) if may_be_lost => link.queue_unreliable(message),
                Some(message) => link.queue(message),
                None => {}
            }
            let take = link.queued_bytes() < OUT_BYTES_MAX && self.ledger.has_room();
            next = if take { self.ops.try_recv().ok() } else { None };
        }
    }

    fn handle(&mut self, link: &Link, message: &Bytes) -> Option<Ended> {
        match native::decode_incoming(link.codec(), message) {
            Ok(incoming) => self.ledger.handle(incoming, Instant::now()),
            Err(error) => Some(Ended::broken(format!("the server sent no message: {error}"))),
        }
    }

    /// A server that says nothing for its own ping interval is asked for a sign of life.
    fn silence(&self, probed: bool) -> Duration {
        self.welcome.ping + if probed { PROBE } else { Duration::ZERO }
    }

    fn is_silent(&self, heard: Instant, probed: bool) -> bool {
        !self.welcome.ping.is_zero() && heard.elapsed() >= self.silence(probed)
    }

    fn wake_at(&self, heard: Instant, probed: bool, full: bool) -> Instant {
        // Far enough away to be never, and no timer wheel complains.
        let never = Instant::now() + Duration::from_secs(24 * 60 * 60);
        let silent =
            if self.welcome.ping.is_zero() || full { never } else { heard + self.silence(probed) };
        self.ledger.rejoin_at().map_or(silent, |at| at.min(silent))
    }

    async fn reconnect(&mut self, mut lost: Ended, attempt: &mut u32) -> Result<Link, Stop> {
        self.ledger.lose(&lost.reason);
        self.events.push(ClientEvent::ConnectionLost { reason: lost.reason.clone() });
        let mut resume = Some(self.welcome.resume);
        loop {
            let settings = Arc::clone(&self.settings);
            let Some(reconnect) = &settings.reconnect else { return Err(Stop::Lost(lost)) };
            let exhausted = reconnect.attempts_max.is_some_and(|max| *attempt >= max);
            match lost.next {
                _ if exhausted => return Err(Stop::Lost(lost)),
                Next::Stop | Next::Fix => return Err(Stop::Lost(lost)),
                Next::Retry => resume = None,
                Next::Resume => {}
            }
            let jittered = backoff::delay(reconnect, *attempt, backoff::random());
            let delay = lost.retry_after.unwrap_or(jittered);
            self.events.push(ClientEvent::Reconnecting { attempt: *attempt, delay });
            *attempt += 1;
            let fixed = self.status.get().token;
            let connecting = async {
                sleep(delay).await;
                let token = self.renewal.token(fixed, settings.connect_timeout).await?;
                connect(&settings, Some(self.taken), token, resume).await
            };
            let outcome = tokio::select! {
                closing = self.closing.recv() => return Err(Stop::Asked(closing)),
                outcome = connecting => outcome,
            };
            match outcome {
                Ok((taken, link, welcome)) => {
                    self.taken = taken;
                    return Ok(self.reopen(link, welcome));
                }
                Err(error) => lost = after_failure(error),
            }
        }
    }

    fn reopen(&mut self, mut link: Link, welcome: Welcome) -> Link {
        let (session, resumed) = (welcome.session, welcome.resumed);
        let transport = self.settings.transport(self.taken.way);
        self.status.set(|known| {
            known.transport = transport;
            known.session = session;
            known.user.clone_from(&welcome.user);
            known.limits = welcome.limits;
        });
        self.ledger.set_message_bytes_max(welcome.limits.message_bytes);
        self.welcome = welcome;
        self.events.push(ClientEvent::Reconnected { session, resumed, transport });
        self.ledger.reopen().into_iter().for_each(|message| link.queue(message));
        link
    }

    async fn say_bye(&mut self, mut link: Link) {
        // Commands that were handed over before the end are still sent; their answers are not
        // awaited.
        while let Ok(op) = self.ops.try_recv() {
            if let Some(message) = self.ledger.open(op) {
                link.queue(message);
            }
        }
        let bye = encode(&self.settings, None, Command::Bye);
        link.queue(bye);
        link.finish().await;
    }
}

async fn wait_for_room<T>(full: Option<&Queue<T>>) {
    match full {
        Some(queue) => queue.wait_for_room().await,
        None => std::future::pending().await,
    }
}

/// What to do after a connection could not be made again.
fn after_failure(error: Error) -> Ended {
    let reason = error.to_string();
    match error {
        Error::Refused(refused) => {
            let retry_after = refused.retry_after;
            Ended { reason, next: refused.next(), retry_after }
        }
        Error::Closed { .. } | Error::Invalid(_) => {
            Ended { reason, next: Next::Stop, retry_after: None }
        }
        _ => Ended::broken(reason),
    }
}

/// Opens a link by the first way that works and introduces the client, within the time for that.
pub(crate) async fn connect(
    settings: &Arc<Settings>,
    taken: Option<Taken>,
    token: Option<String>,
    resume: Option<Resume>,
) -> Result<(Taken, Link, Welcome), Error> {
    let connecting = async {
        let mut race = Race::new(settings, taken);
        while let Some((way, mut link)) = race.next().await {
            let token = token.clone();
            let url = settings.urls.get(way).map(ToString::to_string).unwrap_or_default();
            let introducing = introduce(settings, &url, &mut link, token, resume);
            let introduced = match race.has_more() {
                true => timeout(WELCOME, introducing).await.unwrap_or_else(|_| {
                    let reason = "the server does not answer the hello".to_owned();
                    Err(Error::Handshake { address: url.clone(), reason })
                }),
                false => introducing.await,
            };
            match introduced {
                Ok(welcome) => return Ok((Taken::now(way, taken), link, welcome)),
                Err(error) if is_missing(&error) => race.fail(error),
                Err(error) => return Err(error),
            }
        }
        Err(race.error())
    };
    let within = settings.connect_timeout;
    timeout(within, connecting).await.unwrap_or_else(|_| {
        Err(Error::Unreachable {
            address: listed(&settings.urls),
            reason: format!("no answer within {within:?}"),
            kind: std::io::ErrorKind::TimedOut,
        })
    })
}

async fn introduce(
    settings: &Settings,
    address: &str,
    link: &mut Link,
    token: Option<String>,
    mut resume: Option<Resume>,
) -> Result<Welcome, Error> {
    loop {
        let hello = Command::Hello {
            token: token.clone().map(Into::into),
            name: settings.name.clone().map(Into::into),
            resume,
            data: None,
        };
        link.queue(encode(settings, Some(0), hello));
        match answer(address, link).await? {
            Body::Welcome { session, user, resume: secret, resumed, ping_ms, limits, .. } => {
                let resume = Resume { session, secret, offset: None };
                let ping = Duration::from_millis(ping_ms);
                return Ok(Welcome { session, user, resume, resumed, ping, limits });
            }
            // The link stays open for a fresh start.
            Body::Error { code, .. }
                if code == ErrorCode::CannotResume.number() && resume.is_some() =>
            {
                resume = None;
            }
            Body::Error { code, reason, message, retry, retry_ms } => {
                let retry_after = retry_ms.map(Duration::from_millis);
                let refused = Refused { code, reason, message, retry, retry_after };
                return Err(Error::Refused(refused));
            }
            other => return Err(Error::Unexpected(format!("{other:?}"))),
        }
    }
}

/// The answer to `hello`. Nothing else is said before it, but goodbye.
async fn answer(address: &str, link: &mut Link) -> Result<Body, Error> {
    let failed = |reason: String| Error::Handshake { address: address.to_owned(), reason };
    loop {
        let message = match link.next(true).await {
            LinkEvent::Message(message) => message,
            LinkEvent::Alive => continue,
            LinkEvent::Ended(ended) if ended.next == Next::Stop => {
                return Err(Error::Closed { reason: ended.reason });
            }
            LinkEvent::Ended(ended) => return Err(failed(ended.reason)),
        };
        let incoming = native::decode_incoming(link.codec(), &message)
            .map_err(|error| failed(error.to_string()))?;
        match incoming {
            Incoming { body: Body::Goodbye { code, reason, message, retry_ms }, .. } => {
                let ended = Ended::closed(code, &message, retry_ms);
                if ended.next == Next::Stop {
                    return Err(Error::Closed { reason: ended.reason });
                }
                let retry_after = ended.retry_after;
                return Err(Error::Refused(Refused {
                    code,
                    reason,
                    message,
                    retry: true,
                    retry_after,
                }));
            }
            Incoming { reference: Some(0), body } => return Ok(body),
            // A server that could not read the `hello` has no `ref` to answer with.
            Incoming { reference: None, body: body @ Body::Error { .. } } => return Ok(body),
            _ => {}
        }
    }
}

fn encode(settings: &Settings, reference: Option<u64>, command: Command<'_>) -> Bytes {
    let mut message = BytesMut::new();
    native::encode_request(settings.codec, &Request { reference, command }, &mut message);
    message.freeze()
}
