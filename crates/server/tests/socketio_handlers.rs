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
