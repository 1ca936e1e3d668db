// The chat page over WebTransport in a real browser, and what it does where there is none.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "./support/stage.js";

const stage = new Stage();
const SCHEMES = ["ws", "tcp", "quic"];

/** Datagrams that the server has received. */
async function datagrams(port) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(/^roomcast_datagrams_read_total.* (\d+)$/m.exec(text)[1]);
}

test("the page chats over WebTransport with a TCP member, out of the box", async () => {
  const server = await stage.anotherServer(SCHEMES);
  const nc = await stage.socket("one", "Nick", server.tcp);
  const mina = await stage.visit("one", "Mina", { port: server.ws });
  await mina.seesState("Connected by WebTransport");
  await nc.hears({ type: "member_joined", member: { name: "Mina" } });
  await mina.say("over QUIC");
  await nc.hears({ event: "chat", data: { text: "over QUIC" }, from: { name: "Mina" } });
  nc.chat("one", "over TCP");
  await mina.sees("over TCP");
  assert.deepEqual(await mina.said(), ["over QUIC", "over TCP"]);
  assert.ok(await datagrams(server.ws) > 5);
});

test("what need not arrive comes as a datagram, what must arrive comes in order", async () => {
  const server = await stage.anotherServer(SCHEMES);
  const nc = await stage.socket("two", "Nick", server.tcp);
  const visitor = await stage.visitor();
  await visitor.page.addInitScript(() => {
    window.datagrams = [];
    const getter = Object.getOwnPropertyDescriptor(WebTransportDatagramDuplexStream.prototype,
      "readable").get;
    Object.defineProperty(WebTransportDatagramDuplexStream.prototype, "readable", {
      get() {
        const count = new TransformStream({
          transform(chunk, out) {
            window.datagrams.push(new TextDecoder().decode(chunk));
            out.enqueue(chunk);
          },
        });
        return getter.call(this).pipeThrough(count);
      },
    });
  });
  await visitor.enter(server.ws, { room: "two", name: "Mina" });
  const publish = (text, reliable) => nc.say({
    type: "publish", room: "two", event: "chat", data: { text }, reliable,
  });
  publish("must arrive", true);
  publish("need not arrive", false);
  publish("x".repeat(3000), false);
  publish("the last", true);
  await visitor.sees("must arrive");
  await visitor.sees("need not arrive");
  await visitor.sees("the last");
  await visitor.sees("x".repeat(3000));
  const came = await visitor.page.evaluate(() => window.datagrams);
  assert.equal(came.length, 1);
  assert.equal(JSON.parse(came[0]).data.text, "need not arrive");
});

test("where WebTransport fails the page says so and goes on by WebSocket", async () => {
  const server = await stage.anotherServer(SCHEMES);
  const ada = await stage.visitor();
  ada.isCut = true;
  await ada.page.route("**/webtransport", async (route) => {
    const offer = await (await route.fetch()).json();
    assert.match(offer.url, /^https:\/\/127\.0\.0\.1:\d+\/wt$/);
    // A certificate that the server does not have.
    await route.fulfill({ json: { ...offer, hash: btoa("\0".repeat(32)) } });
  });
  await ada.enter(server.ws, { room: "three", name: "Ada" });
  await ada.seesState("Connected by WebSocket");
  await ada.say("still here");
  await ada.sees("still here");
});

test("without a QUIC listener there is nothing to try", async () => {
  const ada = await stage.visit("four", "Ada");
  await ada.seesState("Connected by WebSocket");
});

test("a server that stops says goodbye to the page", async () => {
  const server = await stage.anotherServer(SCHEMES);
  const ada = await stage.visit("five", "Ada", { port: server.ws });
  ada.isCut = true;
  await ada.seesState("Connected by WebTransport");
  await ada.page.getByRole("button", { name: "Frames", exact: true }).click();
  await server.stop();
  await ada.page.locator("#tape").getByText('"type":"goodbye"').waitFor();
  await ada.seesState(/Reconnecting in \d+ s/);
});
