// What is asked, answered and told while the link is up, on a virtual clock.
import { afterEach, beforeEach, expect, expectTypeOf, test, vi } from "vitest";

import { connect, RoomcastError, type RoomEvent } from "../../src/index.js";
import { at, collect, event, Fake, LIMITS, SESSION, settle } from "./fake.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function inLobby(fake = new Fake()) {
  const client = await fake.connect();
  const joining = client.join("lobby");
  await settle();
  await fake.line.letJoin(0);
  return { client, room: await joining, line: fake.line };
}

test("hello says who it is, and welcome is believed", async () => {
  const frames: unknown[] = [];
  const onFrame = (direction: string, frame: unknown) => frames.push([direction, typeof frame]);
  const fake = new Fake({ token: "t", name: "Mina", data: { app: 3 }, onFrame });
  const connecting = connect("http://fake:7400", fake.options);
  await settle();
  expect([fake.line.url, fake.line.protocol]).toEqual(["ws://fake:7400/ws", "roomcast.v1.json"]);
  const hello = await fake.line.welcome("s", { user: "u17" });
  expect(hello).toEqual({ type: "hello", ref: 0, token: "t", name: "Mina", data: { app: 3 } });
  const client = await connecting;
  expect(client.session).toBe(SESSION);
  expect(frames).toEqual([["out", "string"], ["in", "string"]]);
  expect([client.user, client.transport, client.state]).toEqual(["u17", "websocket", "open"]);
  expect(client.limits).toEqual({ messageBytes: 1000, rooms: 128, resumeMs: 60_000 });
});

test("what happens before anybody listens is held, in order, with its bound", async () => {
  const { room, line } = await inLobby();
  for (let n = 1; n <= 1_030; n += 1) await line.say(event(n));
  const lost = collect((listener) => room.watch("lost", listener));
  const said = collect<RoomEvent>((listener) => room.on("chat", listener));
  await settle();
  expect(lost).toEqual([{ recovered: false, reason: "unread", missed: 6 }]);
  expect(said.map(({ at }) => at?.offset)).toEqual(Array.from({ length: 1_024 }, (_, n) => n + 7));
});

test("listeners hear their own names only, numbers are names, and each can be ended", async () => {
  const { room, line } = await inLobby();
  const heard: string[] = [];
  const stop = room.on("chat", () => heard.push("chat"));
  room.on(7, () => heard.push("number"));
  room.on("7", () => heard.push("text"));
  room.onAny(({ event }) => heard.push(`any ${event}`));
  await settle();
  await line.say(event(1), event(2, { event: 7 }), event(3, { event: "7" }));
  stop();
  await line.say(event(4));
  expect(heard).toEqual(["chat", "any chat", "number", "any 7", "text", "any 7", "any chat"]);
});

test("a listener that throws disturbs nobody", async () => {
  const { room, line } = await inLobby();
  const thrown: unknown[] = [];
  vi.stubGlobal("reportError", (error: unknown) => thrown.push(error));
  room.on("chat", () => {
    throw new Error("mine");
  });
  const said = collect((listener) => room.on("chat", listener));
  await settle();
  await line.say(event(1));
  vi.unstubAllGlobals();
  expect([said.length, String(thrown[0])]).toEqual([1, "Error: mine"]);
});

test("a tool that throws over a frame disturbs nobody", async () => {
  vi.stubGlobal("reportError", () => {});
  const onFrame = (): never => {
    throw new Error("mine");
  };
  const { client } = await inLobby(new Fake({ onFrame }));
  vi.unstubAllGlobals();
  expect(client.state).toBe("open");
});

test("what did not come is told by kind", async () => {
  const { room, line } = await inLobby();
  const said = collect<RoomEvent>((listener) => room.onAny(listener));
  await settle();
  await line.say(
    event(1), event(4, { unreliable: 1 }), event(7, { reliable: false, unreliable: 4 }),
    event(8, { unreliable: 4, at: at(1, "BBBBBBBB") }),
  );
  const none = { reliable: 0, unreliable: 0 };
  const expected = [none, { reliable: 1, unreliable: 1 }, { reliable: 0, unreliable: 2 }, none];
  expect(said.map(({ missed }) => missed)).toEqual(expected);
  expect(said.map(({ reliable }) => reliable)).toEqual([true, true, false, true]);
});

test("a refusal carries code, reason and whether to try again", async () => {
  const { room, line } = await inLobby();
  const publishing = room.publish("chat", "hi");
  publishing.catch(() => {});
  await line.refuse("publish", 4290, "rate_limited", { retry: true, retry_ms: 120 });
  const error = await publishing.catch((error: unknown) => error);
  expect(error).toBeInstanceOf(RoomcastError);
  const told = { kind: "refused", code: 4290, reason: "rate_limited", retry: true };
  expect(error).toMatchObject({ ...told, retryAfterMs: 120 });
});

test("what cannot be sent is refused here, and the link goes on", async () => {
  const { client, room, line } = await inLobby();
  const large = room.publish("chat", "é".repeat(600));
  await expect(large).rejects.toMatchObject({ kind: "invalid" });
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  await expect(room.publish("chat", circle)).rejects.toMatchObject({ kind: "invalid" });
  await expect(room.publish("chat", circle, { reliable: false })).rejects.toThrow(RoomcastError);
  expect([client.state, line.heard]).toEqual(["open", []]);
});

test("commands that wait have a bound, and those given up make way", async () => {
  const { client } = await inLobby();
  const asked = Array.from({ length: 1_024 }, () => client.ping());
  for (const one of asked) one.catch(() => {});
  await expect(client.ping()).rejects.toMatchObject({ kind: "full", retry: true });
  await vi.advanceTimersByTimeAsync(10_000);
  await expect(asked[0]).rejects.toMatchObject({ kind: "timeout" });
  const one = client.ping();
  one.catch(() => {});
  await settle();
  await client.close();
  await expect(one).rejects.toMatchObject({ kind: "closed" });
});

test("what may be lost is not queued behind a full link, and asks for no answer", async () => {
  const { room, line } = await inLobby();
  expect(await room.publish("move", [1], { reliable: false })).toBeUndefined();
  expect(line.take("publish")).toEqual({
    type: "publish", room: "lobby", event: "move", data: [1], reliable: false,
  });
  line.bufferedAmount = 300_000;
  await room.publish("move", [2], { reliable: false });
  expect(line.heard).toEqual([]);
});

test("calls go both ways, and errors are made speakable", async () => {
  const { client, line } = await inLobby();
  const asking = client.call<string>("version", null, { room: "lobby" });
  await line.answer("call", { type: "result", data: "1.4.2" });
  expect(await asking).toBe("1.4.2");
  client.onCall("double", (n: number) => n * 2);
  client.onCall("fails", () => {
    throw new Error(`two\nlines\u202e${"é".repeat(200)}`);
  });
  for (const [id, call] of ["double", "fails", "unknown"].entries()) {
    await line.say({ type: "call", id, call, data: 4 });
  }
  expect(line.take("result")).toEqual({ type: "result", id: 0, data: 8 });
  const { error } = line.take("result");
  expect(error).toMatch(/^two lines é+$/);
  expect(Buffer.byteLength(error)).toBeLessThanOrEqual(255);
  expect(line.take("result").error).toBe("this client answers no calls of this name");
});

test("a seat given unasked is told as a room, and messages reach their listeners", async () => {
  const { client, line } = await inLobby();
  const joined = collect<any>((listener) => client.watch("joined", listener));
  const whispers = collect((listener) => client.on("whisper", listener));
  await settle();
  await line.say({ type: "joined", room: "hall", position: at(3), members: 2 });
  await line.say({ type: "joined", room: "lobby", position: at(9), members: 2 });
  await line.say(event(4, { room: "hall" }));
  const said = collect<RoomEvent>((listener) => joined[0].onAny(listener));
  await line.say({ type: "message", event: "whisper", data: "psst", from: { session: "x" } });
  expect(joined.map(({ name }) => name)).toEqual(["hall"]);
  expect(said.map(({ at }) => at?.offset)).toEqual([4]);
  expect(whispers).toEqual([{ event: "whisper", data: "psst", from: { session: "x" } }]);
});

test("nonsense from the wire does no harm; what is no message ends the link", async () => {
  const { client, room, line } = await inLobby();
  const changes = ["member_joined", "member_left", "member_dropped", "presence"] as const;
  const heard: unknown[] = [];
  for (const change of changes) room.watch(change, (what) => heard.push(what));
  room.onAny((what) => heard.push(what));
  const types = [...changes, "event", "joined", "room_closed", "message", "call", "error", "x"];
  for (const type of [...types, "__proto__", "toString", "constructor"]) {
    for (const more of [{}, { room: 7 }, { room: "lobby", from: 7, at: 7, position: 4 }]) {
      if (type !== "room_closed" || more.room !== "lobby") await line.say({ type, ...more });
    }
  }
  for (const text of ["null", "[]", "7", '"text"', "{}", '{"type":7}']) await line.say(text);
  await line.say({ type: "ok", ref: 999_999 }, { type: "welcome", ref: -1 });
  expect(heard.filter((what) => JSON.stringify(what) !== '{"members":0,"users":0}')).toEqual([]);
  expect(client.state).toBe("open");
  await line.say("{");
  expect(client.state).toBe("waiting");
});

test("a second join gives the same room", async () => {
  const { client, room, line } = await inLobby();
  const again = client.join("lobby");
  await settle();
  await line.letJoin(0);
  expect(await again).toBe(room);
});

test("the first connection fails at once, with the reason", async () => {
  const refused = new Fake();
  const connecting = connect("ws://fake", refused.options);
  connecting.catch(() => {});
  await settle();
  await refused.line.open();
  await refused.line.refuse("hello", 4010, "token_required");
  await expect(connecting).rejects.toMatchObject({ kind: "refused", code: 4010 });

  const absent = new Fake();
  const trying = connect("ws://fake", absent.options);
  trying.catch(() => {});
  await settle();
  await absent.line.break();
  await expect(trying).rejects.toMatchObject({ kind: "unreachable", retry: true });

  const silent = new Fake({ connectTimeoutMs: 3_000 });
  const waiting = connect("ws://fake", silent.options);
  waiting.catch(() => {});
  await vi.advanceTimersByTimeAsync(3_000);
  await expect(waiting).rejects.toMatchObject({ kind: "unreachable" });
  for (const url of ["tcp://fake", "not a url", "ftp://fake"]) {
    await expect(connect(url).then(() => {})).rejects.toMatchObject({ kind: "invalid" });
  }
  expect(vi.getTimerCount()).toBe(0);
});

test("tokens are asked for each link, and before they end", async () => {
  const tokens = ["one", "two", "three"].map((token) => ({ token, lastsMs: 60_000 }));
  const fake = new Fake({
    token: async () => {
      const token = tokens.shift();
      if (!token) throw new Error("none left");
      return token;
    },
  });
  const connecting = connect("ws://fake", fake.options);
  await settle();
  expect((await fake.line.welcome("secret-1", { ping_ms: 0 })).token).toBe("one");
  const client = await connecting;
  await vi.advanceTimersByTimeAsync(48_000);
  const refused = collect<any>((listener) => client.watch("refused", listener));
  expect(fake.line.take("refresh").token).toBe("two");
  await fake.line.break(4804);
  await fake.next();
  const hello = await fake.line.welcome("secret-2", { resumed: true, ping_ms: 0 });
  expect(hello.token).toBe("three");
  // No token is left, and it is asked for again in measure; the link goes on meanwhile.
  await vi.advanceTimersByTimeAsync(100_000);
  tokens.push({ token: "four", lastsMs: 60_000 });
  await vi.advanceTimersByTimeAsync(5_000);
  await fake.line.refuse("refresh", 4011, "invalid_token");
  expect(refused[0]).toMatchObject({ code: 4011 });
  expect(client.state).toBe("open");
  await client.close();
});

test("tokens that last for ever or not at all are asked for in measure", async () => {
  for (const [lastsMs, most] of [[Infinity, 1], [NaN, 1], [0, 13], [-1, 13]] as const) {
    let asked = 0;
    const token = () => ({ token: `${(asked += 1)}`, lastsMs });
    const client = await new Fake({ token }).connect({ ping_ms: 0 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([lastsMs, asked]).toEqual([lastsMs, Math.min(asked, most)]);
    // Nothing else is held up by it.
    const waiting = client.ping().catch(({ kind }) => kind);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await waiting).toBe("timeout");
    await client.close();
  }
});

test("a client without a token to show does not connect", async () => {
  const never = () => new Promise<string>(() => {});
  const nothing = () => ({}) as { token: string };
  for (const [token, message] of [
    [() => Promise.reject(new Error("nobody is logged in")), "no token: nobody is logged in"],
    [nothing, "no token: the callback gave none"], [never, /no answer within 3000 ms/],
  ] as const) {
    const fake = new Fake({ token, connectTimeoutMs: 3_000 });
    const connecting = connect("ws://fake", fake.options);
    connecting.catch(() => {});
    await vi.advanceTimersByTimeAsync(3_000);
    await expect(connecting).rejects.toThrow(message);
    expect(fake.lines).toEqual([]);
  }
});

test("an answer does not go to a later link", async () => {
  const fake = new Fake();
  const { client, line } = await inLobby(fake);
  let answer = (_: string): void => {};
  client.onCall("slow", () => new Promise<string>((resolve) => (answer = resolve)));
  await line.say({ type: "call", id: 1, call: "slow" });
  await line.break();
  const again = await fake.next();
  await again.welcome("secret-2", { resumed: true });
  answer("too late");
  await settle();
  expect(again.heard.map(({ type }) => type)).toEqual(["join"]);
});

test("any command can be asked", async () => {
  const { client, line } = await inLobby();
  const asking = client.request({ type: "presence", room: "lobby" });
  await line.answer("presence", { type: "presence", members: 3, users: 2 });
  expect(await asking).toMatchObject({ members: 3, users: 2 });
});

test("a token given by refresh is used for the next link", async () => {
  const fake = new Fake({ token: "one" });
  const client = await fake.connect();
  const refreshing = client.refresh("two");
  await fake.line.answer("refresh", { type: "ok" });
  await refreshing;
  await fake.line.break();
  const line = await fake.next();
  await line.open();
  expect(line.take("hello").token).toBe("two");
});

test("events are typed by the generic parameter", async () => {
  interface Events {
    chat: { text: string };
    over: undefined;
    7: number[];
  }
  const fake = new Fake();
  const client = await fake.connect<Events>();
  const joining = client.join("lobby");
  await settle();
  await fake.line.letJoin(0);
  const room = await joining;
  room.on("chat", ({ data }) => expectTypeOf(data).toEqualTypeOf<{ text: string }>());
  room.on(7, ({ data, event }) => {
    expectTypeOf(data).toEqualTypeOf<number[]>();
    expectTypeOf(event).toEqualTypeOf<7>();
  });
  room.onAny((said) => {
    if (said.event === "chat") expectTypeOf(said.data.text).toEqualTypeOf<string>();
  });
  const wrong = [
    // @ts-expect-error there is no such event
    () => room.on("chatt", () => {}),
    // @ts-expect-error it says something else
    () => room.publish("chat", { txt: "hi" }),
    // @ts-expect-error it must say something
    () => room.publish("chat"),
    () => room.publish("over"),
  ];
  expect(wrong.length).toBe(4);
  expect(LIMITS.rooms).toBe(128);
});
