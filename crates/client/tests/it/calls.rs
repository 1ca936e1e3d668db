//! What the application behind the server is asked, and what it asks.

use crate::fake::{Fake, Line, SECRET_1, error, fake, welcome};
use roomcast_client::{Client, ClientEvent, Error};
use serde_json::{Value, json};

async fn connected() -> (Client, Fake, Line) {
    let (builder, mut fake) = fake();
    let (client, line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    (client.unwrap(), fake, line)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_or_refused() {
    let (client, _fake, mut line) = connected().await;
    let answer = async {
        let call = line.hear("call").await;
        assert_eq!((&call["call"], &call["data"]), (&json!("double"), &json!(21)));
        line.say(&json!({"type": "result", "ref": call["ref"], "data": 42})).await;
        let call = line.hear("call").await;
        line.say(&error(&call, 4042, "no_such_call")).await;
        let call = line.hear("call").await;
        line.say(&json!({"type": "result", "ref": call["ref"], "data": "no number"})).await;
    };
    let asked = async {
        assert_eq!(client.call::<_, u32>("double", &21).await.unwrap(), 42);
        let refused = client.call::<_, u32>("treble", &21).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(refused) if refused.code == 4042));
        let other = client.call::<_, u32>(7, &()).await.unwrap_err();
        assert!(matches!(other, Error::Payload(_)), "{other:?}");
    };
    tokio::join!(answer, asked);
    assert!(matches!(client.call::<_, ()>("a\u{7}b", &()).await, Err(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn what_the_application_asks_is_answered() {
    let (client, _fake, mut line) = connected().await;
    client.on_call("old", |_| async { Ok::<_, String>("never said") }).unwrap();
    client.on_call("old", |_| async { Ok::<_, String>("new") }).unwrap();
    let double = |call: roomcast_client::Message| async move {
        let number: u32 = call.data().map_err(|error| error.to_string())?;
        number.checked_mul(2).ok_or_else(|| "too\nlarge".to_owned())
    };
    client.on_call("double", double).unwrap();
    client
        .on_call("broken", |call| async move {
            assert!(call.is("fine"), "on purpose");
            Ok::<_, String>(())
        })
        .unwrap();
    for (id, call, data, key, expected) in [
        (1, json!("old"), Value::Null, "data", json!("new")),
        (2, json!("double"), json!(21), "data", json!(42)),
        (3, json!("double"), json!(u32::MAX), "error", json!("too large")),
        (4, json!("broken"), json!(1), "error", json!("the client's own code failed")),
        (5, json!(9), json!(1), "error", json!("this client answers no calls of this name")),
    ] {
        line.say(&json!({"type": "call", "id": id, "call": call, "data": data})).await;
        let result = line.hear("result").await;
        assert_eq!((&result["id"], &result[key]), (&json!(id), &expected));
    }
}

/// The server has given up on it with the link, and would only complain.
#[tokio::test(start_paused = true)]
async fn an_answer_does_not_go_to_a_later_link() {
    let (client, mut fake, mut line) = connected().await;
    let (finish, finished) = tokio::sync::watch::channel(false);
    client
        .on_call("slow", move |_| {
            let mut finished = finished.clone();
            async move {
                finished.wait_for(|finished| *finished).await.map_err(|error| error.to_string())?;
                Ok("late")
            }
        })
        .unwrap();
    line.say(&json!({"type": "call", "id": 1, "call": "slow"})).await;
    line.say(&json!({"type": "message", "event": "seen"})).await;
    let mut events = client.events();
    assert!(matches!(events.next().await, Some(ClientEvent::Message(_))));
    drop(line);
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    line.say(&welcome(&hello, SECRET_1, true)).await;
    while !matches!(events.next().await, Some(ClientEvent::Reconnected { .. })) {}
    finish.send(true).unwrap();
    line.say(&json!({"type": "call", "id": 2, "call": "slow"})).await;
    assert_eq!(line.hear("result").await["id"], 2, "the first frame on the new link");
}
