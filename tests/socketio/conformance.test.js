// What the protocol documents of Engine.IO (revision 4) and Socket.IO (revision 5) ask of a server,
// at the example that is made for it, said byte by byte.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { start } from "./support/server.js";

const PING_INTERVAL_MS = 300;
const PING_TIMEOUT_MS = 200;
const SEPARATOR = "\x1e";
let server, http, engine;

before(async () => {
  const flags = ["--socketio", "ws://127.0.0.1:0", "--engineio", "ws://127.0.0.1:0"];
  server = await start("socketio-conformance", flags, 2);
  [http, engine] = server.urls.map((url) => url.replace("ws:", "http:"));
});
after(() => server?.stop());

const polling = (base, query = "") => `${base}/socket.io/?EIO=4&transport=polling${query}`;
const socketUrl = (base, query = "") =>
  `${base.replace("http:", "ws:")}/socket.io/?EIO=4&transport=websocket${query}`;

async function handshake(base) {
  const response = await fetch(polling(base));
  assert.equal(response.status, 200);
  const text = await response.text();
  assert.equal(text[0], "0");
  return JSON.parse(text.slice(1));
}

/** A WebSocket whose messages are kept until they are asked for. */
function open(url) {
  const ws = new WebSocket(url);
  const messages = [];
  const waiting = [];
  ws.on("message", (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    const waiter = waiting.shift();
    if (waiter) waiter(message);
    else messages.push(message);
  });
  ws.on("error", () => {});
  ws.next = () =>
    messages.length
      ? Promise.resolve(messages.shift())
      : new Promise((resolve) => waiting.push(resolve));
  ws.closed = new Promise((resolve) => ws.on("close", resolve));
  return ws;
}

/** The next message that is no ping. */
async function said(ws) {
  for (;;) {
    const message = await ws.next();
    if (message !== "2") return message;
    ws.send("3");
  }
}

async function connected(auth = "") {
  const ws = open(socketUrl(http));
  await said(ws);
  ws.send(`40${auth}`);
  assert.match(await said(ws), /^40\{"sid":"[^"]+"\}$/);
  assert.match(await said(ws), /^42\["auth",/);
  return ws;
}

test("the handshake tells the session and the times, by polling and by WebSocket", async () => {
  const ws = open(socketUrl(http));
  const first = await ws.next();
  assert.equal(first[0], "0");
  for (const [hello, upgrades] of [
    [await handshake(http), ["websocket"]],
    [JSON.parse(first.slice(1)), []],
  ]) {
    assert.equal(typeof hello.sid, "string");
    assert.deepEqual(hello.upgrades, upgrades);
    assert.equal(hello.pingInterval, PING_INTERVAL_MS);
    assert.equal(hello.pingTimeout, PING_TIMEOUT_MS);
    assert.equal(hello.maxPayload, 1_000_000);
  }
  ws.close();
});

test("requests that are none are refused", async () => {
  const path = `${http}/socket.io/`;
  const queries = ["", "?transport=polling", "?EIO=abc&transport=polling", "?EIO=4"];
  for (const query of [...queries, "?EIO=4&transport=abc"]) {
    assert.equal((await fetch(path + query)).status, 400, query);
  }
  for (const method of ["POST", "PUT"]) {
    assert.equal((await fetch(polling(http), { method })).status, 400, method);
  }
  assert.equal((await fetch(polling(http, "&sid=abc"))).status, 400);
  const ws = open(`${http.replace("http:", "ws:")}/socket.io/?EIO=4&transport=abc`);
  await ws.closed;
});

test("polling carries several packets a body, and ends with a close", async () => {
  const { sid } = await handshake(http);
  const at = polling(http, `&sid=${sid}`);
  const post = (body) => fetch(at, { method: "POST", body });
  assert.equal(await (await post("40")).text(), "ok");
  let got = "";
  while (!got.includes('42["auth",{}]')) got += SEPARATOR + (await (await fetch(at)).text());
  assert.equal((await post(`42["message","a"]${SEPARATOR}42["message","b"]`)).status, 200);
  while (!got.includes('"b"]')) got += SEPARATOR + (await (await fetch(at)).text());
  const echoed = got.split(SEPARATOR).filter((packet) => packet.includes("message-back"));
  assert.deepEqual(echoed, ['42["message-back","a"]', '42["message-back","b"]']);
  const pending = fetch(at);
  await post("1");
  await pending;
  assert.equal((await fetch(at)).status, 400, "the session is over");
});

test("a second poll at the same time ends both", async () => {
  const { sid } = await handshake(http);
  const polls = [fetch(polling(http, `&sid=${sid}`)), fetch(polling(http, `&sid=${sid}`))];
  const results = (await Promise.all(polls)).map((response) => response.status).sort();
  assert.deepEqual(results, [200, 400]);
  assert.equal((await fetch(polling(http, `&sid=${sid}`))).status, 400);
});

test("a body beyond max_payload is refused", async () => {
  const { sid } = await handshake(http);
  const body = `4${"x".repeat(1_000_001)}`;
  const posted = fetch(polling(http, `&sid=${sid}`), { method: "POST", body });
  const response = await posted.catch(() => {});
  assert.ok(!response || response.status >= 400);
});

test("the server pings one interval after the last pong, and ends who is silent", async () => {
  const ws = open(socketUrl(http));
  await ws.next();
  for (let round = 0; round < 3; round += 1) {
    const began = performance.now();
    assert.equal(await ws.next(), "2");
    const waited = performance.now() - began;
    assert.ok(waited > PING_INTERVAL_MS * 0.8 && waited < PING_INTERVAL_MS + 500, `${waited} ms`);
    ws.send("3");
  }
  const began = performance.now();
  await ws.closed;
  assert.ok(performance.now() - began < PING_INTERVAL_MS + PING_TIMEOUT_MS + 700);
});

test("a session moves from polling to WebSocket", async () => {
  const { sid } = await handshake(http);
  const at = polling(http, `&sid=${sid}`);
  await fetch(at, { method: "POST", body: "40" });
  let got = "";
  while (!got.includes('42["auth"')) got += SEPARATOR + (await (await fetch(at)).text());
  const ws = open(socketUrl(http, `&sid=${sid}`));
  await new Promise((resolve) => ws.on("open", resolve));
  ws.send("2probe");
  assert.equal(await ws.next(), "3probe");
  const released = await fetch(at);
  assert.equal(released.status, 200);
  ws.send("5");
  ws.send('42["message","over"]');
  assert.equal(await said(ws), '42["message-back","over"]');
  assert.equal((await fetch(at)).status, 400, "no more polling");
  ws.close();
});

test("namespaces are joined with and without auth, unknown ones are refused", async () => {
  const ws = open(socketUrl(http));
  await said(ws);
  ws.send('40{"token":"123"}');
  assert.match(await said(ws), /^40\{"sid":/);
  assert.equal(await said(ws), '42["auth",{"token":"123"}]');
  ws.send('40/custom,{"token":"abc"}');
  const [first, second] = [await said(ws), await said(ws)];
  assert.match(first, /^40\/custom,/);
  assert.equal(second, '42/custom,["auth",{"token":"abc"}]');
  ws.send("40/random");
  assert.equal(await said(ws), '44/random,{"message":"Invalid namespace"}');
  ws.send("41/custom,");
  ws.send('42["message","still here"]');
  assert.equal(await said(ws), '42["message-back","still here"]');
  ws.close();
});

test("who joins no namespace in time, or says what has no place, is closed", async () => {
  const silent = open(socketUrl(http));
  void (async () => {
    for (;;) await said(silent);
  })();
  await silent.closed;
  for (const packet of ["4abc", '42["message","too early"]', "4", '42{"a":1}', '49["x"]']) {
    const ws = open(socketUrl(http));
    await said(ws);
    if (packet !== '42["message","too early"]') {
      ws.send("40");
      await said(ws);
      await said(ws);
    }
    ws.send(packet);
    void (async () => {
      for (;;) await said(ws);
    })();
    await ws.closed;
  }
});

test("events and acknowledgements come back as they went, binary data with them", async () => {
  const ws = await connected();
  ws.send('42["message",1,"2",{"3":[true]}]');
  assert.equal(await said(ws), '42["message-back",1,"2",{"3":[true]}]');
  ws.send('42456["message-with-ack",1,"2",{"3":[false]}]');
  assert.equal(await said(ws), '43456[1,"2",{"3":[false]}]');
  const place = (num) => `{"_placeholder":true,"num":${num}}`;
  ws.send(`452-["message",${place(0)},${place(1)}]`);
  ws.send(Buffer.from([1, 2, 3]));
  ws.send(Buffer.from([4, 5, 6]));
  assert.equal(await said(ws), `452-["message-back",${place(0)},${place(1)}]`);
  assert.deepEqual([...(await said(ws))], [1, 2, 3]);
  assert.deepEqual([...(await said(ws))], [4, 5, 6]);
  ws.send(`452-789["message-with-ack",${place(0)},${place(1)}]`);
  ws.send(Buffer.from([1, 2, 3]));
  ws.send(Buffer.from([4, 5, 6]));
  assert.equal(await said(ws), `462-789[${place(0)},${place(1)}]`);
  assert.deepEqual([...(await said(ws))], [1, 2, 3]);
  assert.deepEqual([...(await said(ws))], [4, 5, 6]);
  ws.close();
});

test("Engine.IO by itself echoes texts and bytes", async () => {
  const base = engine.replace(/\/$/, "");
  const path = base.replace("http:", "ws:");
  const ws = open(`${path}/engine.io/?EIO=4&transport=websocket`);
  assert.equal((await ws.next())[0], "0");
  ws.send("4hello");
  assert.equal(await said(ws), "4hello");
  ws.send(Buffer.from([1, 2, 3]));
  assert.deepEqual([...(await said(ws))], [1, 2, 3]);
  ws.close();
  const at = `${base}/engine.io/?EIO=4&transport=polling`;
  const { sid } = JSON.parse((await (await fetch(at)).text()).slice(1));
  await fetch(`${at}&sid=${sid}`, { method: "POST", body: "4test\x1ebAQIDBA==" });
  const got = [];
  while (got.length < 2) {
    got.push(...(await (await fetch(`${at}&sid=${sid}`)).text()).split(SEPARATOR));
  }
  assert.deepEqual(got.filter((packet) => packet !== "2"), ["4test", "bAQIDBA=="]);
});
