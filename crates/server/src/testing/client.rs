//! A client of the tested server.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use roomcast_core::LinkLoss;
use roomcast_wire::SessionId;
use serde::Serialize;
use serde_json::{Value, json};

use super::world::{LinkNumber, World};

/// A client of the tested server. It speaks the protocol of `docs/protocol.md`; what it hears are
/// the JSON objects that stand there.
///
/// ```
/// use roomcast::testing::Server;
/// use serde_json::json;
///
/// let server = Server::start_with_seed(roomcast::Server::builder(), 7)?;
/// let mut anna = server.client("Anna");
/// let mut ben = server.client_with("Ben on his phone", json!({ "name": "Ben" }));
/// anna.join("lobby");
/// ben.join("lobby");
/// assert_eq!(anna.expect("member_joined")["room"], "lobby");
///
/// ben.cut(); // his seat is kept
/// anna.publish("lobby", "chat", "are you there?");
/// ben.resume()?;
/// ben.join("lobby");
/// assert!(ben.is_connected());
///
/// let denied = ben.try_publish("nowhere", "chat", ()).expect_err("he is not in there");
/// assert_eq!(denied.reason(), "not_a_member");
/// ben.say(json!({ "type": "send", "session": anna.session(), "event": "psst", "data": 1 }));
/// assert_eq!(anna.expect("message")["data"], 1);
/// println!("{:?}", anna.take_heard()); // the rest
/// anna.expect_nothing();
/// ben.leave("lobby");
///
/// assert!(server.try_client_with("Eve", json!({ "token": "guessed" })).is_err());
/// assert!(server.now().is_zero() && server.take_faults().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Every method acts at once. Methods that expect something take the first thing heard that fits,
/// pass over what came before it, and panic with all that was heard if nothing fits.
pub struct Client {
    world: Rc<RefCell<World>>,
    link: LinkNumber,
    label: String,
    session: SessionId,
    /// What resumes the session.
    secret: Value,
    references: u64,
}

/// The server said no. See [`Client`] for an example.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{who} asked {asked} and was refused: {reply}")]
pub struct Denied {
    /// The client's label.
    pub who: String,
    /// What was asked, as JSON.
    pub asked: String,
    /// The reply, an `error` of the protocol.
    pub reply: Value,
}

impl Denied {
    /// The word of the protocol: `room_full` for example.
    pub fn reason(&self) -> &str {
        self.reply["reason"].as_str().unwrap_or_default()
    }
}

impl Client {
    pub(super) fn open(
        world: Rc<RefCell<World>>,
        label: &str,
        hello: Value,
    ) -> Result<Self, Denied> {
        let link = world.borrow_mut().connect();
        let session = SessionId(0);
        let label = label.to_owned();
        let mut client = Self { world, link, label, session, secret: Value::Null, references: 0 };
        client.hello(hello)?;
        Ok(client)
    }

    /// Which session it is.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Whether its connection is open.
    pub fn is_connected(&self) -> bool {
        self.world.borrow().is_open(self.link)
    }

    /// Takes a seat; gives `joined`.
    ///
    /// # Panics
    /// The server refuses.
    pub fn join(&mut self, room: &str) -> Value {
        self.must(json!({ "type": "join", "room": room }))
    }

    /// The same where the server may refuse.
    ///
    /// # Errors
    /// It did.
    pub fn try_join(&mut self, room: &str) -> Result<Value, Denied> {
        self.ask(json!({ "type": "join", "room": room }))
    }

    /// Gives up a seat.
    ///
    /// # Panics
    /// The server refuses.
    pub fn leave(&mut self, room: &str) {
        self.must(json!({ "type": "leave", "room": room }));
    }

    /// Says something in a room; gives `ok`.
    ///
    /// # Panics
    /// The server refuses.
    pub fn publish(&mut self, room: &str, event: &str, data: impl Serialize) -> Value {
        self.must(publish(room, event, data))
    }

    /// The same where the server may refuse.
    ///
    /// # Errors
    /// It did.
    pub fn try_publish(
        &mut self,
        room: &str,
        event: &str,
        data: impl Serialize,
    ) -> Result<Value, Denied> {
        self.ask(publish(room, event, data))
    }

    /// Asks any command of the protocol, given without `ref`, and gives the reply.
    ///
    /// # Errors
    /// The server refused.
    ///
    /// # Panics
    /// No reply comes at this moment; [`Client::say`] does not wait for one.
    pub fn ask(&mut self, command: Value) -> Result<Value, Denied> {
        let asked = command.to_string();
        let reference = self.say(command);
        let reply = self.take_reply(reference);
        let reply = reply.unwrap_or_else(|| self.fail(&format!("a reply to {asked}")));
        if reply["type"] != "error" {
            return Ok(reply);
        }
        Err(Denied { who: self.label.clone(), asked, reply })
    }

    /// Says any command of the protocol without waiting for a reply; gives the `ref` it got.
    pub fn say(&mut self, mut command: Value) -> u64 {
        self.references += 1;
        command["ref"] = self.references.into();
        self.world.borrow_mut().say(self.link, command.to_string().into_bytes());
        self.references
    }

    /// The next event of that name, in any room, as the protocol writes it: `data`, `from`, `room`.
    ///
    /// # Panics
    /// None was heard.
    pub fn expect_event(&mut self, event: &str) -> Value {
        let found = self.find(|one| one["type"] == "event" && one["event"] == event);
        found.unwrap_or_else(|| self.fail(&format!("the event \"{event}\"")))
    }

    /// The next message of a kind: `member_joined`, `message`, `room_closed`, `goodbye`.
    ///
    /// # Panics
    /// None was heard.
    pub fn expect(&mut self, kind: &str) -> Value {
        let found = self.find(|one| one["type"] == kind);
        found.unwrap_or_else(|| self.fail(&format!("a \"{kind}\"")))
    }

    /// Expects that nothing was heard since the last expectation.
    ///
    /// # Panics
    /// Something was.
    pub fn expect_nothing(&mut self) {
        let heard = self.take_heard();
        assert!(heard.is_empty(), "{} expected nothing, but heard:{}", self.label, list(&heard));
    }

    /// All that was heard since the last expectation.
    pub fn take_heard(&mut self) -> Vec<Value> {
        let mut world = self.world.borrow_mut();
        world.heard(self.link).map(|heard| heard.drain(..).collect()).unwrap_or_default()
    }

    /// Loses the connection. The server keeps the seats for a while: see [`Client::resume`].
    pub fn cut(&mut self) {
        self.world.borrow_mut().cut(self.link, LinkLoss::Broken);
    }

    /// Connects again and takes up the session.
    ///
    /// # Errors
    /// The session is over.
    pub fn resume(&mut self) -> Result<(), Denied> {
        self.cut();
        self.link = self.world.borrow_mut().connect();
        let (session, secret) = (self.session.to_string(), self.secret.clone());
        self.hello(json!({ "resume": { "session": session, "secret": secret } }))
    }

    fn hello(&mut self, mut hello: Value) -> Result<(), Denied> {
        hello["type"] = "hello".into();
        let welcome = self.ask(hello)?;
        self.secret = welcome["resume"].clone();
        if let Some(session) = welcome["session"].as_str().and_then(|text| text.parse().ok()) {
            self.session = session;
        }
        Ok(())
    }

    fn must(&mut self, command: Value) -> Value {
        self.ask(command).unwrap_or_else(|denied| panic!("{denied}"))
    }

    /// Takes a reply, and leaves what was heard beside it.
    fn take_reply(&mut self, reference: u64) -> Option<Value> {
        let mut world = self.world.borrow_mut();
        let heard = world.heard(self.link)?;
        let at = heard.iter().position(|one| one["ref"] == reference)?;
        heard.remove(at)
    }

    /// Takes the first that fits, and what came before it. Nothing is taken if nothing fits, so
    /// that the panic can show it.
    fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut world = self.world.borrow_mut();
        let heard = world.heard(self.link)?;
        let at = heard.iter().position(fits)?;
        heard.drain(..=at).next_back()
    }

    fn fail(&mut self, wanted: &str) -> ! {
        let now = self.world.borrow().now().0;
        let (heard, open) = (self.take_heard(), self.is_connected());
        let closed = if open { "" } else { " (the connection is closed)" };
        panic!("at {now} ms, {} expected {wanted}, but heard:{}{closed}", self.label, list(&heard));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("label", &self.label).finish_non_exhaustive()
    }
}

fn publish(room: &str, event: &str, data: impl Serialize) -> Value {
    let data = serde_json::to_value(data).unwrap_or_else(|error| panic!("no JSON: {error}"));
    json!({ "type": "publish", "room": room, "event": event, "data": data })
}

fn list(heard: &[Value]) -> String {
    if heard.is_empty() {
        return " nothing".to_owned();
    }
    heard.iter().map(|one| format!("\n  {one}")).collect()
}
