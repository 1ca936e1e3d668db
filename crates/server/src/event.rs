//! What happened, as after-hooks and streams of events are told: see
//! [`ServerHandle::events`](crate::ServerHandle::events).

/// ```
/// use roomcast::event::{Connected, MemberJoined, Published, Refused, RoomCreated};
/// use roomcast::{Heard, HubEvent, Server, testing};
///
/// let builder = Server::builder()
///     .events(1024)
///     .after_connect(|event: &Connected| println!("{} is here", event.who.session))
///     .after_create(|event: &RoomCreated| println!("{} was made", event.room))
///     .after_join(|event: &MemberJoined| println!("{} has one more", event.room))
///     .after_publish(|event: &Published| println!("{:?}", event.event.payload))
///     .on_refused(|event: &Refused| println!("no: {}", event.refusal));
/// let server = testing::Server::start(builder)?;
/// let mut events = server.handle().events().ok_or("no events are kept")?;
///
/// let mut anna = server.client("Anna");
/// anna.join("lobby");
/// anna.publish("lobby", "chat", "hi");
/// anna.leave("lobby");
///
/// let mut told = Vec::new();
/// while told.last() != Some(&"left") {
///     let Some(Heard::Event(event)) = server.run(events.next()) else { break };
///     told.push(match &*event {
///         HubEvent::Connected(_) => "connected",
///         HubEvent::RoomCreated(_) => "made",
///         HubEvent::MemberJoined(_) => "joined",
///         HubEvent::Published(said) if said.room == "lobby" => "said",
///         HubEvent::MemberLeft(_) => "left",
///         _ => "something else",
///     });
/// }
/// assert_eq!(told, ["connected", "made", "joined", "said", "left"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::event::HubEvent;
/// The [`HubEvent`] has an example.
pub use roomcast_core::event::{
    Connected, Disconnected, MemberDropped, MemberJoined, MemberLeft, MemberResumed, Published,
    Refused, RoomClosed, RoomCreated, SessionEnded, SlowMember,
};
