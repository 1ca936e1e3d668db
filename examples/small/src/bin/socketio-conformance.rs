//! The server that the protocol test-suites of Socket.IO and Engine.IO expect: its handlers echo,
//! and its times are short.
//!
//! `socketio-conformance [--socketio URL] [--engineio URL]`: Socket.IO is spoken at the first
//! address, Engine.IO by itself at the second, both under `/socket.io/` and `/engine.io/`.

use std::time::Duration;

use anyhow::{Context, bail};
use roomcast::socketio::{Args, Outcome, Socket, SocketIo};
use roomcast::{Config, Server};
use serde_json::{Value, json};

/// What both test-suites count on.
const CONFIG: &str = r#"
    [socketio]
    ping_interval = 300
    ping_timeout = 200
    max_payload = 1000000
    connect_timeout = 1000

    [limits]
    message_bytes = 1000000
    outbox_bytes = 8000000

    [namespaces.engine]
"#;

fn main() -> anyhow::Result<()> {
    let mut socketio = "ws://127.0.0.1:3000".to_owned();
    let mut engineio = "ws://127.0.0.1:3001".to_owned();
    let mut flags = std::env::args().skip(1);
    while let Some(flag) = flags.next() {
        let url = flags.next().with_context(|| format!("{flag} wants a URL"))?;
        match flag.as_str() {
            "--socketio" => socketio = url,
            "--engineio" => engineio = url,
            _ => bail!("{flag}? There are --socketio URL and --engineio URL"),
        }
    }
    let server = Server::builder()
        .config(Config::from_toml(CONFIG, "socketio-conformance")?)
        .listen(socketio)
        .listen(format!("{engineio}?dialect=engineio&namespace=engine"))
        .socketio(handlers())
        .start()?;
    small_examples::run(server);
    Ok(())
}

/// The suite listens for each packet only when it has seen the one before: two that come in one
/// piece are one too many for it.
const APART: Duration = Duration::from_millis(20);

/// Says what a client said of itself.
async fn greet(socket: Socket) -> Outcome {
    tokio::time::sleep(APART).await;
    socket.emit("auth", socket.auth::<Option<Value>>()?.unwrap_or_else(|| json!({})))?;
    Ok(())
}

fn handlers() -> SocketIo {
    SocketIo::new()
        .namespace("/", |io| {
            // Whatever a client says of itself, it is let in.
            io.use_(|mut asked| async move {
                asked.granted = true;
                Ok(asked)
            });
            io.on_connect(greet);
            io.on("message", |socket, args, _| async move {
                socket.emit("message-back", args)?;
                Ok(())
            });
            io.on("message-with-ack", |_, args, ack| async move {
                ack.send(args);
                Ok(())
            });
        })
        .namespace("/custom", |io| {
            io.use_(|mut asked| async move {
                asked.granted = true;
                Ok(asked)
            });
            io.on_connect(greet);
        })
        .namespace("/engine", |io| {
            io.on("message", |socket, args: Args, _| async move {
                socket.emit("message", args)?;
                Ok(())
            });
        })
}
