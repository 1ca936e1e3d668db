//! What handlers of Socket.IO events can do: rooms, acknowledgements both ways, a namespace with a
//! guard. Clients of every protocol may be in the same rooms.
//!
//! `socketio-handlers [--recovery] [URL]…`: whether clients that come back go on with their
//! session, and where to listen, for Socket.IO and for all others.

use std::time::Duration;

use roomcast::socketio::{Args, Namespace, Socket, SocketIo};
use roomcast::{Builder, Refusal, Server};

const PATIENCE: Duration = Duration::from_secs(2);

/// Connections are looked after often, so that a lost one is soon seen.
const CONFIG: &str = "[socketio]\nping_interval = 1000\nping_timeout = 1000\n";

/// Clients have three seconds to come back.
const RECOVERY: &str = "recovery = true\n[limits]\nresume_ms = 3000\n";

fn handlers() -> SocketIo {
    SocketIo::new().namespace("/", rooms).namespace("/guarded", guarded)
}

fn rooms(io: &mut Namespace) {
    // `join`, `publish`, `members` and the rest are commands, as they are for other clients.
    io.convention();
    io.on("enter", |socket, args, ack| async move {
        ack.send(socket.join(args.get::<String>(0)?).await?);
        Ok(())
    });
    io.on("tell", |socket, args, ack| async move {
        let [room, said @ ..] = args.values() else { return Err("tell whom?".into()) };
        socket.to(room.read::<String>()?).emit("told", Args::from(said.to_vec()))?;
        ack.send(());
        Ok(())
    });
    io.on("tell all", |socket, args, _| async move {
        socket.io().emit("told", args)?;
        Ok(())
    });
    io.on("tell two", |socket, args, ack| async move {
        let [one, two, said @ ..] = args.values() else { return Err("tell whom?".into()) };
        let both = socket.to(one.read::<String>()?).to(two.read::<String>()?);
        both.emit("told", Args::from(said.to_vec()))?;
        ack.send(());
        Ok(())
    });
    io.on("send to", |socket, args, ack| async move {
        let [id, said @ ..] = args.values() else { return Err("send to whom?".into()) };
        socket.io().to(id.read::<String>()?).emit("told", Args::from(said.to_vec()))?;
        ack.send(());
        Ok(())
    });
    io.on("who is in", |socket, args, ack| async move {
        let sockets = socket.io().to(args.get::<String>(0)?).sockets().await?;
        ack.send(&sockets.iter().map(Socket::id).collect::<Vec<_>>());
        Ok(())
    });
    io.on("count fast", |socket, args, ack| async move {
        for number in 0..args.get::<u32>(0)? {
            socket.volatile().emit("number", number)?;
        }
        ack.send(());
        Ok(())
    });
    questions(io);
    // What is kept with a socket is there when it has come back.
    io.on("keep", |socket, args, ack| async move {
        let before = socket.get::<String>();
        socket.set(args.get::<String>(0)?);
        ack.send((&before.as_deref(), socket.recovered()));
        Ok(())
    });
    io.on("refuse", |_, _, _| async { Err(Refusal::refused("as you asked").into()) });
    io.on("panic", |_, _, _| async { panic!("as you asked") });
    io.on("end me", |socket, _, _| async move {
        socket.disconnect().await?;
        Ok(())
    });
    io.on_disconnect(|socket, reason| async move {
        socket.io().emit("gone", (socket.id(), reason.as_str()))?;
        Ok(())
    });
}

fn questions(io: &mut Namespace) {
    // The client is asked in its turn, and its answer is the acknowledgement.
    io.on("ask me", |socket, args, ack| async move {
        match socket.emit_with_ack("question", args).timeout(PATIENCE).await {
            Ok(answer) => ack.send(answer),
            Err(error) => ack.send(("no answer", error.to_string())),
        }
        Ok(())
    });
    io.on("ask all", |socket, args, ack| async move {
        let room = args.get::<String>(0)?;
        let acks = socket.io().to(room).emit_with_ack("question", args, PATIENCE).await?;
        let mut answers: Vec<String> =
            acks.answers.iter().map(|(_, args)| args.get(0)).collect::<Result<_, _>>()?;
        answers.sort();
        ack.send((&answers, acks.missing.len()));
        Ok(())
    });
}

fn guarded(io: &mut Namespace) {
    io.use_(|mut asked| async move {
        if asked.token.as_deref() != Some("sesame") {
            return Err(Refusal::refused("that is not the word"));
        }
        asked.granted = true;
        Ok(asked)
    });
    io.on_connect(|socket| async move {
        socket.emit("welcome", socket.auth::<serde_json::Value>()?)?;
        Ok(())
    });
}

fn main() -> anyhow::Result<()> {
    let mut config = CONFIG.to_owned();
    let mut urls = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--recovery" => config.push_str(RECOVERY),
            _ => urls.push(argument),
        }
    }
    let config = roomcast::Config::from_toml(&config, "socketio-handlers")?;
    let builder = urls.into_iter().fold(Server::builder().config(config), Builder::listen);
    small_examples::run(builder.socketio(handlers()).start()?);
    Ok(())
}
