//! Handlers for clients the way users of Socket.IO write them, with clients of the native protocol.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use roomcast::Refusal;
use roomcast::socketio::{Ack, Args, DisconnectReason, Io, Namespace, Socket, SocketIo};
use roomcast::testing::{Client, Server};
use serde_json::{Value, json};

/// What handlers have noted.
type Notes = Arc<Mutex<Vec<String>>>;

fn serve(namespace: impl FnOnce(&mut Namespace)) -> Server {
    let sockets = SocketIo::new().namespace("/", namespace);
    Server::start(roomcast::Server::builder().socketio(sockets)).unwrap()
}

fn note(notes: &Notes, text: impl Into<String>) {
    notes.lock().unwrap().push(text.into());
}

fn noted(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut *notes.lock().unwrap())
}

fn call(client: &mut Client, event: &str, data: Value) -> Result<Value, String> {
    let command = json!({ "type": "call", "call": event, "data": data });
    client.ask(command).map(|reply| reply["data"].clone()).map_err(|it| it.reason().to_owned())
}

fn io(server: &Server) -> Io {
    server.handle().socketio("/").unwrap()
}

/// Echoes what `message` says; `join` takes a seat, `say` speaks to the others in a room.
fn room_rules(io: &mut Namespace) {
    io.on("message", |socket: Socket, args: Args, ack: Ack| async move {
        socket.emit("message-back", args.clone())?;
        ack.send(args);
        Ok(())
    });
    io.on("join", |socket, args, ack| async move {
        ack.send(socket.join(args.get::<String>(0)?).await?);
        Ok(())
    });
    io.on("say", |socket, args, _| async move {
        socket.to(args.get::<String>(0)?).emit("said", args.get::<Value>(1)?)?;
        Ok(())
    });
}

#[test]
fn an_event_comes_with_its_arguments_and_its_acknowledgement() {
    let server = serve(room_rules);
    let mut mina = server.client("Mina");
    assert_eq!(call(&mut mina, "message", json!([1, "two", { "3": 4 }])).unwrap()[1], "two");
    assert_eq!(mina.expect("message")["data"], json!([1, "two", { "3": 4 }]));
    assert_eq!(call(&mut mina, "message", json!("alone")).unwrap(), json!(["alone"]));
    assert_eq!(call(&mut mina, "nothing", json!(1)).unwrap_err(), "no_such_call");
}

#[test]
fn what_is_said_to_a_room_is_heard_by_all_but_its_sender() {
    let server = serve(room_rules);
    let mut all: Vec<_> = ["Ali", "Bo", "Cy"].map(|name| server.client(name)).into();
    for one in &mut all[..2] {
        assert_eq!(call(one, "join", json!(["tea"])).unwrap(), json!([true]));
        assert_eq!(call(one, "join", json!(["tea"])).unwrap(), json!([false]));
        one.take_heard();
    }
    call(&mut all[0], "say", json!(["tea", "hot"])).unwrap();
    let heard = all[1].expect_event("said");
    assert_eq!((&heard["data"], &heard["from"]["name"]), (&json!(["hot"]), &json!("Ali")));
    assert_eq!(heard["at"]["offset"], 1, "it is an event of the room, with its place");
    all[0].take_heard().iter().for_each(|one| assert_ne!(one["event"], "said"));
    all[2].expect_nothing();
    let ids: Vec<_> = all.iter().map(Client::session).collect();
    io(&server).to("tea").except(ids[0].to_string()).emit("some", ()).unwrap();
    io(&server).to(ids[2].to_string()).emit("one", 1).unwrap();
    server.advance(Duration::ZERO);
    assert_eq!(all[1].expect("message")["event"], "some");
    assert_eq!(all[2].expect("message")["event"], "one");
    all[0].expect_nothing();
    let chosen = io(&server).to("tea").to(ids[2].to_string());
    assert_eq!(server.run(chosen.sockets()).unwrap().len(), 3);
    assert_eq!(server.run(io(&server).except("tea").sockets()).unwrap().len(), 1);
}

#[test]
fn who_connects_is_asked_greeted_and_taken_leave_of() {
    let notes = Notes::default();
    let (greeted, left) = (Arc::clone(&notes), Arc::clone(&notes));
    let server = serve(move |io| {
        io.use_(|mut asked| async move {
            match asked.token.as_deref() {
                Some("sesame") => asked.granted = true,
                Some(_) => return Err(Refusal::refused("that is not the word")),
                None => {}
            }
            Ok(asked)
        });
        io.on_connect(move |socket| {
            note(&greeted, format!("hello {}", socket.auth::<Value>().unwrap()));
            async move {
                socket.emit("auth", socket.auth::<Value>()?)?;
                socket.set(7_u32);
                Ok(())
            }
        });
        io.on_disconnect(move |socket, reason: DisconnectReason| {
            note(&left, format!("{reason} {:?}", socket.get::<u32>().as_deref()));
            async { Ok(()) }
        });
    });
    let denied = server.try_client_with("Eve", json!({ "token": "guess" })).unwrap_err();
    assert_eq!(denied.reason(), "refused");
    let hello = json!({ "token": "sesame", "data": { "app": 3 } });
    let mut mina = server.client_with("Mina", hello);
    server.advance(Duration::ZERO);
    assert_eq!(mina.expect("message")["data"], json!([{ "app": 3 }]));
    mina.say(json!({ "type": "bye" }));
    let mut tom = server.client_with("Tom", json!({}));
    tom.cut();
    server.advance(Duration::from_secs(1));
    let told = ["hello {\"app\":3}", "client namespace disconnect Some(7)", "hello null"];
    assert_eq!(noted(&notes), told);
    server.advance(Duration::from_secs(60));
    assert_eq!(noted(&notes), ["transport close Some(7)"], "it might have come back until now");
    let ann = server.client_with("Ann", json!({}));
    server.run(io(&server).disconnect()).unwrap();
    server.advance(Duration::ZERO);
    assert!(!ann.is_connected());
    assert_eq!(noted(&notes)[1], "server namespace disconnect Some(7)");
}

#[test]
fn a_handler_that_fails_or_panics_harms_its_own_event_only() {
    let server = serve(|io| {
        io.on("say no", |_, _, _| async { Err(Refusal::refused("no").into()) });
        io.on("fail", |_, _, _| async { Err("a secret".into()) });
        io.on("panic", |_, _, _| async { panic!("at once") });
        io.on("forget", |_, _, _| async { Ok(()) });
        io.on("sleep", |_, _, _| async {
            std::future::pending::<()>().await;
            Ok(())
        });
    });
    let mut mina = server.client("Mina");
    assert_eq!(call(&mut mina, "say no", json!([])).unwrap_err(), "refused");
    assert_eq!(call(&mut mina, "panic", json!([])).unwrap_err(), "internal");
    let failed = mina.ask(json!({ "type": "call", "call": "fail" })).unwrap_err();
    assert_eq!(failed.reason(), "internal");
    assert!(!failed.to_string().contains("secret"));
    assert_eq!(call(&mut mina, "forget", json!([])).unwrap(), Value::Null);
    mina.say(json!({ "type": "call", "call": "sleep" }));
    server.advance(Duration::from_secs(10));
    assert_eq!(mina.expect("error")["reason"], "call_timeout");
}

#[test]
fn acknowledgements_of_clients_are_gathered_and_who_gave_none_is_named() {
    let server = serve(|io| {
        io.on("poll", |socket, _, ack| async move {
            let all = socket.io();
            let acks = all.emit_with_ack("ready?", ("now", 1), Duration::from_secs(2)).await?;
            let answers: Vec<_> = acks.answers.iter().map(|(_, args)| args.get(0)).collect();
            let answers: Vec<String> = answers.into_iter().collect::<Result<_, _>>()?;
            ack.send((&answers, &acks.missing.len()));
            Ok(())
        });
    });
    let (mut mina, _tom) = (server.client("Mina"), server.client("Tom"));
    mina.say(json!({ "type": "call", "call": "poll" }));
    server.advance(Duration::from_millis(1));
    let asked = mina.expect("call");
    assert_eq!((&asked["call"], &asked["data"]), (&json!("ready?"), &json!(["now", 1])));
    mina.ask(json!({ "type": "result", "id": asked["id"], "data": ["yes"] })).unwrap();
    server.advance(Duration::from_secs(3));
    assert_eq!(mina.expect("result")["data"], json!([["yes"], 1]));
}

#[test]
fn what_handlers_do_not_say_is_not_heard_and_names_of_the_libraries_are_refused() {
    let server = serve(room_rules);
    let mut mina = server.client("Mina");
    let mut bob = server.client("Bob");
    call(&mut mina, "join", json!("hall")).unwrap();
    call(&mut bob, "join", json!("hall")).unwrap();
    let heard = mina.take_heard();
    let kinds: Vec<_> = heard.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert!(!kinds.contains(&"member_joined"), "{kinds:?}");
    let io = io(&server);
    for name in ["connect", "disconnect", "connect_error"] {
        let refused = io.emit(name, ()).unwrap_err();
        assert!(refused.to_string().contains("choose another name"), "{refused}");
    }
    let silent = serve(|io| {
        io.convention();
    });
    let mut mina = silent.client("Mina");
    mina.join("hall");
    silent.client("Bob").join("hall");
    assert_eq!(mina.expect("member_joined")["member"]["name"], "Bob");
}

#[test]
fn an_acknowledgement_does_not_wait_for_the_end_of_its_handler() {
    let notes = Notes::default();
    let (gate, noting) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&notes));
    let waits = Arc::clone(&gate);
    let server = serve(move |io| {
        io.on("order", move |_, _, ack| {
            let (waits, noting) = (Arc::clone(&waits), Arc::clone(&noting));
            async move {
                ack.send("taken");
                waits.notified().await;
                note(&noting, "cooked");
                Ok(())
            }
        });
        io.on("later", |_, _, ack| async move {
            tokio::spawn(async move { ack.send("at last") });
            Ok(())
        });
    });
    let mut mina = server.client("Mina");
    assert_eq!(call(&mut mina, "order", json!([])).unwrap(), json!(["taken"]));
    // Longer than a call may take.
    server.advance(Duration::from_secs(60));
    assert_eq!(noted(&notes), Vec::<String>::new());
    gate.notify_one();
    server.advance(Duration::ZERO);
    assert_eq!(noted(&notes), ["cooked"]);
    assert_eq!(call(&mut mina, "later", json!([])).unwrap(), json!(["at last"]));
}

#[test]
fn several_rooms_reach_all_their_members_however_many() {
    let mut config = roomcast::Config::default();
    config.limits.list_max = 2;
    let sockets = SocketIo::new().namespace("/", room_rules).namespace("/chat", |_| {});
    let builder = roomcast::Server::builder().config(config).socketio(sockets);
    let server = Server::start(builder).unwrap();
    let mut all: Vec<_> = ["Ali", "Bo", "Cy", "Di", "Ed"].map(|it| server.client(it)).into();
    for (at, one) in all.iter_mut().enumerate() {
        let room = if at < 4 { "tea" } else { "cake" };
        assert_eq!(call(one, "join", json!([room])).unwrap(), json!([true]));
    }
    assert_eq!(server.run(io(&server).to("tea").to("cake").sockets()).unwrap().len(), 5);
    assert_eq!(server.run(io(&server).except("tea").sockets()).unwrap(), {
        let ed = all[4].session().to_string();
        server.run(io(&server).to(ed).sockets()).unwrap()
    });
    io(&server).to("tea").to("cake").emit("sale", ()).unwrap();
    server.advance(Duration::ZERO);
    all.iter_mut().for_each(|one| assert_eq!(one.expect("message")["event"], "sale"));
}

/// Uses its socket when it is dropped, as an application's own values may.
struct Farewell(Socket);

impl Drop for Farewell {
    fn drop(&mut self) {
        let own_room = self.0.id().to_string();
        assert!(self.0.get::<u32>().is_some());
        self.0.io().to(own_room).emit("farewell", ()).unwrap();
    }
}

#[test]
fn what_a_socket_keeps_may_use_it_when_it_is_dropped() {
    let (tell, told) = std::sync::mpsc::channel();
    // A lock that is taken twice would be waited for without end.
    std::thread::spawn(move || {
        let server = serve(|io| {
            io.on_connect(|socket| async move {
                socket.set(7_u32);
                socket.set(Farewell(socket.clone()));
                socket.set(Farewell(socket.clone()));
                Ok(())
            });
        });
        let mut mina = server.client("Mina");
        server.advance(Duration::ZERO);
        assert_eq!(mina.expect("message")["event"], "farewell");
        drop((mina, server));
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn acknowledgements_of_all_can_be_awaited_outside_of_the_server() {
    let server = serve(|_| {});
    let mut mina = server.client("Mina");
    let io = io(&server);
    let mut asked = std::pin::pin!(io.emit_with_ack("ready?", (), Duration::from_secs(2)));
    // By an executor of any kind.
    let mut poll = || {
        let waker = std::task::Waker::noop();
        asked.as_mut().poll(&mut std::task::Context::from_waker(waker))
    };
    assert!(poll().is_pending());
    server.advance(Duration::ZERO);
    let call = mina.expect("call");
    mina.ask(json!({ "type": "result", "id": call["id"], "data": ["yes"] })).unwrap();
    let std::task::Poll::Ready(Ok(acks)) = poll() else { panic!("no answer") };
    assert_eq!((acks.answers.len(), acks.missing.len()), (1, 0));
}

#[test]
fn who_says_more_than_a_worker_takes_is_told() {
    let (block, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let config = roomcast::Config { workers: 1, ..roomcast::Config::default() };
    let server = roomcast::Server::builder()
        .config(config)
        .without_listeners()
        .socketio(SocketIo::new().namespace("/", |_| {}))
        .after_create(move |_| _ = blocked.lock().unwrap().recv())
        .start()
        .unwrap();
    let io = server.handle().socketio("/").unwrap();
    let _made = server.handle().room("lobby").create(roomcast::RoomOptions::default());
    let refused = (0..100_000).find_map(|_| io.emit("word", ()).err());
    drop(block);
    let Some(roomcast::CallError::Busy(refusal)) = refused else { panic!("{refused:?}") };
    assert!(refusal.message.contains("wait for a worker"), "{refusal}");
}

#[test]
fn handlers_are_given_once() {
    let twice = roomcast::Server::builder()
        .socketio(SocketIo::new().namespace("/a", |_| {}))
        .socketio(SocketIo::new().namespace("/b", |_| {}));
    let problem = Server::start(twice).unwrap_err().to_string();
    assert!(problem.contains("one `SocketIo` with all namespaces"), "{problem}");
}

/// As users of Socket.IO know it: `disconnect` at once, then `connection` with `socket.recovered`.
#[test]
fn with_recovery_handlers_hear_of_the_loss_and_of_the_return() {
    let notes = Notes::default();
    let (came, went) = (Arc::clone(&notes), Arc::clone(&notes));
    let sockets = SocketIo::new().namespace("/", move |io| {
        io.on_connect(move |socket| {
            let kept = socket.get::<u32>();
            note(&came, format!("came, recovered: {} {kept:?}", socket.recovered()));
            socket.set(7_u32);
            async { Ok(()) }
        });
        io.on_disconnect(move |_, reason: DisconnectReason| {
            note(&went, format!("went: {reason}"));
            async { Ok(()) }
        });
    });
    let config = roomcast::Config::from_toml("[socketio]\nrecovery = true", "t").unwrap();
    let builder = roomcast::Server::builder().config(config).socketio(sockets);
    let server = Server::start(builder).unwrap();
    let mut mina = server.client("Mina");
    server.advance(Duration::ZERO);
    assert_eq!(noted(&notes), ["came, recovered: false None"]);
    mina.cut();
    server.advance(Duration::from_secs(1));
    assert_eq!(noted(&notes), ["went: transport close"]);
    assert!(server.run(io(&server).sockets()).unwrap().is_empty());
    mina.resume().unwrap();
    server.advance(Duration::ZERO);
    assert_eq!(noted(&notes), ["came, recovered: true Some(7)"]);
    assert_eq!(server.run(io(&server).sockets()).unwrap().len(), 1);
    mina.cut();
    server.advance(Duration::from_secs(61));
    assert_eq!(noted(&notes), ["went: transport close"], "once");
    assert!(mina.resume().is_err());
}
