// The client in node, against the real binary.
import { beforeAll, expect, test } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";

import { msgpack } from "../../src/msgpack.js";
import type { RoomEvent, WebSocketClass } from "../../src/index.js";
import {
  cableTo, clientOf, Heard, SECRET, serve, socketIn, tokenOf, type Server,
} from "../support.js";

const CONFIG = `
[auth]
anonymous = true
[[auth.keys]]
key = "the key of the back end"
user = "backend"
admin = true
[[auth.tokens]]
algorithm = "HS256"
leeway_s = 0
secret = "${SECRET}"
`;
const SOON = { reconnect: { baseMs: 20, capMs: 200 } };
let server: Server;

beforeAll(async () => {
  server = await serve({ config: CONFIG, forAll: true });
});

interface Events {
  chat: { text: string };
  count: number;
}

const oneTo = (last: number) => Array.from({ length: last }, (_, n) => n + 1);
const textOf = (event: RoomEvent) => event.data.text ?? event.data;

test("two clients and a socket in one room hear each other, in one order", async () => {
  const nick = await socketIn("talk", "Nick", server.tcp);
  const mina = await clientOf<Events>(server.ws, { name: "Mina" });
  const jonas = await clientOf<Events>(server.ws, { name: "Jonas", codec: msgpack });
  const rooms = [await mina.join("talk"), await jonas.join("talk", { data: { color: "red" } })];
  const heard = rooms.map((room) => new Heard<any>((listener) => room.onAny(listener)));
  const position = await rooms[0]!.publish("chat", { text: "from JSON" });
  await rooms[1]!.publish("chat", { text: "from MessagePack" });
  nick.chat("talk", "from a socket");
  for (const one of heard) await one.first((event) => textOf(event) === "from a socket");
  const order = ["from JSON", "from MessagePack", "from a socket"];
  for (const one of heard) expect(one.all.map(textOf)).toEqual(order);
  expect(heard[1]!.all[0]).toMatchObject({ from: { name: "Mina" }, at: position, reliable: true });
  const { members } = await rooms[0]!.members();
  expect(members.map(({ name }) => name)).toEqual(["Nick", "Mina", "Jonas"]);
  expect(members[2]).toMatchObject({ session: jonas.session, data: { color: "red" } });
  expect(await rooms[1]!.presence()).toEqual({ members: 3, users: 3 });
});

test("who comes and goes is told, with data and reasons", async () => {
  const mina = await clientOf(server.ws, { name: "Mina" });
  const room = await mina.join("door");
  const joined = new Heard<any>((listener) => room.watch("member_joined", listener));
  const left = new Heard<any>((listener) => room.watch("member_left", listener));
  const jonas = await clientOf(server.ws, { name: "Jonas" });
  const his = await jonas.join("door", { data: [1] });
  expect(await joined.first()).toMatchObject({ name: "Jonas", data: [1] });
  await his.leave("good night");
  expect(await left.first()).toMatchObject({ reason: "left", data: "good night" });
  await jonas.join("door");
  await jonas.close();
  await left.first(({ reason, data }) => reason === "left" && data === undefined);
  await expect(jonas.ping()).rejects.toMatchObject({ kind: "closed" });
});

test("history is read from both ends", async () => {
  const client = await clientOf<Events>(server.ws);
  const room = await client.join("past");
  const at = [];
  for (let n = 1; n <= 5; n += 1) at.push(await room.publish("count", n));
  const newest = await room.history({ limit: 2 });
  expect(newest.events.map(({ data }) => data)).toEqual([4, 5]);
  expect([newest.position, newest.recovery]).toEqual([at[4], undefined]);
  const since = await room.history({ since: at[1]!, limit: 2 });
  expect(since.events.map(({ data }) => data)).toEqual([3, 4]);
  expect(since.recovery).toEqual({ recovered: true });
  const wrong = await room.history({ since: { epoch: "AAAAAAAA", offset: 1 } });
  expect(wrong.recovery).toEqual({ recovered: false, reason: "epoch" });
  const late = await clientOf<Events>(server.ws);
  const counts = new Heard<any>(() => {});
  const again = await late.join("past", { since: at[2]! });
  again.on("count", ({ data }) => counts.all.push(data));
  await late.ping();
  expect(counts.all).toEqual([4, 5]);
});

test.each([["JSON", {}], ["MessagePack", { codec: msgpack }]])(
  "a cut link is resumed in its window: each event once, in order (%s)", async (name, codec) => {
    const cable = await cableTo(server.ws);
    const nick = await socketIn(`cut ${name}`, "Nick", server.tcp);
    const ada = await clientOf(cable.port, { name: "Ada", ...SOON, ...codec });
    const room = await ada.join(`cut ${name}`);
    const heard = new Heard<RoomEvent>((listener) => room.onAny(listener));
    const recovered = new Heard((listener) => room.watch("recovered", listener));
    const lost = new Heard((listener) => room.watch("lost", listener));
    const back = new Heard<any>((listener) => ada.watch("reconnected", listener));
    const { session } = ada;
    for (let round = 0; round < 3; round += 1) {
      nick.chat(room.name, `before ${round}`);
      await heard.first((event) => textOf(event) === `before ${round}`);
      cable.cut();
      await nick.hears({ type: "member_dropped", room: room.name });
      for (let n = 0; n < 20; n += 1) nick.chat(room.name, `away ${round} ${n}`);
      const publishing = room.publish("chat", { text: `own ${round}` });
      cable.mend();
      await nick.hears({ type: "member_resumed", room: room.name });
      const position = await publishing;
      await heard.first((event) => event.at?.offset === position?.offset);
    }
    expect(heard.all.map(({ at }) => at?.offset)).toEqual(oneTo(66));
    expect([recovered.all.length, lost.all, ada.session]).toEqual([3, [], session]);
    expect(back.all.map(({ resumed }) => resumed)).toEqual([true, true, true]);
  });

test("a server started anew is told as a new epoch, and the seat is taken again", async () => {
  const first = await serve();
  const cable = await cableTo(first.ws);
  const ada = await clientOf(cable.port, { name: "Ada", ...SOON });
  const room = await ada.join("again");
  const lost = new Heard<any>((listener) => room.watch("lost", listener));
  const goodbye = new Heard<any>((listener) => ada.watch("goodbye", listener));
  const heard = new Heard<RoomEvent>((listener) => room.onAny(listener));
  await room.publish("chat", { text: "to the first" });
  await first.stop();
  expect((await goodbye.first()).code).toBe(4802);
  const second = await serve();
  cable.mend(second.ws);
  expect(await lost.first()).toEqual({ recovered: false, reason: "epoch" });
  const nick = await socketIn("again", "Nick", second.tcp);
  await room.publish("chat", { text: "to the second" });
  await nick.hears({ data: { text: "to the second" }, from: { name: "Ada" } });
  expect(heard.all.map(textOf)).toEqual(["to the first", "to the second"]);
});

test("a slow reader is put off, comes back, and has everything", async () => {
  const room_history = "[rooms.history]\nsize = 4096\nbytes = 67108864\n";
  const slow = await serve({ config: room_history });
  const sockets: NodeWebSocket[] = [];
  class Socket extends NodeWebSocket {
    constructor(...args: ConstructorParameters<typeof NodeWebSocket>) {
      super(...args);
      sockets.push(this);
    }
  }
  const options = { WebSocket: Socket as unknown as WebSocketClass, ...SOON };
  const ada = await clientOf(slow.ws, options);
  const room = await ada.join("flood");
  const heard = new Heard<RoomEvent>((listener) => room.onAny(listener));
  const gone = new Heard<any>((listener) => ada.watch("disconnected", listener));
  const recovered = new Heard<any>((listener) => room.watch("recovered", listener));
  const bob = await clientOf(slow.ws);
  const his = await bob.join("flood");
  const dropped = new Heard<any>((listener) => his.watch("member_dropped", listener));
  sockets[0]!.pause();
  const text = "x".repeat(30_000);
  let said = 0;
  while (dropped.all.length === 0 && said < 2_000) {
    await his.publish("chat", { text });
    said += 1;
  }
  sockets[0]!.resume();
  const last = await his.publish("chat", { text: "the last" });
  await heard.first((event) => textOf(event) === "the last");
  expect(heard.all.map(({ at }) => at?.offset)).toEqual(oneTo(last!.offset));
  expect(gone.all[0].code).toBe(4800);
  expect(recovered.all.length).toBeGreaterThan(0);
});

test("a token is replaced on the living link, and by its callback on the next", async () => {
  let asked = 0;
  const token = () => {
    asked += 1;
    return { token: tokenOf("mina", 60), lastsMs: 60_000 };
  };
  const client = await clientOf(server.ws, { token });
  expect([client.user, asked]).toEqual(["mina", 1]);
  await client.refresh(tokenOf("mina", 120));
  await expect(client.refresh(tokenOf("tom", 120))).rejects.toMatchObject({ code: 4011 });

  // One second, and the server closes the link with 4804: the callback has the next one.
  const tokens = [tokenOf("jonas", 1), tokenOf("jonas", 60)];
  const short = await clientOf(server.ws, { token: () => tokens.shift()!, ...SOON });
  const room = await short.join("tokens");
  const gone = new Heard<any>((listener) => short.watch("disconnected", listener));
  const back = new Heard<any>((listener) => short.watch("reconnected", listener));
  expect((await gone.first()).code).toBe(4804);
  expect((await back.first()).resumed).toBe(true);
  await room.publish("chat", "still here");
  expect(tokens).toEqual([]);
});

test("refusals say why, and what ends the link ends the client", async () => {
  const client = await clientOf(server.ws);
  const code = (promise: Promise<unknown>) => promise.then(() => 0, ({ code }) => code);
  expect(await code(client.broadcast("x"))).toBe(4031);
  expect(await code(client.kick("lobby", { user: "u" }))).toBe(4031);
  expect(await code(client.send({ session: "A".repeat(22) }, "x"))).toBe(4041);
  expect(await code(client.call("nothing"))).toBe(4042);
  expect(await code(client.join("no\u0000name"))).toBe(4003);
  expect(await code(client.join("nowhere/room"))).toBe(4006);
  expect(await code(client.create({ options: { members_mx: 3 } }))).toBe(4004);
  const wrong = clientOf(server.ws, { token: "no token at all" });
  await expect(wrong).rejects.toMatchObject({ kind: "refused", code: 4011, retry: false });
  const nobody = clientOf(1, { connectTimeoutMs: 3_000 });
  await expect(nobody).rejects.toMatchObject({ kind: "unreachable", retry: true });

  const admin = await clientOf(server.ws, { token: "the key of the back end" });
  const victim = await clientOf(server.ws);
  const room = await victim.join("kicked");
  const closed = new Heard<any>((listener) => room.watch("closed", listener));
  await admin.kick("kicked", { session: victim.session }, "no spam please");
  expect(await closed.first()).toEqual({ reason: "kicked" });
  expect(await code(room.publish("chat", 1))).toBe(4030);
  const again = await victim.join("kicked");
  expect(again).not.toBe(room);
  const notices = new Heard<any>((listener) => victim.on("notice", listener));
  expect(await admin.broadcast("notice", "noon")).toBeGreaterThan(1);
  expect((await notices.first()).data).toBe("noon");
  const heard = new Heard<any>((listener) => again.on("news", listener));
  const at = await admin.announce("kicked", "news", 1);
  expect(await heard.first()).toMatchObject({ data: 1, at });
  const deleted = new Heard<any>((listener) => again.watch("closed", listener));
  await admin.delete("kicked");
  expect(await deleted.first()).toEqual({ reason: "deleted" });
  expect(again.joined).toBe(false);
});

test("names as long as they may be, in any script; longer ones are refused", async () => {
  const name = "ü".repeat(127) + "x";
  const client = await clientOf(server.ws, { name, codec: msgpack });
  const full = `${"🎲".repeat(63)}abc`;
  const room = await client.join(full);
  expect(room.name).toBe(full);
  const heard = new Heard<RoomEvent>((listener) => room.onAny(listener));
  const event = "é".repeat(127);
  await room.publish(event, { [event]: event });
  expect(await heard.first()).toMatchObject({ event, data: { [event]: event }, from: { name } });
  await expect(client.join(`${full}x`)).rejects.toMatchObject({ code: 4003 });
  await expect(room.publish(`${event}xx`)).rejects.toMatchObject({ code: 4003 });
  const long = clientOf(server.ws, { name: `${name}x` });
  await expect(long).rejects.toMatchObject({ code: 4003 });
  const large = room.publish("chat", "x".repeat(70_000));
  await expect(large).rejects.toMatchObject({ kind: "invalid" });
  await room.publish("chat", "x".repeat(60_000));
});

test("bytes stay bytes among those who speak MessagePack, and are text for others", async () => {
  const room = await (await clientOf(server.ws, { codec: msgpack })).join("bytes");
  const plain = await (await clientOf(server.ws)).join("bytes");
  const heard = [room, plain].map((one) => new Heard<any>((listener) => one.onAny(listener)));
  const bytes = Uint8Array.from([0, 1, 254, 255]);
  await room.publish("raw", { bytes, none: undefined, nothing: null, n: 0.5, at: 2 ** 40 });
  const data = { nothing: null, n: 0.5, at: 2 ** 40 };
  expect((await heard[0]!.first()).data).toEqual({ bytes, ...data });
  expect((await heard[1]!.first()).data).toEqual({ bytes: "AAH+/w==", ...data });
  const { events } = await room.history();
  expect(events[0]!.data.bytes).toEqual(bytes);
});

test("a whisper, a room of one's own, and a list of rooms", async () => {
  const [mina, jonas] = [await clientOf(server.ws), await clientOf(server.ws, { name: "Jonas" })];
  const heard = new Heard<any>((listener) => mina.on("whisper", listener));
  expect(await jonas.send({ session: mina.session }, "whisper", { text: "psst" })).toBe(1);
  expect(await heard.first()).toMatchObject({ data: { text: "psst" }, from: { name: "Jonas" } });
  const own = await mina.createAndJoin({ options: { members_max: 1 } });
  expect(own.name).toHaveLength(52);
  await expect(jonas.join(own.name)).rejects.toMatchObject({ code: 4091, retry: true });
  expect(await jonas.create({ room: own.name })).toEqual({ room: own.name, created: false });
  const { rooms, truncated } = await mina.rooms();
  expect(rooms).toContainEqual({ room: own.name, members: 1 });
  expect(truncated).toBe(false);
});

test("a session is taken up again by another client, as after a reload", async () => {
  const first = await clientOf(server.ws, { name: "Ada" });
  const room = await first.join("reload");
  const at = await room.publish("chat", 1);
  const closed = new Heard((listener) => first.watch("closed", listener));
  const second = await clientOf(server.ws, { name: "Ada", resume: first.resume! });
  expect(second.session).toBe(first.session);
  await closed.first();
  const again = await second.join("reload", { since: at! });
  expect(again.membersAtJoin).toBe(1);
});
