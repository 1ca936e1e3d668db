//! Where a script is played: the world, its clients by name, and what they read.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use roomcast_core::{CallTicket, HubConfig, KeyGrant, Limits, NamespaceConfig, Partition, ShardId};
use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::{
    CloseCode, Codec, Epoch, Format, Name, Payload, Request, RoomOptions, Secret, SessionId,
};

use super::hooks::{self, Asked};
use super::verbs;
use super::words::Words;
use crate::chance::Chance;
use crate::world::{Dials, Happened, WireId, World};

/// A way to play a script: every one must give the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// How many shards; the clients connect to them in turn.
    pub shards: u16,
    /// Whether every second client speaks MessagePack.
    pub mixed: bool,
    /// How many nodes; the clients connect to them in turn.
    pub nodes: u16,
}

pub(super) struct Stage {
    pub config: HubConfig,
    pub world: Option<World>,
    pub clients: Vec<Client>,
    /// The epochs of each room, in the order the script saw them.
    pub epochs: BTreeMap<String, Vec<Epoch>>,
    /// Room names that the server made up.
    pub made_up: Vec<String>,
    /// Sessions that never said `hello`, in the order others saw them.
    pub strangers: Vec<SessionId>,
    /// What hooks are asked and have not answered, oldest first.
    pub asked: VecDeque<Asked>,
    /// Which calls of clients have no answer, oldest first.
    pub called: VecDeque<(ShardId, CallTicket)>,
    /// What was read since the last settling: whose, and the line.
    lines: Vec<(usize, String)>,
    variant: Variant,
}

/// One client of the script.
pub(super) struct Client {
    pub name: String,
    pub wire: Option<WireId>,
    pub format: Format,
    pub session: Option<SessionId>,
    pub secret: Option<Secret>,
    pub secret_before: Option<Secret>,
    pub reference: u64,
    /// The last call of the server's own code.
    pub asked: Option<u64>,
}

/// What says where rooms are at home, where a script has several nodes.
const HOME_SEED: [u8; 32] = [5; 32];
/// Stands before the clients in the order of lines.
const SERVER: usize = usize::MAX;
/// Stands behind them.
const HOOK: usize = usize::MAX - 1;

impl Stage {
    pub fn new(variant: Variant) -> Self {
        Self {
            config: HubConfig { shards: variant.shards, seed: [7; 32], ..HubConfig::default() },
            world: None,
            clients: Vec::new(),
            epochs: BTreeMap::new(),
            made_up: Vec::new(),
            strangers: Vec::new(),
            asked: VecDeque::new(),
            called: VecDeque::new(),
            lines: Vec::new(),
            variant,
        }
    }

    /// Carries out one step.
    pub fn carry_out(&mut self, step: &str) -> Result<(), String> {
        if let Some((who, rest)) = step.split_once(": ")
            && super::words::is_word(who)
        {
            let rest = self.with_names(rest);
            return match who {
                "server" => verbs::server(self, Words::new(&rest)),
                "hook" => hooks::decide(self, Words::new(&rest)),
                _ => verbs::client(self, who, &rest),
            };
        }
        let mut words = Words::new(step);
        match words.need("a step")? {
            "limits" => words.try_for_each(|word| set_limit(&mut self.config.limits, word)),
            "hooks" => hooks::configure(&mut self.config, words),
            "namespace" => self.namespace(words),
            "static" => self.static_room(words),
            "pattern" => self.pattern(words),
            "lobby" => self.lobby(words),
            "client_logics" => self.client_logics(words),
            "key" => self.key(words),
            "envelopes" => {
                let ms = duration_ms(words.need("a time")?)?;
                let dials = &mut self.world().dials;
                (dials.envelope_delay_ms_min, dials.envelope_delay_ms) = (ms, ms);
                Ok(())
            }
            "repeat" => {
                let count: u64 = number(words.need("a count")?)?;
                let rest = step.splitn(3, ' ').nth(2).unwrap_or_default();
                (1..=count).try_for_each(|i| self.carry_out(&rest.replace("{i}", &i.to_string())))
            }
            "wait" => {
                let until = self.world().now() + duration_ms(words.need("a time")?)?;
                while self.world().step(until) {
                    self.take_happened();
                }
                Ok(())
            }
            "drain" => {
                self.world().drain(2_000);
                Ok(())
            }
            verb @ ("restart" | "crash") => {
                self.begin_again(verb == "crash");
                Ok(())
            }
            "log" => self.log(words),
            "open" => {
                let name = words.need("a name")?.to_owned();
                let namespace = words.value("namespace").map(str::to_owned);
                let node = words.value("node").map(number).transpose()?;
                let format = words.next().map(format_of).transpose()?;
                self.open(&name, format, namespace.as_deref(), node);
                Ok(())
            }
            "shards" | "nodes" | "plain" | "node" | "home" => self.server_step(step),
            verb => self.link_step(verb, words),
        }
    }

    /// Another server takes the place of this one.
    fn begin_again(&mut self, has_crashed: bool) {
        self.config.seed[0] += 1;
        let mut config = self.config.clone();
        if self.variant.nodes > 1 {
            (config.in_cluster, config.home_seed) = (true, Some(HOME_SEED));
        }
        match has_crashed {
            true => self.world().crash(config),
            false => self.world().restart(config),
        }
    }

    /// `log`: there is one; `log fails 2s`: it does, for so long.
    fn log(&mut self, mut words: Words<'_>) -> Result<(), String> {
        match words.next() {
            None => {
                self.config.log = true;
                self.variant.nodes = 1;
            }
            Some("fails") => {
                let ms = duration_ms(words.need("a time")?)?;
                self.world().fail_log(ms);
            }
            Some(_) => return Err("is no step".to_owned()),
        }
        Ok(())
    }

    /// What the server consists of, and what happens to its nodes.
    fn server_step(&mut self, step: &str) -> Result<(), String> {
        let mut words = Words::new(step);
        match words.need("a step")? {
            "shards" => {
                self.config.shards = number(words.need("a count")?)?;
                self.variant.nodes = 1;
                Ok(())
            }
            "nodes" => {
                let nodes = number(words.need("a count")?)?;
                self.variant = Variant { shards: 1, mixed: false, nodes };
                self.config.shards = 1;
                Ok(())
            }
            "node" => self.node_step(words),
            "home" => {
                let room = words.need("a room")?;
                let node = number(words.need("a node")?)?;
                let at = Partition::of_room(HOME_SEED, room);
                self.world().move_partition(at, node);
                Ok(())
            }
            _ => {
                self.variant.mixed = false;
                self.variant.nodes = 1;
                self.config.shards = 1;
                Ok(())
            }
        }
    }

    fn node_step(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let node = number(words.need("a node")?)?;
        match words.need("what happens")? {
            "kill" => self.world().kill(node),
            "start" => self.world().start_node(node),
            "cut" => self.world().set_cut(node, true),
            "reach" => self.world().set_cut(node, false),
            "pause" => {
                let ms = duration_ms(words.need("a time")?)?;
                self.world().pause(node, ms);
            }
            "lose" => {
                let to = number(words.need("the other node")?)?;
                self.world().lose_words(node, to);
            }
            _ => return Err("wants kill, start, cut, reach, pause or lose".to_owned()),
        }
        Ok(())
    }

    fn link_step(&mut self, verb: &str, mut words: Words<'_>) -> Result<(), String> {
        let client = self.client(words.need("a name")?);
        let wire = self.clients[client].wire.ok_or("is not connected")?;
        let world = self.world();
        match verb {
            "cut" => world.cut(wire),
            "close" => world.close(wire),
            "half_open" => {
                world.half_open(wire);
                self.clients[client].wire = None;
            }
            "stop" => world.set_reads(wire, false),
            "read" => world.set_reads(wire, true),
            "mute" => world.set_pongs(wire, false),
            "window" => world.set_window(wire, number(words.need("bytes")?)?),
            _ => return Err("is no step".to_owned()),
        }
        Ok(())
    }

    /// Lets everything happen that happens at this moment; what was read, as lines.
    pub fn settle(&mut self) -> Vec<String> {
        if self.world.is_none() {
            return Vec::new();
        }
        let now = self.world().now();
        while self.world().step(now) {
            self.take_happened();
        }
        self.take_happened();
        let mut lines = std::mem::take(&mut self.lines);
        lines.sort_by_key(|(client, line)| (client.wrapping_add(1), place(line)));
        fold(lines.into_iter().map(|(client, line)| match self.clients.get(client) {
            Some(client) => format!("{} < {line}", client.name),
            None if client == HOOK => format!("hook < {line}"),
            None => format!("server < {line}"),
        }))
    }

    pub fn world(&mut self) -> &mut World {
        let (config, nodes) = (&self.config, self.variant.nodes);
        self.world.get_or_insert_with(|| {
            let (mut config, chance) = (config.clone(), Chance::new(1));
            if nodes == 1 {
                return World::new(config, Dials::CALM, chance);
            }
            (config.in_cluster, config.home_seed) = (true, Some(HOME_SEED));
            let mut world = World::cluster(config, nodes, Dials::CALM, chance);
            // Who comes finds a cluster that knows itself.
            while world.step(0) {}
            world
        })
    }

    /// The client of this name, made if it is new.
    pub fn client(&mut self, name: &str) -> usize {
        if let Some(at) = self.clients.iter().position(|client| client.name == name) {
            return at;
        }
        let second = self.clients.len() % 2 == 1;
        let format = match self.variant.mixed && second {
            true => Format::MSGPACK_WS,
            false => Format::JSON_WS,
        };
        self.clients.push(Client {
            name: name.to_owned(),
            wire: None,
            format,
            session: None,
            secret: None,
            secret_before: None,
            reference: 0,
            asked: None,
        });
        self.clients.len() - 1
    }

    pub fn open(
        &mut self,
        name: &str,
        format: Option<Format>,
        namespace: Option<&str>,
        node: Option<u16>,
    ) -> WireId {
        let client = self.client(name);
        let format = format.unwrap_or(self.clients[client].format);
        let (nodes, shards) = (self.variant.nodes, self.config.shards);
        let turn = client as u16;
        let shard = match nodes {
            1 => turn,
            _ => node.unwrap_or(turn) % nodes * shards + turn / nodes % shards,
        };
        let wire = self.world().connect(format, namespace, shard);
        let entry = &mut self.clients[client];
        (entry.wire, entry.format, entry.reference) = (Some(wire), format, 0);
        wire
    }

    /// Sends a request with the next number.
    pub fn ask(&mut self, client: usize, mut request: Request<'_>) {
        self.wire_of(client);
        let entry = &mut self.clients[client];
        if request.reference.is_some() {
            entry.reference += 1;
            request.reference = Some(entry.reference);
        }
        let mut out = BytesMut::new();
        native::encode_request(entry.format.codec(), &request, &mut out);
        self.say(client, out.freeze());
    }

    /// Sends bytes as they are.
    pub fn say(&mut self, client: usize, bytes: bytes::Bytes) {
        let wire = self.wire_of(client);
        self.world().send(wire, bytes);
    }

    fn wire_of(&mut self, client: usize) -> WireId {
        let name = self.clients[client].name.clone();
        self.clients[client].wire.unwrap_or_else(|| self.open(&name, None, None, None))
    }

    fn take_happened(&mut self) {
        while let Some(happened) = self.world().poll_happened() {
            let (client, line) = match happened {
                Happened::Message { wire, bytes } => {
                    let Some(client) = self.client_of(wire) else { continue };
                    let codec = self.clients[client].format.codec();
                    let line = match native::decode_incoming(codec, &bytes) {
                        Ok(incoming) => self.read(client, &incoming),
                        Err(error) => format!("unreadable: {error}"),
                    };
                    (client, line)
                }
                Happened::Ended { wire, code } => {
                    let Some(client) = self.client_of(wire) else { continue };
                    self.clients[client].wire = None;
                    let code = code.map(|code| match CloseCode::from_number(code) {
                        Some(code) => code.reason().to_owned(),
                        None => code.to_string(),
                    });
                    (client, format!("(closed {})", code.as_deref().unwrap_or("without a word")))
                }
                Happened::Nonsense { wire, text } => {
                    (self.client_of(wire).unwrap_or(SERVER), format!("(nonsense: {text})"))
                }
                Happened::Paused { wire, ms } => {
                    (self.client_of(wire).unwrap_or(SERVER), format!("(paused {ms}ms)"))
                }
                Happened::Called { reply, .. } => (SERVER, self.show_call(reply)),
                Happened::Asked { shard, ticket, question } => {
                    let line = self.show_question(&question);
                    self.asked.push_back(Asked { shard, ticket, question });
                    (HOOK, line)
                }
                Happened::CalledBy { shard, ticket, call } => {
                    let line = self.show_called(&call);
                    self.called.push_back((shard, ticket));
                    (HOOK, line)
                }
                Happened::Killed { .. } => continue,
                Happened::Stuck => (SERVER, "stuck".to_owned()),
            };
            self.lines.push((client, line));
        }
    }

    fn read(&mut self, client: usize, incoming: &Incoming) -> String {
        if let Body::Welcome { session, resume, .. } = &incoming.body {
            let entry = &mut self.clients[client];
            entry.session = Some(*session);
            entry.secret_before = entry.secret.replace(*resume);
        }
        if let Body::Call { id, .. } = incoming.body {
            self.clients[client].asked = Some(id);
        }
        let last = self.clients[client].reference;
        let line = self.show(&incoming.body);
        match incoming.reference {
            Some(reference) if reference != last => format!("{line} #{reference}"),
            _ => line,
        }
    }

    fn client_of(&self, wire: WireId) -> Option<usize> {
        self.clients.iter().position(|client| client.wire == Some(wire))
    }

    /// Puts made-up room names in the place of `$1`, `$2`.
    fn with_names(&self, text: &str) -> String {
        let names = self.made_up.iter().enumerate();
        names.fold(text.to_owned(), |text, (at, name)| text.replace(&format!("${}", at + 1), name))
    }

    fn namespace(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let name = words.need("a name")?.to_owned();
        let options = options_of(words.value("options"))?;
        let namespace = NamespaceConfig {
            anonymous: words.value("anonymous") != Some("false"),
            anonymous_grants: None,
            create: words.value("create") != Some("false"),
            list_rooms: words.value("list_rooms") == Some("true"),
            options,
            ..NamespaceConfig::default()
        };
        self.config.namespaces.insert(name, namespace);
        Ok(())
    }

    fn static_room(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let name = words.need("a name")?;
        let (namespace, room) = name.split_once('/').unwrap_or(("default", name));
        let options = options_of(words.next())?;
        let namespace = self.config.namespaces.entry(namespace.to_owned()).or_default();
        namespace.static_rooms.insert(room.to_owned(), options);
        Ok(())
    }

    /// `pattern duel-* {"members_max":2}`
    fn pattern(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let pattern = words.need("a pattern")?.to_owned();
        let options = options_of(words.next())?;
        self.default_namespace().patterns.push((pattern, options));
        Ok(())
    }

    fn lobby(&mut self, mut words: Words<'_>) -> Result<(), String> {
        self.default_namespace().lobby = Some(words.need("a room")?.to_owned());
        Ok(())
    }

    fn client_logics(&mut self, mut words: Words<'_>) -> Result<(), String> {
        words.try_for_each(|name| {
            self.default_namespace().client_logics.push(name.to_owned());
            Ok(())
        })
    }

    fn default_namespace(&mut self) -> &mut NamespaceConfig {
        self.config.namespaces.entry("default".to_owned()).or_default()
    }

    fn key(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let user = words.value("user").map(Name::new).transpose();
        let user = user.map_err(|error| error.to_string())?;
        let key = words.need("the key")?.to_owned();
        self.config.keys.push(KeyGrant { key, user, admin: words.flag("admin"), grants: None });
        Ok(())
    }
}

/// Where a line stands among those of one client and one moment. Order is promised within a room
/// only; the reply to a publish may come before or after its own event.
fn place(line: &str) -> (u8, String, u64) {
    let mut words = line.split(' ');
    match words.next().unwrap_or_default() {
        "goodbye" | "(closed" => (2, String::new(), 0),
        "joined" | "event" | "member_joined" | "member_left" | "member_dropped"
        | "member_resumed" | "room_closed" | "members" | "presence" | "history" => {
            (1, words.next().unwrap_or_default().to_owned(), 0)
        }
        _ => {
            let reference = line.rsplit_once('#').and_then(|(_, text)| text.parse().ok());
            (0, String::new(), reference.unwrap_or(u64::MAX))
        }
    }
}

/// Says equal lines that follow each other once.
fn fold(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut folded: Vec<(String, u32)> = Vec::new();
    for line in lines {
        match folded.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ => folded.push((line, 1)),
        }
    }
    let text = |(line, count)| if count > 1 { format!("{line} x{count}") } else { line };
    folded.into_iter().map(text).collect()
}

/// The default options with those of a JSON map in their place.
pub(super) fn options_of(json: Option<&str>) -> Result<RoomOptions, String> {
    let Some(json) = json else { return Ok(RoomOptions::default()) };
    RoomOptions::default().patched(&payload(json)?)
}

pub(super) fn payload(json: &str) -> Result<Payload, String> {
    let bytes = bytes::Bytes::copy_from_slice(json.as_bytes());
    Payload::new(Codec::Json, bytes).map_err(|error| error.to_string())
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    match text.strip_suffix("ms") {
        Some(ms) => number(ms),
        None => Ok(1_000 * number::<u64>(text.strip_suffix('s').unwrap_or(text))?),
    }
}

fn format_of(word: &str) -> Result<Format, String> {
    match word {
        "line" => Ok(Format::JSON_LINE),
        "ws" => Ok(Format::JSON_WS),
        "length" => Ok(Format::MSGPACK_LENGTH),
        "msgpack" => Ok(Format::MSGPACK_WS),
        _ => Err(format!("`{word}` is no format: line, ws, length, msgpack")),
    }
}

fn set_limit(limits: &mut Limits, word: &str) -> Result<(), String> {
    let (name, value) = word.split_once('=').ok_or("wants name=value")?;
    match name {
        "message_bytes" => limits.message_bytes = number(value)?,
        "outbox_bytes" => limits.outbox_bytes = number(value)?,
        "rooms_per_session" => limits.rooms_per_session = number(value)?,
        "rooms" => limits.rooms = number(value)?,
        "sessions_dropped" => limits.sessions_dropped = number(value)?,
        "ping_ms" => limits.ping_ms = number(value)?,
        "pong_ms" => limits.pong_ms = number(value)?,
        "resume_ms" => limits.resume_ms = number(value)?,
        "commands_per_s" => limits.commands_per_s = number(value)?,
        "fanout_bytes_per_s" => limits.fanout_bytes_per_s = number(value)?,
        "creates_per_s" => limits.creates_per_s = number(value)?,
        "errors_in_a_row" => limits.errors_in_a_row = number(value)?,
        "key_ms" => limits.key_ms = number(value)?,
        "keys_per_room" => limits.keys_per_room = number(value)?,
        "list_max" => limits.list_max = number(value)?,
        "call_ms" => limits.call_ms = number(value)?,
        "calls_per_session" => limits.calls_per_session = number(value)?,
        "calls_waiting" => limits.calls_waiting = number(value)?,
        "hook_ms" => limits.hook_ms = number(value)?,
        "hooks_waiting" => limits.hooks_waiting = number(value)?,
        _ => return Err(format!("`{name}` is no limit")),
    }
    Ok(())
}
