// The real clients of Socket.IO, several versions of them and each in every way it travels, against
// the example whose handlers do everything; with a native client and one on TCP in the same rooms.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { acked, everyClient, heard, msgpackParser, newestIo } from "./support/clients.js";
import { TRAVELS, until } from "./support/clients.js";
import { start } from "./support/server.js";

let server, url, tcp;
const opened = new Set();

before(async () => {
  server = await start("socketio-handlers", ["ws://127.0.0.1:0", "tcp://127.0.0.1:0"], 2);
  url = server.urls[0].replace("ws:", "http:");
  tcp = new URL(server.urls[1].replace("tcp:", "http:"));
});
after(async () => {
  for (const socket of opened) socket.close?.();
  await server?.stop();
});

/** Connects, and is closed when the tests end. */
async function connect(client, more, path = "/") {
  const socket = client(url + path, more);
  opened.add(socket);
  await heard(socket, "connect");
  return socket;
}

/** A client of the native protocol: JSON, one object a message. */
async function native() {
  const ws = new WebSocket(url.replace("http:", "ws:") + "/ws", "roomcast.v1.json");
  opened.add(ws);
  await once(ws, "open");
  const lines = [];
  ws.on("message", (data) => lines.push(JSON.parse(data)));
  return { say: (command) => ws.send(JSON.stringify(command)), lines };
}

/** The same on TCP. */
async function onTcp() {
  const socket = net.connect(Number(tcp.port), tcp.hostname);
  opened.add({ close: () => socket.destroy() });
  await once(socket, "connect");
  const lines = [];
  createInterface({ input: socket }).on("line", (line) => lines.push(JSON.parse(line)));
  return { say: (command) => socket.write(`${JSON.stringify(command)}\n`), lines };
}

for (const { name, connect: client, transports } of everyClient()) {
  describe(name, () => {
    test("events, binary data and acknowledgements, both ways", async () => {
      const socket = await connect(client);
      const question = heard(socket, "question");
      const answer = acked(socket, "ask me", 1, { two: [3] }, Buffer.from([4, 5]));
      const [one, two, bytes, reply] = await question;
      assert.deepEqual([one, two, [...new Uint8Array(bytes)]], [1, { two: [3] }, [4, 5]]);
      reply("six", Buffer.from([7]));
      const [six, seven] = await answer;
      assert.deepEqual([six, [...new Uint8Array(seven)]], ["six", [7]]);
      if (transports.length === 2) {
        await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
        assert.deepEqual(await acked(socket, "enter", `after-${name}`), [true]);
      }
      socket.close();
    });

    test("a long row of events keeps its order through the upgrade", async () => {
      const [room, count] = [`row ${name}`, 200];
      const [teller, listener] = [await connect(client), await connect(client)];
      await acked(listener, "enter", room);
      const got = [];
      listener.on("told", (...args) => got.push(...args));
      for (let number = 0; number < count; number += 1) teller.emit("tell", room, number);
      await until(() => got.length === count, `${count} events, got ${got.length}`);
      assert.deepEqual(got, [...Array(count).keys()]);
      teller.close();
      listener.close();
    });

    test("a namespace with a guard", async () => {
      const denied = client(`${url}/guarded`, { auth: { token: "guess" } });
      const [error] = await heard(denied, "connect_error");
      assert.equal(error.message, "that is not the word");
      assert.equal(error.data.reason, "refused");
      denied.close();
      const socket = client(`${url}/guarded`, { auth: { token: "sesame", app: 3 } });
      opened.add(socket);
      assert.deepEqual(await heard(socket, "welcome"), [{ token: "sesame", app: 3 }]);
      socket.close();
      const nowhere = client(`${url}/nowhere`);
      assert.equal((await heard(nowhere, "connect_error"))[0].message, "Invalid namespace");
      nowhere.close();
    });
  });
}

const newest = (transports) => (at, more) =>
  newestIo(at, { transports, forceNew: true, reconnection: false, ...more });
const quick = newest(["websocket"]);

test("several namespaces share a connection", async () => {
  const ways = { transports: ["websocket"], reconnection: false };
  const socket = await connect((at) => newestIo(at, ways));
  const guarded = socket.io.socket("/guarded", { auth: { token: "sesame" } });
  await heard(guarded, "welcome");
  assert.equal(socket.io, guarded.io);
  assert.notEqual(socket.id, guarded.id);
  guarded.disconnect();
  assert.deepEqual(await acked(socket, "enter", "still here"), [true]);
  socket.close();
});

for (const transports of TRAVELS) {
  const way = transports.join(", then ");
  test(`one room for Socket.IO by ${way}, native and TCP clients`, async () => {
    const room = `all of ${transports}`;
    const [ws, line] = [await native(), await onTcp()];
    const socket = await connect(newest(transports));
    const [joined] = await acked(socket, "join", { room });
    assert.equal(joined.type, "joined");
    for (const [client, name] of [[ws, "Nat"], [line, "Tom"]]) {
      client.say({ type: "hello", ref: 1, name });
      client.say({ type: "join", ref: 2, room });
    }
    const seated = ({ lines }) => lines.some((one) => one.type === "joined");
    await until(() => [ws, line].every(seated), "seats");
    const got = [];
    const note = (data, { from, at }) => got.push([data, from.name ?? "socket", at.offset]);
    socket.on("chat", note);
    for (let turn = 0; turn < 20; turn += 1) {
      ws.say({ type: "publish", room, event: "chat", data: { n: turn } });
      line.say({ type: "publish", room, event: "chat", data: [turn] });
      socket.emit("publish", { room, event: "chat", data: turn });
    }
    const events = (client) => client.lines.filter((one) => one.type === "event");
    const seen = (client) =>
      events(client).map((one) => [one.data, one.from.name ?? "socket", one.at.offset]);
    await until(() => got.length === 60, `60 events at the socket, got ${got.length}`);
    await until(() => [ws, line].every((it) => events(it).length === 60), "60 events at each");
    assert.deepEqual(seen(ws), got);
    assert.deepEqual(seen(line), got);
    const own = (name) => got.filter(([, from]) => from === name).map(([data]) => data);
    assert.deepEqual(own("Nat"), [...Array(20).keys()].map((n) => ({ n })));
    assert.deepEqual(own("Tom"), [...Array(20).keys()].map((n) => [n]));
    assert.deepEqual(own("socket"), [...Array(20).keys()]);
    socket.close();
  });
}

test("handlers hear native clients, and are heard by them", async () => {
  const ws = await native();
  const socket = await connect(quick);
  await acked(socket, "enter", "mixed");
  ws.say({ type: "hello", ref: 1, name: "Nat" });
  ws.say({ type: "call", ref: 2, call: "enter", data: "mixed" });
  await until(() => ws.lines.some((one) => one.ref === 2), "its seat");
  assert.deepEqual(ws.lines.find((one) => one.ref === 2).data, [true]);
  ws.say({ type: "call", ref: 3, call: "tell", data: ["mixed", "hi", 1] });
  assert.deepEqual(await heard(socket, "told"), ["hi", 1]);
  socket.emit("tell", "mixed", "hello", 2);
  await until(() => ws.lines.some((one) => one.event === "told"), "what the socket told");
  const told = ws.lines.find((one) => one.event === "told");
  assert.deepEqual([told.data, told.from.session], [["hello", 2], socket.id]);
  socket.close();
});

test("acknowledgements of a room are gathered; who gives none is counted", async () => {
  const sockets = await Promise.all([1, 2, 3].map(() => connect(quick)));
  for (const socket of sockets) await acked(socket, "enter", "poll");
  sockets[0].on("question", (_, reply) => reply("a"));
  sockets[1].on("question", (_, reply) => reply("b"));
  assert.deepEqual(await acked(sockets[0], "ask all", "poll"), [["a", "b"], 1]);
  const [ids] = await acked(sockets[0], "who is in", "poll");
  assert.deepEqual(ids.sort(), sockets.map((socket) => socket.id).sort());
  for (const socket of sockets) socket.close();
});

test("a client that does not answer costs its asker a timeout, nothing else", async () => {
  const socket = await connect(quick);
  assert.equal((await acked(socket, "ask me"))[0], "no answer");
  const [unknown] = await acked(socket, "question-nobody-answers");
  assert.equal(unknown.reason, "no_such_call");
  socket.close();
});

test("what a handler refuses or breaks at is told, and the socket goes on", async () => {
  const socket = await connect(quick);
  const [refused] = await acked(socket, "refuse");
  assert.deepEqual([refused.reason, refused.message], ["refused", "as you asked"]);
  assert.equal((await acked(socket, "panic"))[0].reason, "internal");
  socket.emit("nobody listens to this");
  assert.deepEqual(await acked(socket, "enter", "after all"), [true]);
  socket.close();
});

test("volatile events come to who reads, and acknowledgements behind them", async () => {
  const socket = await connect(quick);
  const numbers = [];
  socket.on("number", (number) => numbers.push(number));
  await acked(socket, "count fast", 50);
  assert.deepEqual(numbers, [...Array(50).keys()]);
  socket.close();
});

test("both sides are told why a socket has gone", async () => {
  const watcher = await connect(quick);
  const gone = async (act) => {
    const socket = await connect(quick);
    const { id } = socket;
    const told = new Promise((resolve) => {
      watcher.on("gone", (who, reason) => who === id && resolve(reason));
    });
    const own = heard(socket, "disconnect");
    act(socket);
    return [(await own)[0], await told];
  };
  const byClient = await gone((socket) => socket.disconnect());
  assert.deepEqual(byClient, ["io client disconnect", "client namespace disconnect"]);
  const byServer = await gone((socket) => socket.emit("end me"));
  assert.deepEqual(byServer, ["io server disconnect", "server namespace disconnect"]);
  const byLoss = await gone((socket) => socket.io.engine.transport.ws.terminate());
  assert.deepEqual(byLoss, ["transport close", "transport close"]);
  watcher.close();
});

test("a client whose connection is cut comes back by itself", async () => {
  const socket = await connect(newest(["polling", "websocket"]), {
    reconnection: true,
    reconnectionDelay: 10,
  });
  await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
  const before = socket.id;
  const again = heard(socket, "connect");
  socket.io.engine.transport.ws.terminate();
  await again;
  assert.notEqual(socket.id, before, "a new session: nothing of the old one is left");
  assert.deepEqual(await acked(socket, "enter", "back"), [true]);
  socket.close();
});

test("the msgpack parser, in a room with others", async () => {
  for (const transports of TRAVELS) {
    const [packed, plain] = [
      await connect(newest(transports), { parser: msgpackParser }),
      await connect(newest(transports)),
    ];
    const room = `packed ${transports}`;
    for (const socket of [packed, plain]) await acked(socket, "enter", room);
    const [atPlain, atPacked] = [heard(plain, "told"), heard(packed, "told")];
    packed.emit("tell", room, { n: 1 }, Buffer.from([1, 2]));
    const [first, bytes] = await atPlain;
    assert.deepEqual([first, [...new Uint8Array(bytes)]], [{ n: 1 }, [1, 2]]);
    plain.emit("tell", room, { n: 2 }, Buffer.from([3, 4]));
    const [second, more] = await atPacked;
    assert.deepEqual([second, [...new Uint8Array(more)]], [{ n: 2 }, [3, 4]]);
    packed.close();
    plain.close();
  }
});

test("a server that starts again finds its clients again", async () => {
  const first = await start("socketio-handlers", ["ws://127.0.0.1:0"], 1);
  const at = first.urls[0].replace("ws:", "http:");
  const sockets = TRAVELS.map((transports) =>
    newestIo(at, { transports, forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 50 }),
  );
  sockets.forEach((socket) => opened.add(socket));
  await Promise.all(sockets.map((socket) => heard(socket, "connect")));
  const lost = Promise.all(sockets.map((socket) => heard(socket, "disconnect")));
  const again = lost.then(() => Promise.all(sockets.map((socket) => heard(socket, "connect"))));
  await first.stop("SIGKILL");
  await lost;
  const second = await start("socketio-handlers", [first.urls[0]], 1);
  try {
    await again;
    for (const socket of sockets) assert.deepEqual(await acked(socket, "enter", "new"), [true]);
  } finally {
    sockets.forEach((socket) => socket.close());
    await second.stop();
  }
});
