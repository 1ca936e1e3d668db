//! The talk itself: rooms, the current one, and what is typed into it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use roomcast_client::{
    Client, ClientEvent, Events, JoinOptions, Position, Room, RoomEvent, Sender, SessionId, To,
};
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::connect::explain;
use super::super::room::member_line;
use super::super::text::{count, plain};
use super::Args;
use super::line::{self, HELP, Line};
use super::prompt::Keyboard;
use super::screen::{Look, Screen};
use super::show::{self, CHAT};

/// How long a script waits for its own lines to come back, at its end and before a command.
const ECHO: Duration = Duration::from_secs(1);

/// What shells expect of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// A list of names is told up to this many.
const NAMES_MAX: usize = 20;

pub struct Talk {
    args: Args,
    screen: Screen,
    client: Client,
    told: Events<ClientEvent>,
    seats: BTreeMap<String, Seat>,
    current: Option<String>,
    /// The session under the name before.
    former: Option<SessionId>,
    happened: mpsc::Sender<(String, RoomEvent)>,
    happenings: mpsc::Receiver<(String, RoomEvent)>,
    /// Why the client ended, once it has.
    ended: Option<String>,
}

struct Seat {
    room: Room,
    /// The newest event shown.
    shown: Position,
    /// The newest event that was said here and acknowledged.
    said: Option<Position>,
    /// Who was told to be here when the seat was taken: their coming is no news, if it is still
    /// on its way.
    greeted: HashSet<SessionId>,
    /// The seat was taken under a new name: that nothing was missed by it is no news.
    renamed: bool,
    forward: JoinHandle<()>,
}

impl Seat {
    /// Something that was said here has not come back yet.
    fn is_behind(&self) -> bool {
        let shown = self.shown;
        self.said.is_some_and(|said| said.epoch == shown.epoch && said.offset > shown.offset)
    }
}

enum Flow {
    Go,
    Stop,
}

impl Talk {
    /// Connects and takes a seat in the first room.
    pub async fn begin(args: Args, screen: Screen) -> anyhow::Result<Self> {
        let client = connect(&args, args.name.as_deref()).await?;
        let told = client.events();
        // One thing waits here; the others in the rooms' own streams, which say what they drop.
        let (happened, happenings) = mpsc::channel(1);
        let seats = BTreeMap::new();
        let (current, former, ended) = (None, None, None);
        let mut talk = Self {
            args,
            screen,
            client,
            told,
            seats,
            current,
            former,
            happened,
            happenings,
            ended,
        };
        if talk.args.url.len() > 1 {
            let words = format!("connected by {}", talk.client.transport());
            talk.screen.note(&words);
        }
        let room = talk.args.room.clone();
        if let Err(error) = talk.join(&room).await {
            talk.client.close().await;
            return Err(error);
        }
        if talk.screen.is_terminal() {
            talk.screen.note("/help shows what can be typed, Ctrl-D leaves");
        }
        Ok(talk)
    }

    /// Talks with a person until that person, or the server, has enough.
    pub async fn converse(&mut self, mut keyboard: Keyboard) -> anyhow::Result<ExitCode> {
        loop {
            let prompt = self.current.as_ref().map_or_else(String::new, |room| plain(room));
            keyboard.ask(&format!("{prompt}> "));
            let typed = loop {
                tokio::select! {
                    biased;
                    Some((room, event)) = self.happenings.recv() => self.show(&room, &event),
                    Some(event) = self.told.next() => self.tell(&event),
                    typed = keyboard.next() => break typed,
                }
                if let Some(reason) = &self.ended {
                    keyboard.give_back();
                    // Not by the thread that prints above the prompt: the process may end first.
                    let text = format!("! the talk has ended: {}", plain(reason));
                    println!("{}", self.screen.paint(Look::Alarm, &text));
                    return Ok(ExitCode::FAILURE);
                }
            };
            let flow = match &typed {
                Some(typed) => self.handle(typed).await,
                None => Ok(Flow::Stop),
            };
            match flow {
                Ok(Flow::Go) => {}
                Ok(Flow::Stop) => break,
                Err(error) => self.screen.alarm(&plain(&format!("{error:#}"))),
            }
        }
        self.client.close().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Says the lines of a script; ends with its end.
    pub async fn recite(
        &mut self,
        mut lines: mpsc::Receiver<io::Result<String>>,
    ) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let mut interrupt = pin!(ctrl_c());
        loop {
            let line = tokio::select! {
                biased;
                _ = &mut interrupt => {
                    code = ExitCode::from(INTERRUPTED);
                    break;
                }
                Some((room, event)) = self.happenings.recv() => {
                    self.show(&room, &event);
                    continue;
                }
                Some(event) = self.told.next() => {
                    self.tell(&event);
                    continue;
                }
                line = lines.recv(), if self.ended.is_none() => line,
                else => None,
            };
            let Some(line) = line else { break };
            let line = line.context("standard input")?;
            if line.starts_with('/') {
                self.show_what_was_said().await;
            }
            match self.handle(&line).await {
                Ok(Flow::Go) => {}
                Ok(Flow::Stop) => break,
                Err(error) => {
                    self.screen.alarm(&plain(&format!("{error:#}")));
                    code = ExitCode::FAILURE;
                }
            }
        }
        if self.ended.is_some() {
            return Ok(ExitCode::FAILURE);
        }
        self.show_what_was_said().await;
        self.client.close().await;
        Ok(code)
    }

    /// What was said is acknowledged; what comes back of it is shown too, if it comes soon (a
    /// room may keep it from its sender).
    async fn show_what_was_said(&mut self) {
        let all_shown = async {
            while self.seats.values().any(Seat::is_behind) {
                let Some((room, event)) = self.happenings.recv().await else { return };
                self.show(&room, &event);
            }
        };
        if timeout(ECHO, all_shown).await.is_err() {
            self.seats.values_mut().for_each(|seat| seat.said = None);
        }
    }

    async fn handle(&mut self, typed: &str) -> anyhow::Result<Flow> {
        match line::parse(typed) {
            Line::Nothing => {}
            Line::Say(text) => self.say(text).await?,
            Line::Join(room) => self.join(room).await?,
            Line::Leave(room) => self.leave(room).await?,
            Line::Rooms => self.list_rooms().await?,
            Line::Who(room) => self.list_members(room).await?,
            Line::Name(name) => self.rename(name).await?,
            Line::Msg { who, text } => self.whisper(who, text).await?,
            Line::Help => self.screen.line(HELP),
            Line::Quit => return Ok(Flow::Stop),
            Line::Wrong(what) => bail!("{what}"),
        }
        Ok(Flow::Go)
    }

    async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let Some(seat) = self.current.as_ref().and_then(|room| self.seats.get_mut(room)) else {
            bail!("you are in no room; /join one");
        };
        let position = seat.room.publish(CHAT, &json!({ "text": text })).await;
        let position = position.map_err(explain).with_context(|| format!("not said: {text}"))?;
        seat.said = position.or(seat.said);
        Ok(())
    }

    async fn join(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(name) = self.seat_called(name) {
            self.screen.note(&format!("now in {}", plain(&name)));
            self.current = Some(name);
            return Ok(());
        }
        let room = self.client.join(name).await.map_err(explain)?;
        let name = room.name().to_owned();
        self.current = Some(name.clone());
        let greeted = self.greet(&room).await;
        self.take_seat(name, room, greeted);
        Ok(())
    }

    /// Shows what somebody who comes in wants to know: what was said last, and who is here.
    async fn greet(&mut self, room: &Room) -> HashSet<SessionId> {
        let joined = room.position_at_join();
        // A room may keep both to itself: that is no reason not to talk in it.
        if let Ok(history) = room.history(None, Some(self.args.history)).await {
            let is_before = |at: Position| at.epoch == joined.epoch && at.offset <= joined.offset;
            for event in
                history.events.iter().filter(|event| event.position().is_some_and(is_before))
            {
                let line = show::speech(&self.screen, event, None);
                self.screen.line(&line);
            }
        }
        let name = plain(room.name());
        let Ok(list) = room.members().await else {
            let members = count(room.members_at_join().into(), "member");
            self.screen.note(&format!("in {name}: {members}"));
            return HashSet::new();
        };
        let others = list.members.iter().filter(|m| m.sender().session != self.client.session());
        let mut names: Vec<_> = others.map(|m| plain(&m.name())).collect();
        let count = names.len();
        names.truncate(NAMES_MAX);
        let who = match count {
            0 => "nobody else yet".to_owned(),
            _ if list.truncated || count > NAMES_MAX => {
                format!(
                    "{} and {} more",
                    names.join(", "),
                    room.members_at_join() as usize - 1 - names.len()
                )
            }
            _ => names.join(", "),
        };
        self.screen.note(&format!("in {name}: you and {who}"));
        list.members.iter().map(|member| member.sender().session).collect()
    }

    fn take_seat(&mut self, name: String, room: Room, greeted: HashSet<SessionId>) {
        let happened = self.happened.clone();
        let (forwarded, events) = (name.clone(), room.events());
        let forward = tokio::spawn(forward(forwarded, events, happened));
        let shown = room.position_at_join();
        let seat = Seat { room, shown, said: None, greeted, renamed: false, forward };
        self.seats.insert(name, seat);
    }

    async fn leave(&mut self, room: Option<&str>) -> anyhow::Result<()> {
        let name = match room {
            Some(room) => self.seat_called(room),
            None => self.current.clone(),
        };
        let Some(seat) = name.as_ref().and_then(|name| self.seats.get(name)) else {
            bail!("you are not in {}", room.unwrap_or("any room"));
        };
        seat.room.leave().await.map_err(explain)?;
        let name = seat.room.name().to_owned();
        self.screen.note(&format!("left {}", plain(&name)));
        self.lose_seat(&name);
        if let Some(current) = &self.current {
            self.screen.note(&format!("now in {}", plain(current)));
        }
        Ok(())
    }

    /// The full name of a room that was called so: rooms of the own namespace need none.
    fn seat_called(&self, room: &str) -> Option<String> {
        let is_meant = |name: &&String| {
            *name == room || name.split_once('/').is_some_and(|(_, own)| own == room)
        };
        self.seats.keys().find(is_meant).cloned()
    }

    fn lose_seat(&mut self, name: &str) {
        self.seats.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = self.seats.keys().next().cloned();
        }
    }

    async fn list_rooms(&mut self) -> anyhow::Result<()> {
        let list = self.client.rooms(None).await.map_err(explain)?;
        for room in &list.rooms {
            let here = if self.seats.contains_key(&room.room) { " (you are here)" } else { "" };
            self.screen.line(&format!("{:>7}  {}{here}", room.members, plain(&room.room)));
        }
        if list.truncated {
            self.screen.line("         … and more");
        }
        Ok(())
    }

    async fn list_members(&mut self, room: Option<&str>) -> anyhow::Result<()> {
        let room = room.map(ToOwned::to_owned).or_else(|| self.current.clone());
        let Some(room) = room else { bail!("which room? /who ROOM") };
        let list = self.client.members(&room).await.map_err(explain)?;
        for member in &list.members {
            let you = member.sender().session == self.client.session();
            let you = if you { " (you)" } else { "" };
            self.screen.line(&format!("  {}{you}", member_line(member)));
        }
        if list.truncated {
            self.screen.line("  … and more");
        }
        Ok(())
    }

    /// A display name is fixed when a session begins, so a new one takes the seats.
    async fn rename(&mut self, name: &str) -> anyhow::Result<()> {
        let client = connect(&self.args, Some(name)).await?;
        let mut taken = Vec::new();
        for (room, seat) in &self.seats {
            let options = JoinOptions::default().since(seat.shown);
            match client.join_with(room, options).await {
                Ok(room) => taken.push(room),
                Err(error) => {
                    client.close().await;
                    return Err(explain(error)).with_context(|| format!("in {room}"));
                }
            }
        }
        for seat in self.seats.values() {
            seat.forward.abort();
        }
        let old = std::mem::replace(&mut self.client, client);
        self.told = self.client.events();
        for room in taken {
            let name = room.name().to_owned();
            let Some(before) = self.seats.remove(&name) else { continue };
            self.take_seat(name.clone(), room, before.greeted);
            if let Some(seat) = self.seats.get_mut(&name) {
                (seat.shown, seat.said, seat.renamed) = (before.shown, before.said, true);
            }
        }
        self.former = Some(old.session());
        old.close().await;
        self.args.name = Some(name.to_owned());
        self.screen.note(&format!("you are {} now", plain(name)));
        Ok(())
    }

    async fn whisper(&mut self, who: &str, text: &str) -> anyhow::Result<()> {
        let to = self.find(who).await?;
        self.client.send(to, CHAT, &json!({ "text": text })).await.map_err(explain)?;
        let who = show::name(&self.screen, who);
        self.screen.line(&format!("(to {who}): {}", plain(text)));
        Ok(())
    }

    /// A session, somebody who is called so in the current room, or else a user.
    async fn find(&self, who: &str) -> anyhow::Result<To> {
        if let Ok(session) = who.parse::<SessionId>() {
            return Ok(To::Session(session));
        }
        let members = match &self.current {
            Some(room) => self.client.members(room).await.map(|list| list.members),
            None => Ok(Vec::new()),
        };
        let members = members.unwrap_or_default();
        let called = members.iter().map(roomcast_client::Member::sender);
        let called: Vec<&Sender> = called.filter(|sender| show::called(sender) == who).collect();
        match called.as_slice() {
            [] => Ok(To::User(who.to_owned())),
            [one] => Ok(To::Session(one.session)),
            [first, others @ ..]
                if others.iter().all(|o| o.user.is_some() && o.user == first.user) =>
            {
                Ok(To::Session(first.session))
            }
            _ => Err(anyhow!(
                "several are called {who}; /who shows their sessions, say one of those"
            )),
        }
    }

    fn show(&mut self, name: &str, event: &RoomEvent) {
        let elsewhere = (self.current.as_deref() != Some(name)).then_some(name);
        match event {
            RoomEvent::Event(event) => {
                if let Some((seat, position)) = self.seats.get_mut(name).zip(event.position()) {
                    seat.shown = position;
                }
                let line = show::speech(&self.screen, event, elsewhere);
                self.screen.line(&line);
            }
            other => {
                if !self.is_news(name, other) {
                    return;
                }
                if let Some(words) = show::happening(other) {
                    let room =
                        elsewhere.map_or_else(String::new, |room| format!("[{}] ", plain(room)));
                    self.screen.note(&format!("{room}{words}"));
                }
                if matches!(other, RoomEvent::Closed { .. }) {
                    self.lose_seat(name);
                }
            }
        }
    }

    fn is_news(&mut self, name: &str, event: &RoomEvent) -> bool {
        let (me, former) = (self.client.session(), self.former);
        let is_me = |session: SessionId| session == me || Some(session) == former;
        let Some(seat) = self.seats.get_mut(name) else { return true };
        match event {
            RoomEvent::MemberJoined(member) => {
                let session = member.sender().session;
                !is_me(session) && !seat.greeted.remove(&session)
            }
            RoomEvent::MemberLeft { from, .. } => {
                seat.greeted.remove(&from.session);
                !is_me(from.session)
            }
            RoomEvent::Recovered => !std::mem::take(&mut seat.renamed),
            _ => true,
        }
    }

    fn tell(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Message(message) => {
                let line = show::whisper(&self.screen, message);
                self.screen.line(&line);
            }
            ClientEvent::Closed { reason } => {
                self.ended = Some(reason.clone());
                // At a terminal it is the last word, behind the prompt.
                if !self.screen.is_terminal() {
                    self.screen.alarm(&format!("the talk has ended: {}", plain(reason)));
                }
            }
            other => {
                if let Some(words) = show::connection(other) {
                    self.screen.note(&words);
                }
            }
        }
    }
}

async fn connect(args: &Args, name: Option<&str>) -> anyhow::Result<Client> {
    let mut builder = args.access.builder(&args.url)?;
    if let Some(name) = name {
        builder = builder.name(name);
    }
    builder.connect().await.map_err(explain)
}

async fn forward(
    room: String,
    mut events: Events<RoomEvent>,
    happened: mpsc::Sender<(String, RoomEvent)>,
) {
    while let Some(event) = events.next().await {
        if happened.send((room.clone(), event)).await.is_err() {
            return;
        }
    }
}
