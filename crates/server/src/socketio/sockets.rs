//! Who is there, and which handler is called when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwapOption;
use roomcast_core::HubEvent;
use roomcast_core::event::Connected;
use roomcast_core::hook::{Call, Connect};
use roomcast_wire::{ErrorCode, EventName, Payload, Refusal, SessionId};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::args::Args;
use super::{Ack, DisconnectReason, Io, Namespace, Outcome, Socket, SocketIo, Soon, name_of};
use crate::handle::ServerHandle;
use crate::hooks::Running;

/// The namespaces that have handlers, and the sockets in them.
pub(crate) struct Sockets {
    namespaces: HashMap<Arc<str>, Namespace>,
    sockets: RwLock<HashMap<SessionId, Socket>>,
    /// None before the server has started, and after its end: it knows this.
    server: ArcSwapOption<ServerHandle>,
    recovers: AtomicBool,
}

impl Sockets {
    pub(crate) fn new(said: SocketIo) -> Self {
        let namespaces = said.namespaces.into_iter();
        Self {
            namespaces: namespaces.map(|(name, namespace)| (name.into(), namespace)).collect(),
            sockets: RwLock::default(),
            server: ArcSwapOption::empty(),
            recovers: AtomicBool::new(false),
        }
    }

    /// `recovers`: handlers are told at once that a client has lost its connection, and again
    /// when it is back.
    pub(crate) fn open(&self, server: &ServerHandle, recovers: bool) {
        self.recovers.store(recovers, Ordering::Release);
        self.server.store(Some(Arc::new(server.clone())));
    }

    /// The server has ended.
    pub(crate) fn close(&self) {
        self.server.store(None);
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *sockets);
        drop(sockets);
        // Only now: what they keep may use them when it is dropped.
        drop(gone);
    }

    pub(super) fn recovers(&self) -> bool {
        self.recovers.load(Ordering::Acquire)
    }

    /// The server's name of a namespace, if it has handlers.
    pub(super) fn space(&self, namespace: &str) -> Option<Arc<str>> {
        self.namespaces.get_key_value(name_of(namespace)).map(|(name, _)| Arc::clone(name))
    }

    pub(super) fn get(&self, session: SessionId) -> Option<Socket> {
        self.sockets.read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    pub(super) fn of(&self, namespace: &str) -> Vec<Socket> {
        let sockets = self.sockets.read().unwrap_or_else(PoisonError::into_inner);
        sockets.values().filter(|socket| socket.namespace() == namespace).cloned().collect()
    }

    /// Asks the middleware of a namespace, in the order of registration.
    pub(crate) async fn admit(self: Arc<Self>, mut asked: Connect) -> Result<Connect, Refusal> {
        let namespace = self.namespaces.get(asked.namespace.as_str());
        for middleware in namespace.into_iter().flat_map(|it| &it.middleware) {
            asked = middleware(asked).await?;
        }
        Ok(asked)
    }

    /// Something happened. Called on the worker of the session that it is about, in order.
    pub(crate) fn hear(self: &Arc<Self>, event: &HubEvent) {
        match event {
            HubEvent::Connected(one) if !one.resumed => self.connected(one),
            HubEvent::Connected(one) => {
                if let Some(socket) = self.get(one.who.session) {
                    self.came_back(&socket);
                }
            }
            HubEvent::Disconnected(one) if one.kept => {
                if let Some(socket) = self.get(one.who.session) {
                    let reason = DisconnectReason::of(one.reason);
                    socket.may_come_back(Some(reason));
                    if self.recovers() {
                        self.call_disconnect(socket, reason);
                    }
                }
            }
            HubEvent::Disconnected(one) => {
                if let Some(socket) = self.remove(one.who.session) {
                    self.call_disconnect(socket, DisconnectReason::of(one.reason));
                }
            }
            // Of a session that has a link it is told next how that ended.
            HubEvent::SessionEnded(one) => {
                let socket = self.get(one.who.session);
                if let Some(reason) = socket.and_then(|socket| socket.may_come_back(None)) {
                    let socket = self.remove(one.who.session);
                    if let Some(socket) = socket.filter(|_| !self.recovers()) {
                        self.call_disconnect(socket, reason);
                    }
                }
            }
            _ => {}
        }
    }

    fn connected(self: &Arc<Self>, Connected { who, namespace, data, .. }: &Connected) {
        let known = self.namespaces.get_key_value(namespace.as_str());
        let Some(((name, _), server)) = known.zip(self.server.load_full()) else { return };
        let io = Io::of_space((*server).clone(), Arc::clone(self), Arc::clone(name));
        let socket = Socket::new((*server).clone(), io, namespace, Arc::clone(who), data.clone());
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        sockets.insert(who.session, socket.clone());
        drop(sockets);
        self.call_connect(&server, socket);
    }

    fn came_back(self: &Arc<Self>, socket: &Socket) {
        let was_lost = socket.may_come_back(None).is_some();
        if !self.recovers() {
            return;
        }
        let Some(server) = self.server.load_full() else { return };
        socket.set_recovered();
        if !was_lost {
            // It knew of the loss before the server did.
            self.call_disconnect(socket.clone(), DisconnectReason::TransportClose);
        }
        self.call_connect(&server, socket.clone());
    }

    fn call_connect(self: &Arc<Self>, server: &ServerHandle, socket: Socket) {
        let sockets = Arc::clone(self);
        server.run(async move {
            let Some(namespace) = sockets.namespaces.get(socket.namespace()) else { return };
            for handler in &namespace.connect {
                log(Running::new(handler(socket.clone()), failed).await, "on_connect");
            }
        });
    }

    fn remove(&self, session: SessionId) -> Option<Socket> {
        self.sockets.write().unwrap_or_else(PoisonError::into_inner).remove(&session)
    }

    fn call_disconnect(self: &Arc<Self>, socket: Socket, reason: DisconnectReason) {
        let Some(server) = self.server.load_full() else { return };
        let sockets = Arc::clone(self);
        server.run(async move {
            let Some(namespace) = sockets.namespaces.get(socket.namespace()) else { return };
            for handler in &namespace.disconnect {
                let left = Running::new(handler(socket.clone(), reason), failed).await;
                log(left, "on_disconnect");
            }
        });
    }

    /// Calls the handlers of an event; what its client is told.
    pub(crate) async fn answer(self: Arc<Self>, call: Call) -> Result<Option<Payload>, Refusal> {
        let Call { from, namespace, answered, call, data, .. } = call;
        let Some(namespace) = self.namespaces.get(namespace.as_str()) else {
            return Err(unknown(&call));
        };
        // The session may have ended meanwhile.
        let Some(socket) = self.get(from.session) else { return Ok(None) };
        let (event, args) = (call.to_string(), Args::read_from(data));
        for handler in &namespace.any {
            log(handler(socket.clone(), event.clone(), args.clone()).await, "on_any");
        }
        let Some(handler) = namespace.events.get(&event) else {
            return if answered { Err(unknown(&call)) } else { Ok(None) };
        };
        let (way, mut said) = oneshot::channel();
        let mut handling = handler(socket.clone(), args, Ack::new(answered.then_some(way)));
        let said = tokio::select! {
            biased;
            outcome = &mut handling => {
                let refusal = outcome.err().map(|error| refusal_of(&event, error));
                match refusal {
                    _ if !answered => return Ok(None),
                    Some(refusal) => return Err(refusal),
                    None => {}
                }
                match said.try_recv() {
                    Err(TryRecvError::Empty) => said.await.ok(),
                    said => said.ok(),
                }
            }
            Ok(said) = &mut said => {
                self.go_on(handling, event);
                Some(said)
            }
        };
        let Some(args) = said else { return Ok(None) };
        socket.settle().await;
        let payload = args.and_then(Args::into_payload);
        payload.map(Some).map_err(|text| Refusal::new(ErrorCode::Internal, text))
    }

    /// A handler has acknowledged, which its client need not wait for any longer; it has more to
    /// do.
    fn go_on(&self, handling: Soon<Outcome>, event: String) {
        let Some(server) = self.server.load_full() else { return };
        server.run(async move { log(Running::new(handling, failed).await, &event) });
    }
}

fn failed(refusal: Refusal) -> Outcome {
    Err(refusal.into())
}

fn log(outcome: Outcome, handler: &str) {
    if let Err(error) = outcome {
        tracing::warn!(%error, handler, "a handler of Socket.IO events failed");
    }
}

/// What is told to a client whose event's handler failed.
fn refusal_of(event: &str, error: Box<dyn std::error::Error + Send + Sync>) -> Refusal {
    match error.downcast::<Refusal>() {
        Ok(refusal) => *refusal,
        Err(error) => {
            let event = event.escape_debug();
            tracing::warn!(%error, %event, "a handler of Socket.IO events failed");
            let text = "the server's own code failed; its log has the reason";
            Refusal::new(ErrorCode::Internal, text)
        }
    }
}

fn unknown(call: &EventName) -> Refusal {
    let text = format!("nobody answers calls of the name `{call}` here");
    Refusal::new(ErrorCode::NoSuchCall, text)
}
