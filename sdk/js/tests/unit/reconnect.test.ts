// What happens when the link is lost, on a virtual clock.
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { RoomEvent } from "../../src/index.js";
import { at, collect, event, Fake, LIMITS, settle, type Line } from "./fake.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function inLobby(fake: Fake) {
  const client = await fake.connect();
  const joining = client.join("lobby");
  await settle();
  await fake.line.letJoin(0);
  const room = await joining;
  const said = collect<RoomEvent>((listener) => room.onAny(listener));
  await settle();
  return { client, room, said, line: fake.line };
}

const offsets = (said: RoomEvent[]) => said.map(({ at }) => at?.offset);
const recovered = (line: Line, offset: number) => line.letJoin(offset, { recovered: true });

test("a lost link is resumed, and nothing is missed or repeated", async () => {
  const fake = new Fake();
  const { client, room, said, line } = await inLobby(fake);
  const states = collect((listener) => client.watch("state", listener));
  const back = collect((listener) => client.watch("reconnected", listener));
  const ok = collect((listener) => room.watch("recovered", listener));
  await line.say(event(1), event(2), event(3));
  await line.break();
  expect(client.state).toBe("waiting");
  const second = await fake.resumed();
  // What comes before the answer comes once more behind it.
  await second.say(event(4));
  const join = await recovered(second, 5);
  expect(join.since).toEqual(at(3));
  await second.say(event(2), event(3), event(4), event(5), event(5), event(6));
  expect(offsets(said)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(ok).toEqual([{ recovered: true, until: at(5) }]);
  expect(states).toEqual(["open", "waiting", "connecting", "open"]);
  expect(back).toEqual([expect.objectContaining({ resumed: true, transport: "websocket" })]);
});

test("a session that is gone begins anew on the same link, and what is lost is told", async () => {
  const fake = new Fake();
  const { room, said, line } = await inLobby(fake);
  const lost = collect((listener) => room.watch("lost", listener));
  await line.break();
  const second = await fake.next();
  await second.open();
  await second.refuse("hello", 4012, "cannot_resume");
  const welcome = { type: "welcome", session: "B".repeat(22), resume: "s", limits: LIMITS };
  const hello = await second.answer("hello", welcome);
  expect(hello.resume).toBeUndefined();
  const position = at(0, "BBBBBBBB");
  await second.letJoin(0, { position, recovered: false, reason: "epoch" });
  await second.say(event(1, { at: at(1, "BBBBBBBB") }));
  expect(lost).toEqual([{ recovered: false, reason: "epoch" }]);
  expect(said[0]?.at).toEqual(at(1, "BBBBBBBB"));
  expect(room.position).toEqual(at(1, "BBBBBBBB"));
});

test("a keyed publish is repeated with its key, and anything else is not", async () => {
  const fake = new Fake();
  const { client, room, line } = await inLobby(fake);
  const keyed = room.publish("chat", "hi");
  const keyless = room.publish("chat", "ho", { key: false });
  const rooms = client.rooms();
  for (const asked of [keyless, rooms]) asked.catch(() => {});
  const first = line.take("publish");
  expect(first.key).toMatch(/^[0-9a-f]{16}-\d/);
  expect(line.take("publish").key).toBeUndefined();
  await line.break();
  await expect(keyless).rejects.toMatchObject({ kind: "disconnected" });
  await expect(rooms).rejects.toMatchObject({ kind: "disconnected" });
  const second = await fake.resumed();
  expect(second.heard.map(({ type }) => type)).toEqual(["join", "publish"]);
  await recovered(second, 1);
  const again = await second.answer("publish", { type: "ok", position: at(1) });
  expect([again.key, again.data]).toEqual([first.key, first.data]);
  expect(await keyed).toEqual(at(1));
});

test("a publish is not repeated by another session, unless its user is the same", async () => {
  for (const user of [undefined, "u17"]) {
    const fake = new Fake();
    const client = await fake.connect({ user });
    const joining = client.join("lobby");
    await settle();
    await fake.line.letJoin(0);
    const room = await joining;
    const sent = room.publish("chat", "sent");
    sent.catch(() => {});
    await fake.line.break();
    const unsent = room.publish("chat", "unsent");
    const line = await fake.next();
    await line.welcome("secret-2", { user, session: "B".repeat(22) });
    await recovered(line, 0);
    if (user) await line.answer("publish", { type: "ok", position: at(1) });
    else await expect(sent).rejects.toMatchObject({ kind: "disconnected" });
    expect((await line.answer("publish", { type: "ok", position: at(2) })).data).toBe("unsent");
    expect(await unsent).toEqual(at(2));
  }
});

test("what is asked without a link is said on the next one, or given up in time", async () => {
  const fake = new Fake({ reconnect: { baseMs: 8_000, capMs: 8_000 }, ackTimeoutMs: 60_000 });
  const { room, line } = await inLobby(fake);
  await line.break();
  const publishing = room.publish("chat", "later", { key: false });
  const second = await fake.resumed();
  await recovered(second, 0);
  await second.answer("publish", { type: "ok", position: at(1) });
  expect(await publishing).toEqual(at(1));
  const never = room.publish("chat", "never");
  never.catch(() => {});
  await vi.advanceTimersByTimeAsync(60_000);
  await expect(never).rejects.toMatchObject({ kind: "timeout" });
});

test("a room that was being left is not joined again", async () => {
  const fake = new Fake();
  const { room, line } = await inLobby(fake);
  const closed = collect((listener) => room.watch("closed", listener));
  const leaving = room.leave("bye");
  await line.break();
  const second = await fake.resumed();
  expect(second.heard.map(({ type }) => type)).toEqual(["leave"]);
  await second.refuse("leave", 4030, "not_a_member");
  await leaving;
  expect([closed, room.joined]).toEqual([[{ reason: "left" }], false]);
});

test("a seat refused for a while is asked for again, one refused for good is gone", async () => {
  const fake = new Fake();
  const { room, line } = await inLobby(fake);
  const closed = collect<any>((listener) => room.watch("closed", listener));
  await line.break();
  const second = await fake.resumed();
  await second.refuse("join", 4091, "room_full", { retry: true, retry_ms: 2_000 });
  expect(second.heard).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  await second.refuse("join", 4031, "forbidden");
  expect(closed[0].refused).toMatchObject({ code: 4031, reason: "forbidden" });
  expect(room.joined).toBe(false);
});

test("goodbye says when to come back, and codes whether", async () => {
  const fake = new Fake();
  const { client, line } = await inLobby(fake);
  const waits = collect<any>((listener) => client.watch("reconnecting", listener));
  const closed = collect((listener) => client.watch("closed", listener));
  await line.say({ type: "goodbye", code: 4802, message: "stopping", retry_ms: 731 });
  expect(waits).toEqual([{ attempt: 0, delayMs: 731 }]);
  await vi.advanceTimersByTimeAsync(730);
  expect(fake.lines.length).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(fake.lines.length).toBe(2);
  await fake.line.welcome("secret-2", { resumed: true });
  const asking = client.rooms();
  asking.catch(() => {});
  await fake.line.break(4820);
  expect(client.state).toBe("closed");
  expect(closed).toEqual([{ reason: "the connection ended (4820)" }]);
  await expect(asking).rejects.toMatchObject({ kind: "disconnected" });
  await expect(client.join("x")).rejects.toMatchObject({ kind: "closed" });
  await vi.advanceTimersByTimeAsync(600_000);
  expect(fake.lines.length).toBe(2);
});

test.each([
  [1001, true], [1006, true], [1011, true], [4800, true], [4804, true], [4809, true],
  [4810, true], [4819, true], [1000, false], [1009, false], [4821, false], [4824, false],
  [4999, false],
])("after %i: comes back %s", async (code, returns) => {
  const fake = new Fake();
  const { client, line } = await inLobby(fake);
  await line.break(code);
  expect(client.state).toBe(returns ? "waiting" : "closed");
});

test("delays grow to the cap with full jitter, and begin small after a good link", async () => {
  vi.mocked(Math.random).mockReturnValue(1);
  const fake = new Fake();
  const { client, line } = await inLobby(fake);
  const waits = collect<any>((listener) => client.watch("reconnecting", listener));
  await vi.advanceTimersByTimeAsync(5_000);
  await line.break();
  for (let n = 0; n < 8; n += 1) {
    await fake.next();
    await fake.line.break();
  }
  const all = waits.map(({ delayMs }) => delayMs);
  expect(all).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
  vi.mocked(Math.random).mockReturnValue(0.5);
  const good = await fake.resumed();
  await vi.advanceTimersByTimeAsync(5_000);
  await good.break();
  expect(waits.at(-1)).toEqual({ attempt: 0, delayMs: 125 });
});

test("a server that goes silent is asked for a sign of life, and left without one", async () => {
  const fake = new Fake();
  const { client, line } = await inLobby(fake);
  await vi.advanceTimersByTimeAsync(24_999);
  expect(line.heard).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  await line.answer("ping", { type: "pong" });
  await vi.advanceTimersByTimeAsync(34_999);
  line.take("ping");
  expect(client.state).toBe("open");
  await vi.advanceTimersByTimeAsync(1);
  expect(client.state).not.toBe("open");
  expect(line.closedWith).not.toBeNull();
  await fake.resumed();
});

test("after a sleep no deadline is believed, and the link is tried at once", async () => {
  const fake = new Fake();
  const { client, room, line } = await inLobby(fake);
  const publishing = room.publish("chat", "before the sleep");
  const { ref } = line.take("publish");
  await vi.advanceTimersByTimeAsync(100);
  // An hour passes in which no timer fires and no message is read.
  vi.setSystemTime(Date.now() + 3_600_000);
  await vi.advanceTimersByTimeAsync(10_000);
  line.take("ping");
  expect(client.state).toBe("open");
  await line.say({ type: "ok", ref, position: at(1) });
  expect(await publishing).toEqual(at(1));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(client.state).toBe("open");
  vi.setSystemTime(Date.now() + 3_600_000);
  await vi.advanceTimersByTimeAsync(25_000);
  line.take("ping");
  await vi.advanceTimersByTimeAsync(5_000);
  expect(client.state).not.toBe("open");
});

test("a tab whose timers come once a minute still notices a dead link", async () => {
  const fake = new Fake();
  const { client, room } = await inLobby(fake);
  const publishing = room.publish("chat", "hi");
  publishing.catch(() => {});
  await vi.advanceTimersByTimeAsync(5_000);
  for (let minute = 0; minute < 6; minute += 1) {
    vi.setSystemTime(Date.now() + 55_000);
    await vi.advanceTimersByTimeAsync(5_000);
  }
  expect(client.state).not.toBe("open");
  await expect(publishing).rejects.toMatchObject({ kind: "timeout" });
});

test("a clock that is set back holds no deadline up", async () => {
  const fake = new Fake();
  const { room } = await inLobby(fake);
  const publishing = room.publish("chat", "hi");
  publishing.catch(() => {});
  vi.setSystemTime(Date.now() - 86_400_000);
  await vi.advanceTimersByTimeAsync(10_000);
  await expect(publishing).rejects.toMatchObject({ kind: "timeout" });
});

test("attempts can be bounded, or left out", async () => {
  const none = new Fake({ reconnect: false });
  const once = await inLobby(none);
  await once.line.break();
  expect(once.client.state).toBe("closed");
  const two = new Fake({ reconnect: { attemptsMax: 2 } });
  const { client, line } = await inLobby(two);
  await line.break();
  for (let n = 0; n < 2; n += 1) {
    await two.next();
    await two.line.break();
  }
  expect([client.state, two.lines.length]).toEqual(["closed", 3]);
});

test("rooms are joined again under their full names", async () => {
  const fake = new Fake();
  const client = await fake.connect();
  for (const room of ["b", "a"]) {
    const joining = client.join(room, { data: room });
    await settle();
    await fake.line.letJoin(0, { room: `game/${room}` });
    expect((await joining).name).toBe(`game/${room}`);
  }
  await fake.line.break();
  const line = await fake.resumed();
  const again = line.heard.map(({ room, data }) => [room, data]);
  expect(again).toEqual([["game/a", "a"], ["game/b", "b"]]);
});

test("a lobby of a new session brings what was missed, in order", async () => {
  const fake = new Fake();
  const client = await fake.connect();
  const given = collect<any>((listener) => client.watch("joined", listener));
  await settle();
  const unasked = { type: "joined", room: "lobby", members: 2 };
  await fake.line.say({ ...unasked, position: at(1) });
  const heard = collect<RoomEvent>((listener) => given[0].onAny(listener));
  await fake.line.break();
  // The session is gone; the new one is given its seat before it asks.
  const line = await fake.next();
  await line.open();
  const { ref } = line.take("hello");
  const welcome = { type: "welcome", ref, session: "B".repeat(22), resume: "s", limits: LIMITS };
  await line.say(welcome, { ...unasked, position: at(3) }, event(4));
  expect(await recovered(line, 4)).toMatchObject({ since: at(1) });
  await line.say(event(2), event(3), event(4), event(5));
  expect([given.length, offsets(heard)]).toEqual([1, [2, 3, 4, 5]]);
});

test("what may be dropped is never taken for a repeat", async () => {
  const { said, line } = await inLobby(new Fake());
  await line.say(event(1), event(1), event(1, { reliable: false }), event(2));
  expect(offsets(said)).toEqual([1, 1, 2]);
});

test("a token that is no longer valid ends the client", async () => {
  const fake = new Fake({ token: "old" });
  const { client, room, line } = await inLobby(fake);
  const closed = collect((listener) => room.watch("closed", listener));
  await line.break(4804);
  const second = await fake.next();
  await second.open();
  await second.refuse("hello", 4011, "invalid_token");
  expect([client.state, closed]).toEqual(["closed", [{ reason: "client_closed" }]]);
  expect(second.closedWith).not.toBeNull();
});

test("what the next server takes no more is refused, and nothing else", async () => {
  const fake = new Fake();
  const { client, room, line } = await inLobby(fake);
  const joining = client.join("wide", { data: "x".repeat(500) });
  await settle();
  await line.letJoin(0, { room: "wide" });
  const wide = await joining;
  const closed = collect<any>((listener) => wide.watch("closed", listener));
  await line.break();
  const publishing = room.publish("chat", "x".repeat(500));
  publishing.catch(() => {});
  const second = await fake.next();
  await second.welcome("secret-2", { resumed: true, limits: { ...LIMITS, message_bytes: 300 } });
  await expect(publishing).rejects.toMatchObject({ kind: "invalid" });
  expect(closed[0].refused).toMatchObject({ kind: "invalid" });
  expect(second.heard.map(({ room }) => room)).toEqual(["lobby"]);
  expect([client.state, room.joined, wide.joined]).toEqual(["open", true, false]);
});

test("a button need not wait for the delay", async () => {
  const fake = new Fake({ reconnect: { baseMs: 600_000, capMs: 600_000 } });
  const { client, line } = await inLobby(fake);
  await line.break();
  expect([client.state, fake.lines.length]).toEqual(["waiting", 1]);
  client.reconnect();
  await settle();
  expect([client.state, fake.lines.length]).toEqual(["connecting", 2]);
  client.reconnect();
  await settle();
  expect(fake.lines.length).toBe(2);
});

test("closing while there is no link ends it at once", async () => {
  const fake = new Fake();
  const { client, room, line } = await inLobby(fake);
  await line.break();
  const waiting = room.publish("chat", "hi");
  waiting.catch(() => {});
  await client.close();
  await expect(waiting).rejects.toMatchObject({ kind: "closed" });
  await vi.advanceTimersByTimeAsync(100_000);
  expect(fake.lines.length).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});
