//! Who may come in is decided by the application's own accounts, in a hook: `hello` brings a
//! ticket as its `token`, the hook looks it up (here in a table, elsewhere in a database, which
//! may take its time), and a second hook lets each user into rooms of their own only.
//!
//! ```sh
//! cargo run -p small-examples --bin auth
//! roomcast chat --room mina.desk --token ticket-of-mina
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use roomcast::hook::{Connect, Join};
use roomcast::{ErrorCode, Name, Refusal, Server};

/// The application's accounts: who has which ticket.
struct Accounts(HashMap<&'static str, &'static str>);

impl Accounts {
    /// Stands for a question to a database.
    async fn owner_of(&self, ticket: &str) -> Option<&'static str> {
        tokio::task::yield_now().await;
        self.0.get(ticket).copied()
    }
}

/// Lets in who has a ticket, as the user whom it belongs to.
async fn let_in(accounts: Arc<Accounts>, mut asked: Connect) -> Result<Connect, Refusal> {
    let ticket = asked.token.as_deref().unwrap_or_default();
    let Some(user) = accounts.owner_of(ticket).await else {
        return Err(Refusal::new(ErrorCode::InvalidToken, "nobody has this ticket"));
    };
    asked.identity.user = Name::new(user).ok();
    asked.granted = true;
    Ok(asked)
}

/// `mina.desk` is Mina's; `lobby` is everybody's.
fn own_rooms_only(asked: &mut Join) -> Result<(), Refusal> {
    let user = asked.from.user.as_deref();
    match asked.room.split_once('.') {
        Some((owner, _)) if user != Some(owner) => {
            Err(Refusal::new(ErrorCode::Forbidden, format!("this room is {owner}'s")))
        }
        _ => Ok(()),
    }
}

fn main() -> anyhow::Result<()> {
    let accounts = HashMap::from([("ticket-of-mina", "mina"), ("ticket-of-tom", "tom")]);
    let accounts = Arc::new(Accounts(accounts));
    let server = Server::builder()
        .listen(small_examples::url())
        .before_connect_async(move |asked| let_in(Arc::clone(&accounts), asked))
        .before_join(own_rooms_only)
        .start()?;
    small_examples::run(server);
    Ok(())
}
