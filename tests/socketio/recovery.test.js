// Connection state recovery with the real clients: the connection is cut, things are said, and the
// client is back with its id, its rooms and everything that it missed.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { RECOVERING, acked, everyClient, heard, msgpackParser } from "./support/clients.js";
import { newestIo, until } from "./support/clients.js";
import { start } from "./support/server.js";

const COME_BACK = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 };
let server, url;
const opened = new Set();

before(async () => {
  server = await start("socketio-handlers", ["--recovery", "ws://127.0.0.1:0"], 1);
  url = server.urls[0].replace("ws:", "http:");
});
after(async () => {
  for (const socket of opened) socket.close();
  await server?.stop();
});

/** Connects, notes what is told, and is closed when the tests end. */
async function connect(client, more, path = "/") {
  const socket = client(url + path, { ...COME_BACK, ...more });
  opened.add(socket);
  socket.told = [];
  // The offset that stands last is not the application's.
  socket.on("told", (...args) => socket.told.push(plain(args.slice(0, -1))));
  await heard(socket, "connect");
  assert.equal(socket.recovered, false);
  return socket;
}

/** Arguments without a difference between kinds of buffers. */
function plain(args) {
  const isBytes = (one) => one instanceof ArrayBuffer || ArrayBuffer.isView(one);
  return args.map((one) => (isBytes(one) ? [...new Uint8Array(one)] : one));
}

/** Cuts the connection; does something meanwhile; until the client is back. */
async function cut(socket, meanwhile) {
  const gone = heard(socket, "disconnect");
  // Not before something was said: the first attempts fail.
  const uri = socket.io.uri;
  socket.io.uri = "http://127.0.0.1:1";
  socket.io.engine.close();
  await gone;
  await meanwhile();
  const back = heard(socket, "connect");
  socket.io.uri = uri;
  await back;
}

const quick = (at, more) => newestIo(at, { transports: ["websocket"], forceNew: true, ...more });

for (const { name, connect: client, transports } of everyClient(RECOVERING)) {
  for (const parser of [undefined, msgpackParser]) {
    describe(name + (parser ? ", msgpack" : ""), () => {
      test("comes back to its id, its rooms and all that it missed", async () => {
        const room = `${name} ${parser !== undefined}`;
        const [socket, teller] = [await connect(client, { parser }), await connect(quick)];
        assert.deepEqual(plain(await acked(socket, "keep", "mine")), [null, false]);
        assert.deepEqual(await acked(socket, "enter", room), [true]);
        await acked(teller, "tell", room, "before", "a string");
        await until(() => socket.told.length === 1, "the first event");
        const { id } = socket;
        for (let round = 1; round <= 2; round += 1) {
          socket.told.length = 0;
          await cut(socket, async () => {
            await acked(teller, "tell", room, round, Buffer.from([1, 2]));
            await acked(teller, "tell", room, "last", "string");
            await acked(teller, "send to", id, "you", round);
          });
          assert.equal(socket.recovered, true);
          assert.equal(socket.id, id);
          await acked(teller, "tell", room, "after");
          await until(() => socket.told.length >= 4, `4 events, got ${socket.told.length}`);
          // What is said to it and what is said in a room have no order between them.
          const toIt = socket.told.filter(([first]) => first === "you");
          const inRoom = socket.told.filter(([first]) => first !== "you");
          assert.deepEqual(toIt, [["you", round]]);
          assert.deepEqual(inRoom, [[round, [1, 2]], ["last", "string"], ["after"]]);
          assert.deepEqual(plain(await acked(socket, "keep", "mine")), ["mine", true]);
          assert.deepEqual(await acked(socket, "enter", room), [false], "it never left");
          if (transports.length === 2) {
            const { engine } = socket.io;
            await until(() => engine.transport.name === "websocket", "the upgrade");
          }
        }
        socket.close();
        teller.close();
      });
    });
  }
}

test("what all are told, and some of several rooms, is not missed", async () => {
  const [socket, teller] = [await connect(quick), await connect(quick)];
  await acked(socket, "enter", "tea");
  await cut(socket, async () => {
    teller.emit("tell all", "all");
    await acked(teller, "tell two", "tea", "cake", "some");
  });
  assert.equal(socket.recovered, true);
  await until(() => socket.told.length >= 2, `2 events, got ${socket.told.length}`);
  assert.deepEqual(socket.told.sort(), [["all"], ["some"]]);
  socket.close();
  teller.close();
});

test("who has heard nothing yet comes back, too", async () => {
  const [socket, teller] = [await connect(quick), await connect(quick)];
  await acked(socket, "enter", "silent");
  await cut(socket, () => acked(teller, "tell", "silent", "first"));
  assert.equal(socket.recovered, true);
  await until(() => socket.told.length === 1, "the first event");
  socket.close();
  teller.close();
});

test("each namespace of a connection comes back for itself", async () => {
  const socket = await connect((at, more) => newestIo(at, { transports: ["websocket"], ...more }));
  const guarded = socket.io.socket("/guarded", { auth: { token: "sesame" } });
  await heard(guarded, "welcome");
  const ids = [socket.id, guarded.id];
  const both = heard(guarded, "connect");
  await cut(socket, async () => {});
  await both;
  assert.deepEqual([socket.recovered, guarded.recovered], [true, true]);
  assert.deepEqual([socket.id, guarded.id], ids);
  guarded.close();
  socket.close();
});

test("who says goodbye, or is put out, begins anew", async () => {
  const socket = await connect(quick);
  const { id } = socket;
  socket.disconnect();
  const again = heard(socket, "connect");
  socket.connect();
  await again;
  assert.equal(socket.recovered, false);
  assert.notEqual(socket.id, id);
  const out = heard(socket, "disconnect");
  socket.emit("end me");
  assert.equal((await out)[0], "io server disconnect");
  const anew = heard(socket, "connect");
  socket.connect();
  await anew;
  assert.equal(socket.recovered, false);
  socket.close();
});

test("who comes too late begins anew, and recovers from there", async () => {
  const [socket, teller] = [await connect(quick), await connect(quick)];
  await acked(socket, "enter", "late");
  await acked(teller, "tell", "late", "heard");
  await until(() => socket.told.length === 1, "the first event");
  const { id } = socket;
  await acked(teller, "enter", "late");
  await cut(socket, async () => {
    await acked(teller, "tell", "late", "missed");
    let [{ members }] = await acked(teller, "members", "late");
    assert.deepEqual(members.map((member) => member.session).sort(), [id, teller.id].sort());
    while (members.length > 1) [{ members }] = await acked(teller, "members", "late");
  });
  assert.equal(socket.recovered, false);
  assert.notEqual(socket.id, id);
  socket.told.length = 0;
  // Its offset is one of the session before.
  await acked(socket, "enter", "later");
  await cut(socket, () => acked(teller, "tell", "later", "in time"));
  assert.equal(socket.recovered, true);
  await until(() => socket.told.length === 1, "what it missed");
  assert.deepEqual(socket.told, [["in time"]]);
  socket.close();
  teller.close();
});

test("after a restart of the server all begin anew", async () => {
  const first = await start("socketio-handlers", ["--recovery", "ws://127.0.0.1:0"], 1);
  const at = first.urls[0].replace("ws:", "http:");
  const socket = quick(at, COME_BACK);
  opened.add(socket);
  await heard(socket, "connect");
  socket.emit("tell all", "heard");
  await heard(socket, "told");
  const { id } = socket;
  const lost = heard(socket, "disconnect");
  const again = lost.then(() => heard(socket, "connect"));
  await first.stop("SIGKILL");
  await lost;
  const second = await start("socketio-handlers", ["--recovery", first.urls[0]], 1);
  try {
    await again;
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
    assert.deepEqual(await acked(socket, "enter", "new"), [true]);
  } finally {
    socket.close();
    await second.stop();
  }
});
