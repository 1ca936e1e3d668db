//! What hooks and handlers are asked: see [`Builder::before_join`](crate::Builder::before_join) and
//! [`Builder::on_call`](crate::Builder::on_call).
//!
//! `docs/hooks.md` says when each is asked, and what it may change.

/// ```
/// use roomcast::hook::Connect;
/// use roomcast::{ErrorCode, Grants, Name, Refusal, Rule, RulesOf, Server, testing};
///
/// /// It would ask a database.
/// async fn let_in(mut asked: Connect) -> Result<Connect, Refusal> {
///     if asked.token.as_deref() != Some("sesame") {
///         return Err(Refusal::new(ErrorCode::InvalidToken, "that is not the word"));
///     }
///     asked.granted = true; // the server itself does not know this token
///     asked.identity.user = Name::new("ali").ok();
///     let rules = vec![Rule::new("cave", ["join", "create"]).map_err(Refusal::refused)?];
///     asked.identity.grants = Some(Grants::new(RulesOf::Token, rules).into());
///     Ok(asked)
/// }
///
/// let server = testing::Server::start(Server::builder().before_connect_async(let_in))?;
/// let denied = server.try_client_with("a thief", serde_json::json!({ "token": "please" }));
/// assert!(denied.is_err_and(|denied| denied.reason() == "invalid_token"));
/// let mut ali = server.client_with("Ali", serde_json::json!({ "token": "sesame" }));
/// ali.join("cave");
/// assert!(ali.try_join("palace").is_err_and(|denied| denied.reason() == "forbidden"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::hook::Connect;

/// ```
/// use roomcast::hook::{Connect, Refresh};
/// use roomcast::{Config, Grants, Refusal, Rule, RulesOf, Server, testing};
/// use serde_json::json;
///
/// let rules = |room| Rule::new(room, ["join", "create"]).map_err(Refusal::refused);
/// let config = "auth.keys = [{ key = 'a-key-of-some-length', user = 'mina' }]";
/// let builder = Server::builder()
///     .config(Config::from_toml(config, "example")?)
///     .before_connect(move |asked: &mut Connect| {
///         let beginners = Grants::new(RulesOf::Token, vec![rules("easy-*")?]);
///         asked.identity.grants = Some(beginners.into());
///         Ok(())
///     })
///     .before_refresh(move |asked: &mut Refresh| {
///         // Until now it has what it had; by now it may have learned more.
///         let learned = Grants::new(RulesOf::Token, vec![rules("*")?]);
///         asked.identity.grants = Some(learned.into());
///         Ok(())
///     });
/// let server = testing::Server::start(builder)?;
/// let mut mina = server.client_with("Mina", json!({ "token": "a-key-of-some-length" }));
/// assert!(mina.try_join("hard-1").is_err());
/// mina.ask(json!({ "type": "refresh", "token": "a-key-of-some-length" }))?;
/// mina.join("hard-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::hook::Refresh;

/// Hooks before all that happens in rooms:
/// ```
/// use roomcast::hook::{Create, Join, Leave, Publish};
/// use roomcast::{Payload, Refusal, Server, testing};
///
/// let builder = Server::builder()
///     .before_create(|asked: &mut Create| {
///         asked.options.members_max = 4;
///         Ok(())
///     })
///     .before_join(|asked: &mut Join| match asked.room.as_str() {
///         "cellar" => Err(Refusal::refused("mind the stairs")),
///         "any-table" => {
///             asked.room = "table-1".to_owned(); // its client reads the name in `joined`
///             Ok(())
///         }
///         _ => Ok(()),
///     })
///     .before_leave(|asked: &mut Leave| {
///         asked.data = asked.data.take().or_else(|| Payload::json("bye").ok());
///         Ok(())
///     })
///     .before_publish(|asked: &mut Publish| match &asked.data {
///         None => Err(Refusal::refused("say something")),
///         Some(_) => Ok(()),
///     });
/// let server = testing::Server::start(builder)?;
/// let (mut anna, mut ben) = (server.client("Anna"), server.client("Ben"));
/// assert_eq!(anna.join("any-table")["room"], "table-1");
/// assert!(anna.try_join("cellar").is_err_and(|denied| denied.reason() == "refused"));
/// ben.join("table-1");
/// ben.leave("table-1");
/// assert_eq!(anna.expect("member_left")["data"], "bye");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::hook::Join;
/// See [`Join`] for an example.
pub use roomcast_core::hook::{Create, Leave, Publish};

/// ```
/// use roomcast::hook::Call;
/// use roomcast::{Answer, EventName, Refusal, Server, testing};
/// use serde_json::json;
///
/// /// Adds up numbers.
/// fn sum(asked: &Call) -> Result<Answer, Refusal> {
///     let read = asked.data.as_ref().map(|data| data.read::<Vec<i64>>());
///     match read {
///         Some(Ok(numbers)) => Answer::data(&numbers.iter().sum::<i64>()),
///         _ => Err(Refusal::refused("give me a list of numbers")),
///     }
/// }
///
/// /// It would ask another service.
/// async fn weather(asked: Call) -> Result<Answer, Refusal> {
///     Answer::data(&format!("sunny for {}", asked.from.session))
/// }
///
/// let builder = Server::builder()
///     .on_call(EventName::text("sum")?, sum)
///     .on_call_async(EventName::text("weather")?, weather);
/// let server = testing::Server::start(builder)?;
/// let mut anna = server.client("Anna");
/// let result = anna.ask(json!({ "type": "call", "call": "sum", "data": [40, 2] }))?;
/// assert_eq!(result["data"], 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::hook::Call;
