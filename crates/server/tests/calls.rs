//! The application's own commands, asked and answered over real sockets.

#![allow(clippy::unwrap_used)]

mod peer;

use std::time::Duration;

use peer::Lines;
use roomcast::hook::Call;
use roomcast::{Answer, CallError, EventName, Payload, Refusal, Server, SessionId};
use serde_json::Value;

fn server() -> Server {
    let name = |text| EventName::text(text).unwrap();
    Server::builder()
        .listen("tcp://127.0.0.1:0")
        .workers(2)
        .on_call(name("version"), |call: &Call| match &call.data {
            Some(data) if data.bytes().as_ref() == b"\"beta\"" => Ok(Answer::Next),
            _ => Answer::data("1.0"),
        })
        .on_call_async(name("version"), |_| async {
            tokio::task::yield_now().await;
            Answer::data("2.0-beta")
        })
        .on_call(EventName::Number(65_538), |call: &Call| Ok(Answer::Data(call.data.clone())))
        .on_call(name("closed"), |_| Err(Refusal::refused("not today")))
        .on_call(name("broken"), |_| panic!("on purpose"))
        .on_call(name("nobody"), |_| Ok(Answer::Next))
        .start()
        .unwrap()
}

fn ask(peer: &mut Lines, text: &str) -> Value {
    peer.send(text);
    loop {
        let line = peer.next().unwrap();
        if line["ref"] == 7 {
            return line;
        }
    }
}

#[test]
fn handlers_of_a_name_are_asked_until_one_answers() {
    let server = server();
    let mut mina = Lines::connect(&server);
    mina.hello();
    let call = |name: &str, data: &str| {
        format!(r#"{{"type":"call","ref":7,"call":{name},"data":{data}}}"#)
    };
    assert_eq!(ask(&mut mina, &call("\"version\"", "null"))["data"], "1.0");
    assert_eq!(ask(&mut mina, &call("\"version\"", "\"beta\""))["data"], "2.0-beta");
    assert_eq!(ask(&mut mina, &call("65538", "[1,2]"))["data"][1], 2);
    let refused = ask(&mut mina, &call("\"closed\"", "1"));
    assert_eq!((&refused["reason"], &refused["message"]), (&"refused".into(), &"not today".into()));
    assert_eq!(ask(&mut mina, &call("\"broken\"", "1"))["reason"], "internal");
    assert_eq!(ask(&mut mina, &call("\"nobody\"", "1"))["code"], 4042);
    assert_eq!(ask(&mut mina, &call("\"unknown\"", "1"))["code"], 4042);
    assert_eq!(ask(&mut mina, &call("\"a\\u0007b\"", "1"))["reason"], "invalid_name");
}

/// Every result is the caller's own, though calls of two links are answered in any order; those
/// beyond the bound are refused and nothing else happens.
#[test]
fn a_thousand_calls_at_once() {
    let server = Server::builder()
        .listen("tcp://127.0.0.1:0")
        .workers(2)
        .on_call_async(EventName::Number(1), |call| async {
            tokio::task::yield_now().await;
            Ok(Answer::Data(call.data))
        })
        .start()
        .unwrap();
    let mut peers = [Lines::connect(&server), Lines::connect(&server)];
    for (who, peer) in peers.iter_mut().enumerate() {
        let calls = (0..1_000).map(|n| {
            format!("{{\"type\":\"call\",\"ref\":{n},\"call\":1,\"data\":[{who},{n}]}}\n")
        });
        std::io::Write::write_all(&mut peer.stream, calls.collect::<String>().as_bytes()).unwrap();
    }
    for (who, peer) in peers.iter_mut().enumerate() {
        let mut seen = vec![false; 1_000];
        for _ in 0..1_000 {
            let line = peer.next().unwrap();
            let n = line["ref"].as_u64().unwrap();
            assert!(!std::mem::replace(&mut seen[n as usize], true), "{n} is answered twice");
            match line["type"].as_str().unwrap() {
                "result" => assert_eq!(line["data"], serde_json::json!([who, n])),
                kind => assert_eq!((kind, &line["reason"]), ("error", &"rate_limited".into())),
            }
        }
    }
}

#[test]
fn the_application_asks_a_client_and_waits() {
    let server = server();
    let mut mina = Lines::connect(&server);
    let id: SessionId = mina.hello()["session"].as_str().unwrap().parse().unwrap();
    let session = server.handle().session(id);
    let long = Duration::from_secs(60);
    let asked = session.call("where", &[1, 2], long);
    let call = mina.expect("call");
    assert_eq!((&call["call"], &call["data"][1]), (&"where".into(), &2.into()));
    mina.send(&format!(r#"{{"type":"result","id":{},"data":"here"}}"#, call["id"]));
    assert_eq!(asked.wait().unwrap().unwrap(), Payload::json("here").unwrap());
    let asked = session.call(7, (), long);
    let call = mina.expect("call");
    mina.send(&format!(r#"{{"type":"result","id":{},"error":"lost"}}"#, call["id"]));
    let Err(CallError::Refused(refusal)) = asked.wait() else { panic!("not refused") };
    assert_eq!(refusal.message, "lost");
    let Err(CallError::Busy(refusal)) = session.call("slow", (), Duration::from_millis(1)).wait()
    else {
        panic!("it did not end")
    };
    assert_eq!(refusal.code.reason(), "call_timeout");
    let asked = session.call("last", (), long);
    drop(mina);
    assert!(matches!(asked.wait(), Err(CallError::Absent(_))));
}

#[test]
fn the_client_library_asks_and_answers_in_both_codecs() {
    let server = server();
    let handle = server.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for codec in [roomcast_client::Codec::Json, roomcast_client::Codec::MsgPack] {
            let client = roomcast_client::Client::builder(&server.listeners()[0].url).codec(codec);
            let client = client.connect().await.unwrap();
            let version: String = client.call("version", &()).await.unwrap();
            assert_eq!(version, "1.0");
            let echo: Vec<u32> = client.call(65_538, &[1, 2]).await.unwrap();
            assert_eq!(echo, [1, 2]);
            client
                .on_call("where", |call| async move {
                    let precise: bool = call.data().map_err(|error| error.to_string())?;
                    Ok(if precise { "here" } else { "somewhere" })
                })
                .unwrap();
            let session = handle.session(client.session());
            let answer = session.call("where", &true, Duration::from_secs(60)).await.unwrap();
            let answer = answer.unwrap().to_codec(roomcast_wire::Codec::Json);
            assert_eq!(answer.bytes().as_ref(), b"\"here\"");
            let unknown = session.call("what", (), Duration::from_secs(60)).await;
            assert!(matches!(unknown, Err(CallError::Refused(_))), "{unknown:?}");
        }
    });
}
