//! The chat of Socket.IO's "get started", with its page: a line is heard by everybody, and who
//! comes later is told what was said before.
//!
//! `socketio-chat URL [PAGE [CLIENT]]`: where Socket.IO is spoken, the address of the page, and the
//! browser's client (`node_modules/socket.io-client/dist/socket.io.min.js`).

use anyhow::Context;
use axum::response::Html;
use axum::routing::get;
use axum::{Router, http::header};
use roomcast::socketio::{Args, Outcome, Socket, SocketIo};
use roomcast::{Config, Server};
use tokio::net::TcpListener;

/// Everybody is in one room, which knows its last hundred lines and stays when nobody is there.
const ROOM: &str = "general";

const PAGE: &str = include_str!("socketio-chat.html");

fn config(page: &str) -> String {
    format!(
        "[http]\norigins = ['http://{page}']\n\
         [namespaces.default.static.{ROOM}]\nhistory = {{ size = 100 }}\npresence = 'off'\n"
    )
}

fn handlers() -> SocketIo {
    SocketIo::new().namespace("/", |io| {
        io.on_connect(greet);
        io.on("chat message", |socket, args, ack| async move {
            let line: String = args.get(0)?;
            // To everybody, the sender too: `io.emit('chat message', msg)`.
            socket.io().to(ROOM).emit("chat message", line)?;
            ack.send(());
            Ok(())
        });
        io.on_disconnect(|socket, reason| async move {
            println!("{} has gone: {reason}", socket.id());
            Ok(())
        });
    })
}

async fn greet(socket: Socket) -> Outcome {
    // What is said between these two is missed: a client that must not miss anything joins by the
    // command, with the position after which it wants everything (`io.convention()`).
    let before = socket.io().room(ROOM).history(None, 100).await?;
    for event in before.events {
        socket.emit(&event.name, Args::from(&*event))?;
    }
    socket.join(ROOM).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let page = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let client = std::env::args().nth(3);
    let listener = TcpListener::bind(&page).await.with_context(|| format!("the page at {page}"))?;
    let page = listener.local_addr()?.to_string();
    let server = Server::builder()
        .config(Config::from_toml(&config(&page), "socketio-chat")?)
        .listen(small_examples::url())
        .socketio(handlers())
        .start()?;
    let socketio = server.listeners()[0].url.replacen("ws:", "http:", 1);
    let html = PAGE.replace("SERVER", &socketio);
    let script = client.map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let javascript = [(header::CONTENT_TYPE, "text/javascript")];
    let router = Router::new()
        .route("/", get(move || async { Html(html) }))
        .route("/socket.io.js", get(move || async move { (javascript, script) }));
    println!("http://{page}");
    tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::task::spawn_blocking(move || small_examples::run(server)).await?;
    Ok(())
}
