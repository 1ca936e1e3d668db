//! Faults that were found by reading: each test tells one story that once ended badly.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Hub, cpu_time};
use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic, TIMERS_MAX};
use roomcast_core::{HubConfig, Input, LinkId, NamespaceConfig, ServerCall};
use roomcast_wire::options::{NameRule, PresenceRule};
use roomcast_wire::push::MemberInfo;
use roomcast_wire::{Refusal, RoomOptions};

/// A hub whose rooms of the namespace `default` have options as `change` makes them.
fn hub_with(change: impl FnOnce(&mut HubConfig, &mut NamespaceConfig)) -> Hub {
    let mut config = HubConfig::default();
    let mut namespace = NamespaceConfig::default();
    change(&mut config, &mut namespace);
    config.namespaces.insert("default".to_owned(), namespace);
    Hub::new(config)
}

#[test]
fn a_stranger_who_is_refused_does_not_end_a_room_that_waits_for_its_first_member() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    hub.open(1);
    let create = r#"{"type":"create","ref":1,"room":"party","options":{"names":"unique"}}"#;
    assert_eq!(hub.ask(0, create)["created"], true);
    let join = r#"{"type":"join","ref":1,"room":"party"}"#;
    assert_eq!(hub.ask(1, join)["reason"], "name_taken");
    assert_eq!(hub.ask(0, create)["created"], false, "the room is gone");
}

#[test]
fn who_comes_to_an_empty_room_in_vain_does_not_keep_it_alive() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    let create = r#"{"type":"create","ref":1,"room":"party",
        "options":{"names":"unique","keep_when_empty":true,"ttl_s":10}}"#;
    assert_eq!(hub.ask(0, create)["created"], true);
    hub.advance(9_000);
    let join = r#"{"type":"join","ref":1,"room":"party"}"#;
    assert_eq!(hub.ask(0, join)["reason"], "name_taken");
    hub.advance(1_500);
    assert_eq!(hub.shard.counters().rooms, 0);
}

/// Lets nobody in.
struct Shut;

impl RoomLogic for Shut {
    fn on_join(&mut self, _: &mut RoomCtx<'_>, _: &MemberInfo) -> Result<(), Refusal> {
        Err(Refusal::refused("shut"))
    }
}

#[test]
fn who_is_turned_away_by_the_logic_does_not_keep_an_empty_room_alive() {
    let mut hub = hub_with(|config, namespace| {
        config.logics.insert("shut", |_| Box::new(Shut)).unwrap();
        namespace.options.logic = Some("shut".into());
    });
    hub.open(0);
    let create = r#"{"type":"create","ref":1,"room":"party",
        "options":{"keep_when_empty":true,"ttl_s":10}}"#;
    assert_eq!(hub.ask(0, create)["created"], true);
    hub.advance(9_000);
    assert_eq!(hub.ask(0, r#"{"type":"join","ref":1,"room":"party"}"#)["reason"], "refused");
    hub.advance(1_500);
    assert_eq!(hub.shard.counters().rooms, 0);
}

#[test]
fn an_empty_room_has_its_whole_time_after_its_last_member() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    let create = r#"{"type":"create","ref":1,"room":"party",
        "options":{"keep_when_empty":true,"ttl_s":10}}"#;
    assert_eq!(hub.ask(0, create)["created"], true);
    for _ in 0..4 {
        hub.advance(7_000);
        assert_eq!(hub.ask(0, r#"{"type":"join","ref":1,"room":"party"}"#)["type"], "joined");
        assert_eq!(hub.ask(0, r#"{"type":"leave","ref":1,"room":"party"}"#)["type"], "ok");
    }
    hub.advance(9_900);
    assert_eq!(hub.shard.counters().rooms, 1);
    hub.advance(200);
    assert_eq!(hub.shard.counters().rooms, 0);
}

#[test]
fn what_was_accepted_before_a_drain_is_delivered_though_its_room_waits_for_a_tick() {
    for options in [r#"{"merge_ms":10000}"#, r#"{"tick_ms":60000}"#] {
        let mut hub = Hub::new(HubConfig::default());
        hub.advance(1);
        hub.open(0);
        let create =
            format!(r#"{{"type":"create","ref":1,"room":"game","join":true,"options":{options}}}"#);
        assert_eq!(hub.ask(0, create)["type"], "joined");
        let publish = |data| {
            format!(r#"{{"type":"publish","ref":2,"room":"game","event":"x","data":{data}}}"#)
        };
        assert_eq!(hub.say(0, publish(1)).len(), 1);
        hub.input(Input::Drain { retry_ms_max: 1 });
        hub.end_turn();
        hub.say(0, publish(2));
        hub.advance(200);
        let kept = hub.shard.counters().deliveries_total;
        assert_eq!(kept, 2, "{options}");
    }
}

#[test]
fn an_event_without_payload_is_charged_for_what_surrounds_it() {
    let mut hub = hub_with(|config, _| config.limits.fanout_bytes_per_s = 100_000);
    for link in 0..100 {
        hub.open(link);
        hub.ask(link, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    }
    // 20 events × 100 members × at least 128 bytes on the wire are more than 100,000 bytes.
    for _ in 0..20 {
        hub.say(0, r#"{"type":"publish","room":"lobby","event":"x"}"#);
    }
    assert!(hub.paused.contains_key(&0));
}

#[test]
fn who_comes_and_goes_is_charged_for_what_the_members_are_told() {
    let mut hub = hub_with(|config, _| config.limits.fanout_bytes_per_s = 1_000_000);
    for link in 0..100 {
        hub.open(link);
        hub.ask(link, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    }
    hub.open(100);
    let data = "x".repeat(4_000);
    let join = format!(r#"{{"type":"join","ref":1,"room":"lobby","data":"{data}"}}"#);
    let leave = format!(r#"{{"type":"leave","ref":1,"room":"lobby","data":"{data}"}}"#);
    for _ in 0..2 {
        hub.ask(100, join.clone());
        hub.ask(100, leave.clone());
    }
    assert!(hub.paused.contains_key(&100));
}

/// Says to all what a newcomer brings, as a group does.
struct Herald;

impl RoomLogic for Herald {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        ctx.tell_others(&member.sender, "came", member.data.as_ref());
        Ok(())
    }
}

#[test]
fn who_comes_to_a_room_with_a_logic_is_charged_for_what_it_may_tell_the_members() {
    let mut hub = hub_with(|config, namespace| {
        config.limits.fanout_bytes_per_s = 1_000_000;
        config.logics.insert("herald", |_| Box::new(Herald)).unwrap();
        namespace.options.logic = Some("herald".into());
        namespace.options.presence = PresenceRule::Off;
    });
    for link in 0..100 {
        hub.open(link);
        hub.ask(link, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    }
    hub.open(100);
    let data = "x".repeat(4_000);
    let join = format!(r#"{{"type":"join","ref":1,"room":"lobby","data":"{data}"}}"#);
    for _ in 0..4 {
        hub.ask(100, join.clone());
        hub.ask(100, r#"{"type":"leave","ref":1,"room":"lobby"}"#);
    }
    assert!(hub.paused.contains_key(&100));
}

#[test]
fn who_comes_back_takes_up_all_rooms_at_once() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    let rooms: Vec<_> = (0..10).map(|number| format!("room-{number}")).collect();
    let mut since = Vec::new();
    for room in &rooms {
        let joined = hub.ask(0, format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        since.push(joined["position"].to_string());
        let publish = format!(r#"{{"type":"publish","ref":2,"room":"{room}","event":"x"}}"#);
        hub.ask(0, publish);
    }
    // All in one read: nothing is written between them.
    for (room, since) in rooms.iter().zip(since) {
        let join = format!(r#"{{"type":"join","ref":3,"room":"{room}","since":{since}}}"#);
        hub.input(Input::Message { link: LinkId(0), bytes: Bytes::from(join) });
    }
    hub.end_turn();
    let heard = hub.heard(0);
    let recovered = heard.iter().filter(|frame| frame["recovered"] == true).count();
    assert_eq!(recovered, 10, "{heard:?}");
}

#[test]
fn unique_names_are_looked_up_and_not_searched_for() {
    let mut hub = hub_with(|_, namespace| namespace.options.names = NameRule::Unique);
    let mut join = |from: u32, to: u32| {
        let start = cpu_time();
        for link in from..to {
            hub.open(link);
            let hello = format!(r#"{{"type":"hello","ref":1,"name":"member-{link}"}}"#);
            let create = r#""type":"create","ref":2,"room":"hall","join":true"#;
            let options = r#""options":{"presence":"off","names":"unique"}"#;
            for text in [hello, format!("{{{create},{options}}}")] {
                hub.input(Input::Message { link: LinkId(link), bytes: Bytes::from(text) });
            }
        }
        cpu_time().saturating_sub(start)
    };
    let first = join(0, 4_000);
    join(4_000, 36_000);
    let last = join(36_000, 40_000);
    assert!(last < first * 5 + Duration::from_millis(100), "{first:?} {last:?}");
}

#[test]
fn a_name_is_free_again_when_its_member_has_left() {
    let mut hub = hub_with(|_, namespace| namespace.options.names = NameRule::Unique);
    for link in [0, 1] {
        hub.open(link);
        hub.ask(link, r#"{"type":"hello","ref":1,"name":"mina"}"#);
    }
    let join = r#"{"type":"join","ref":1,"room":"hall"}"#;
    assert_eq!(hub.ask(0, join)["type"], "joined");
    assert_eq!(hub.ask(1, join)["reason"], "name_taken");
    assert_eq!(hub.ask(0, r#"{"type":"leave","ref":1,"room":"hall"}"#)["type"], "ok");
    assert_eq!(hub.ask(1, join)["type"], "joined");
}

/// From the first word on, names are unique.
struct Strict;

impl RoomLogic for Strict {
    fn on_event(&mut self, ctx: &mut RoomCtx<'_>, _: &LogicEvent<'_>) -> Result<Relay, Refusal> {
        ctx.set_options(RoomOptions { names: NameRule::Unique, ..ctx.options().clone() });
        Ok(Relay::Nothing)
    }
}

#[test]
fn a_name_that_two_members_had_before_names_were_unique_is_taken_until_both_have_left() {
    let mut hub = hub_with(|config, namespace| {
        config.logics.insert("strict", |_| Box::new(Strict)).unwrap();
        namespace.options.logic = Some("strict".into());
    });
    let join = r#"{"type":"join","ref":1,"room":"lobby"}"#;
    let leave = r#"{"type":"leave","ref":1,"room":"lobby"}"#;
    for link in 0..4 {
        hub.open(link);
        let name = if link == 0 { "Zoe" } else { "Mina" };
        hub.ask(link, format!(r#"{{"type":"hello","ref":1,"name":"{name}"}}"#));
    }
    for link in 0..3 {
        assert_eq!(hub.ask(link, join)["type"], "joined");
    }
    hub.say(0, r#"{"type":"publish","room":"lobby","event":"x"}"#);
    assert_eq!(hub.ask(3, join)["reason"], "name_taken");
    hub.say(1, leave);
    assert_eq!(hub.ask(3, join)["reason"], "name_taken");
    hub.say(2, leave);
    assert_eq!(hub.ask(3, join)["type"], "joined");
}

/// Sets as many timers as its config says, then moves one of them again and again.
struct Clockwork(u64);

impl RoomLogic for Clockwork {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        (0..self.0).for_each(|timer| ctx.set_timer(timer, 1_000));
        for _ in 0..TIMERS_MAX {
            ctx.set_timer(0, 1_000);
            ctx.cancel_timer(1);
            ctx.set_timer(1, 1_000);
        }
    }

    fn on_event(&mut self, ctx: &mut RoomCtx<'_>, _: &LogicEvent<'_>) -> Result<Relay, Refusal> {
        (0..self.0).for_each(|timer| ctx.set_timer(timer, 2_000));
        Ok(Relay::Nothing)
    }
}

#[test]
fn a_timer_that_is_moved_is_still_one_timer() {
    let mut hub = hub_with(|config, namespace| {
        let most = TIMERS_MAX as u64;
        config.logics.insert("fits", move |_| Box::new(Clockwork(most))).unwrap();
        config.logics.insert("bursts", move |_| Box::new(Clockwork(most + 1))).unwrap();
        namespace.client_logics = vec!["fits".into(), "bursts".into()];
    });
    hub.open(0);
    let create = |logic: &str| {
        format!(
            r#"{{"type":"create","ref":1,"room":"{logic}","join":true,
                "options":{{"logic":"{logic}"}}}}"#
        )
    };
    assert_eq!(hub.ask(0, create("fits"))["type"], "joined");
    assert_eq!(hub.ask(0, r#"{"type":"publish","ref":2,"room":"fits","event":"x"}"#)["type"], "ok");
    assert!(hub.faults.is_empty(), "{:?}", hub.faults);
    assert_eq!(hub.ask(0, create("bursts"))["type"], "error");
    assert!(hub.faults[0][2].contains("timers"), "{:?}", hub.faults);
}

#[test]
fn a_seat_taken_anew_has_its_own_time_to_be_resumed() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(9);
    hub.ask(9, r#"{"type":"join","ref":1,"room":"hall"}"#);
    hub.open(0);
    let mut welcome = hub.ask(0, r#"{"type":"hello","ref":1}"#);
    let join = r#"{"type":"join","ref":1,"room":"hall"}"#;
    hub.ask(0, join);
    hub.cut(0);
    hub.advance(10_000);
    hub.open(1);
    let resume = |welcome: &serde_json::Value| {
        let (session, secret) = (&welcome["session"], &welcome["resume"]);
        format!(r#"{{"type":"hello","ref":1,"resume":{{"session":{session},"secret":{secret}}}}}"#)
    };
    welcome = hub.ask(1, resume(&welcome));
    assert_eq!(welcome["resumed"], true);
    hub.ask(1, r#"{"type":"leave","ref":2,"room":"hall"}"#);
    hub.ask(1, join);
    hub.advance(20_000);
    hub.cut(1);
    // 65 s after the first loss, 35 s after the second.
    hub.advance(35_000);
    hub.open(2);
    let welcome = hub.ask(2, resume(&welcome));
    assert_eq!(welcome["rooms"], serde_json::json!(["hall"]));
}

#[test]
fn a_key_is_its_users_own() {
    let mut hub = Hub::new(HubConfig::default());
    for link in [0, 1] {
        hub.open(link);
        hub.ask(link, r#"{"type":"join","ref":1,"room":"hall"}"#);
        hub.heard(0);
    }
    let publish = r#"{"type":"publish","ref":2,"room":"hall","event":"x","key":"1"}"#;
    let offset = |answers: Vec<serde_json::Value>| {
        let ok = answers.into_iter().find(|answer| answer["type"] == "ok").unwrap();
        ok["position"]["offset"].as_u64().unwrap()
    };
    assert_eq!(offset(hub.say(0, publish)), 1);
    assert_eq!(offset(hub.say(1, publish)), 2, "what another said under this key was his");
    assert_eq!(offset(hub.say(0, publish)), 1);
}

#[test]
fn where_clients_make_no_rooms_create_tells_nothing_about_those_there_are() {
    let mut hub = hub_with(|_, namespace| {
        namespace.create = false;
        namespace.static_rooms.insert("secret".to_owned(), namespace.options.clone());
    });
    hub.open(0);
    let create = |room| format!(r#"{{"type":"create","ref":1,"room":"{room}"}}"#);
    assert_eq!(hub.ask(0, create("secret")), hub.ask(0, create("absent")));
}

#[test]
fn a_link_that_was_refused_is_not_sent_from_shard_to_shard() {
    let mut hub = hub_with(|config, _| config.shards = 2);
    hub.open(0);
    assert_eq!(
        hub.ask(0, r#"{"type":"hello","ref":1,"token":"guess"}"#)["reason"],
        "invalid_token"
    );
    // Half of these sessions would be at home on the other shard.
    for number in 0..32u8 {
        let session = roomcast_wire::SessionId(u128::from(number) << 64 | 7);
        let secret = "AAAAAAAAAAAAAAAAAAAAAA";
        let hello = format!(
            r#"{{"type":"hello","ref":2,"resume":{{"session":"{session}","secret":"{secret}"}}}}"#
        );
        assert_eq!(hub.ask(0, hello)["reason"], "cannot_resume");
    }
}

#[test]
fn lists_of_many_count_for_more_than_one_command() {
    let mut hub = hub_with(|config, namespace| {
        namespace.list_rooms = true;
        namespace.options.presence = PresenceRule::Off;
        config.limits.creates_per_s = 0;
        config.limits.rooms_per_session = u32::MAX;
    });
    for link in 0..1_000 {
        hub.open(link);
        let rooms = [format!("room-{link}"), "hall".to_owned()];
        for room in rooms {
            hub.ask(link, format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        }
    }
    for (link, list) in [(998, r#""rooms""#), (999, r#""members","room":"hall""#)] {
        for _ in 0..100 {
            let answer = hub.ask(link, format!(r#"{{"type":{list},"ref":1}}"#));
            assert_ne!(answer["type"], "error");
        }
        assert!(hub.paused.contains_key(&link), "{list}");
    }
}

/// The server's own code asks for something about a room.
fn call(hub: &mut Hub, call: ServerCall) {
    hub.input(Input::Call { id: 1, call });
    hub.end_turn();
}

#[test]
fn a_room_that_was_empty_when_it_became_permanent_stays() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    let create = r#"{"type":"create","ref":1,"room":"party","options":{"ttl_s":10}}"#;
    assert_eq!(hub.ask(0, create)["created"], true);
    let options = RoomOptions::default();
    let room = "party".to_owned();
    call(&mut hub, ServerCall::Create { room, options, permanent: true });
    hub.advance(60_000);
    assert_eq!(hub.shard.counters().rooms, 1);
}

#[test]
fn a_room_that_the_program_made_permanent_ends_when_it_is_deleted() {
    let mut hub = hub_with(|_, namespace| {
        namespace.static_rooms.insert("hall".to_owned(), RoomOptions::default());
    });
    let options = RoomOptions::default();
    let room = "party".to_owned();
    call(&mut hub, ServerCall::Create { room, options, permanent: true });
    assert_eq!(hub.shard.counters().rooms, 2);
    call(&mut hub, ServerCall::Delete { room: "hall".to_owned() });
    assert_eq!(hub.shard.counters().rooms, 2, "one of the configuration stays");
    call(&mut hub, ServerCall::Delete { room: "party".to_owned() });
    assert_eq!(hub.shard.counters().rooms, 1);
}

/// Gives its room other options when its timer is due.
struct Hurry;

impl RoomLogic for Hurry {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        ctx.set_timer(1, 5_000);
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, _: u64) {
        let options = ctx.options().clone();
        ctx.set_options(RoomOptions { ttl_s: 12, ..options });
    }
}

#[test]
fn an_empty_room_that_gets_less_time_ends_when_that_is_over() {
    let mut config = HubConfig::default();
    config.logics.insert("hurry", |_| Box::new(Hurry)).unwrap();
    let options = RoomOptions {
        logic: Some("hurry".into()),
        keep_when_empty: true,
        ttl_s: 600,
        ..RoomOptions::default()
    };
    let mut hub = Hub::new(config);
    let room = "party".to_owned();
    let call = ServerCall::Create { room, options, permanent: false };
    hub.input(Input::Call { id: 1, call });
    hub.advance(11_900);
    assert_eq!(hub.shard.counters().rooms, 1, "from when it was emptied, not from the change");
    hub.advance(200);
    assert_eq!(hub.shard.counters().rooms, 0);
    // The deadline that was set before finds nothing.
    hub.advance(600_000);
}
