// WebTransport in a real browser, and the way back to a WebSocket.
import { expect, test } from "vitest";

import { socketIn } from "../support.js";
import { bundle, said, Stage, told } from "./stage.js";

const SCHEMES = ["ws", "tcp", "quic"];
const stage = new Stage(SCHEMES);

test.each(["json", "msgpack"])("a talk by WebTransport, reliable and not (%s)", async (codec) => {
  const room = `talk ${codec}`;
  const nick = await socketIn(room, "Nick", stage.server.tcp);
  const script = codec === "msgpack" ? await bundle() : "";
  const ada = await stage.client(room, { name: "Ada", codec, script });
  expect(await ada.evaluate(() => window.client.transport)).toBe("webtransport");
  const text = "ü".repeat(10_000);
  await ada.evaluate((text) => window.room.publish("chat", { text }), text);
  await nick.hears({ data: { text }, from: { name: "Ada" } });
  for (let n = 0; n < 100; n += 1) nick.chat(room, `${n} ${"é".repeat(n * 20)}`);
  await told(ada, { data: { text: `99 ${"é".repeat(1980)}` } });
  const heard = (await said(ada)) as string[];
  const numbers = heard.slice(1).map((text) => parseInt(text));
  expect(numbers).toEqual(Array.from({ length: 100 }, (_, n) => n));
  await ada.evaluate(() => window.room.publish("move", [3, 7], { reliable: false }));
  await nick.hears({ event: "move", reliable: false });
  nick.say({ type: "publish", room, event: "move", data: [4, 8], reliable: false });
  await told(ada, { event: "move", reliable: false, data: [4, 8] });
});

test("a server that stops says goodbye by WebTransport, too", async () => {
  const first = await stage.serve(SCHEMES);
  const ada = await stage.client("again", { port: first.ws, name: "Ada" });
  expect(await ada.evaluate(() => window.client.transport)).toBe("webtransport");
  await first.stop();
  expect((await told(ada, { change: "goodbye" })).code).toBe(4802);
  expect((await told(ada, { change: "disconnected" })).code).toBe(4802);
});

test("where WebTransport fails there is the WebSocket", async () => {
  const page = await stage.page();
  await page.addScriptTag({ url: `http://127.0.0.1:${stage.server.ws}/roomcast.js` });
  let offers = 0;
  await page.route("**/webtransport", async (route) => {
    offers += 1;
    const offer = await (await route.fetch()).json();
    // A certificate that the server does not have.
    const headers = { "access-control-allow-origin": "*" };
    await route.fulfill({ json: { ...offer, hash: btoa("\0".repeat(32)) }, headers });
  });
  const url = `http://127.0.0.1:${stage.server.ws}`;
  const transport = await page.evaluate(async (url) => {
    const client = await window.roomcast.connect(url, { name: "Ada" });
    await (await client.join("plain")).publish("chat", 1);
    return client.transport;
  }, url);
  expect([transport, offers]).toEqual(["websocket", 1]);
  const refused = await page.evaluate(async (url) => {
    const only = { transport: "webtransport" } as const;
    return window.roomcast.connect(url, only).then(() => "", ({ kind }) => kind);
  }, url);
  expect(refused).toBe("unreachable");
});

test("closing gives the seat up at once", async () => {
  const nick = await socketIn("bye", "Nick", stage.server.tcp);
  const ada = await stage.client("bye", { name: "Ada" });
  await ada.evaluate(() => window.client.close());
  const left = await nick.hears({ type: "member_left", room: "bye" });
  expect(left.reason).toBe("left");
});
