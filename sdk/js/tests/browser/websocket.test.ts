// The file that the server has at /roomcast.js in a real browser, over WebSockets.
import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { cableTo, socketIn } from "../support.js";
import { bundle, said, Stage, told } from "./stage.js";

const stage = new Stage();

test("the page of ten lines: two of them chat", async () => {
  const [mina, jonas] = [
    await stage.page(`/${stage.server.ws}`), await stage.page(`/${stage.server.ws}`),
  ];
  const nick = await socketIn("lobby", "Nick", stage.server.tcp);
  for (const page of [mina, jonas]) {
    await page.getByPlaceholder("Say something").fill("hello");
    await page.waitForFunction(() => document.forms[0]!.onsubmit);
    await page.keyboard.press("Enter");
    await nick.hears({ event: "chat", data: { text: "hello" }, from: { name: "Mina" } });
  }
  nick.chat("lobby", "<b>not bold</b>");
  for (const page of [mina, jonas]) {
    await page.getByText("Nick: <b>not bold</b>", { exact: true }).waitFor();
    expect(await page.getByText("Mina: hello", { exact: true }).count()).toBeGreaterThan(0);
  }
});

test("presence, history and members from a page", async () => {
  const nick = await socketIn("ask", "Nick", stage.server.tcp);
  nick.chat("ask", "before");
  const page = await stage.client("ask", { name: "Ada" });
  const answers = await page.evaluate(async () => {
    const { client, room } = window;
    const at = await room.publish("chat", { text: "mine" });
    const { events } = await room.history();
    const { members } = await room.members();
    const presence = await room.presence();
    return { at, events, members, presence, transport: client.transport };
  });
  expect(answers.events.map(({ data }) => data.text)).toEqual(["before", "mine"]);
  expect(answers.events[1]!.at).toEqual(answers.at);
  expect(answers.members.map(({ name }) => name)).toEqual(["Nick", "Ada"]);
  expect(answers.presence).toEqual({ members: 2, users: 2 });
  expect(answers.transport).toBe("websocket");
});

test("MessagePack from a bundle: bytes stay bytes", async () => {
  const page = await stage.client("pack", { script: await bundle(), codec: "msgpack" });
  const data = await page.evaluate(async () => {
    const heard = new Promise<any>((resolve) => window.room.on("raw", resolve));
    await window.room.publish("raw", { bytes: Uint8Array.from([0, 255]) });
    const { data } = await heard;
    return [data.bytes instanceof Uint8Array, [...data.bytes]];
  });
  expect(data).toEqual([true, [0, 255]]);
});

test("a cut cable: what was missed comes once and in order, what was said once", async () => {
  const cable = await cableTo(stage.server.ws);
  const nick = await socketIn("cut", "Nick", stage.server.tcp);
  const ada = await stage.client("cut", { port: cable.port, name: "Ada" });
  nick.chat("cut", "before");
  await told(ada, { data: { text: "before" } });
  cable.cut();
  await nick.hears({ type: "member_dropped", room: "cut" });
  const all = ["before"];
  for (let n = 0; n < 50; n += 1) all.push(`away ${n}`);
  for (const text of all.slice(1)) nick.chat("cut", text);
  const saying = ada.evaluate(() => window.room.publish("chat", { text: "own" }));
  cable.mend();
  await told(ada, { change: "recovered" });
  const own = await saying;
  expect(own?.offset).toBe(52);
  await told(ada, { data: { text: "own" } });
  expect(await said(ada)).toEqual([...all, "own"]);
  expect((await told(ada, { change: "reconnected" })).resumed).toBe(true);
});

/** The browser's own switch between online and offline. */
async function networkOf(page: Page) {
  const browser = await page.context().newCDPSession(page);
  await browser.send("Network.enable");
  return async (offline: boolean) => {
    const speed = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
    await browser.send("Network.emulateNetworkConditions", { offline, ...speed });
    await page.waitForFunction((offline) => navigator.onLine !== offline, offline);
  };
}

test("a network that comes back is tried at once, however long the delay", async () => {
  const cable = await cableTo(stage.server.ws);
  const nick = await socketIn("offline", "Nick", stage.server.tcp);
  const never = { reconnect: { baseMs: 600_000, capMs: 600_000 } };
  const ada = await stage.client("offline", { port: cable.port, name: "Ada", ...never });
  await ada.evaluate(() => (Math.random = () => 0.9));
  const offline = await networkOf(ada);
  await offline(true);
  cable.cut();
  await nick.hears({ type: "member_dropped", room: "offline" });
  cable.mend();
  nick.chat("offline", "away");
  await told(ada, { change: "disconnected" });
  await offline(false);
  await told(ada, { data: { text: "away" } });
  expect(await said(ada)).toEqual(["away"]);
});

test("a link that died in silence is noticed when the network is another", async () => {
  const cable = await cableTo(stage.server.ws);
  const nick = await socketIn("silent", "Nick", stage.server.tcp);
  const ada = await stage.client("silent", { port: cable.port, name: "Ada" });
  const offline = await networkOf(ada);
  cable.silence();
  nick.chat("silent", "away");
  await offline(true);
  await offline(false);
  await told(ada, { data: { text: "away" } });
  const lost = await told(ada, { change: "disconnected" });
  expect(lost.reason).toBe("the server went silent");
  expect((await told(ada, { change: "reconnected" })).resumed).toBe(true);
});

test("a tab that slept through a loss comes back at once, with everything", async () => {
  const cable = await cableTo(stage.server.ws);
  const nick = await socketIn("sleep", "Nick", stage.server.tcp);
  const ada = await stage.client("sleep", { port: cable.port, name: "Ada" });
  const browser = await ada.context().newCDPSession(ada);
  // Headless pages are never hidden, and only hidden ones are frozen. Stopped is the same to the
  // client: no timer fires, nothing is read, and the clock goes on.
  await browser.send("Debugger.enable");
  await browser.send("Debugger.pause");
  nick.chat("sleep", "while it sleeps");
  cable.cut();
  await nick.hears({ type: "member_dropped", room: "sleep" });
  for (let n = 0; n < 20; n += 1) nick.chat("sleep", `away ${n}`);
  cable.mend();
  // Longer than any delay of this client: were it awake, it would be back.
  await new Promise((passed) => setTimeout(passed, 1_500));
  nick.say({ type: "members", ref: 7, room: "sleep" });
  const { members } = await nick.hears({ type: "members", ref: 7 });
  expect(members[1]).toMatchObject({ name: "Ada", dropped: true });
  await browser.send("Debugger.resume");
  await told(ada, { data: { text: "away 19" } });
  const all = ["while it sleeps", ...Array.from({ length: 20 }, (_, n) => `away ${n}`)];
  expect(await said(ada)).toEqual(all);
});

test("a server that is started anew is told as a new epoch", async () => {
  const first = await stage.serve();
  const cable = await cableTo(first.ws);
  const ada = await stage.client("again", { port: cable.port, name: "Ada" });
  await ada.evaluate(() => window.room.publish("chat", { text: "to the first" }));
  await first.stop();
  expect((await told(ada, { change: "goodbye" })).code).toBe(4802);
  const second = await stage.serve();
  cable.mend(second.ws);
  expect((await told(ada, { change: "lost" })).reason).toBe("epoch");
  expect((await told(ada, { change: "reconnected" })).resumed).toBe(false);
  const nick = await socketIn("again", "Nick", second.tcp);
  await ada.evaluate(() => window.room.publish("chat", { text: "to the second" }));
  await nick.hears({ data: { text: "to the second" }, from: { name: "Ada" } });
  expect(await said(ada)).toEqual(["to the first", "to the second"]);
});

test("a page whose origin may not connect is refused, and told so", async () => {
  const closed = stage.server;
  const page = await stage.page();
  await page.goto(`http://localhost:${new URL(stage.origin).port}/`);
  await page.addScriptTag({ url: `http://127.0.0.1:${closed.ws}/roomcast.js` });
  const error = await page.evaluate(async (port) => {
    const error = await window.roomcast.connect(`http://127.0.0.1:${port}`).catch((e) => e);
    return { kind: error.kind, retry: error.retry };
  }, closed.ws);
  expect(error).toEqual({ kind: "unreachable", retry: true });
});
