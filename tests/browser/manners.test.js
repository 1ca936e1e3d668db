// How the page behaves: by keyboard, on a phone, in the dark, under a policy, fed with nonsense.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { Stage } from "./support/stage.js";

// Without the client, which is at /roomcast.js.
const BYTES_MAX = 39_000;
const pageFile = new URL("../../crates/server/page/index.html", import.meta.url);
const pictures = fileURLToPath(new URL("../../docs/img/", import.meta.url));
const stage = new Stage();

test("everything can be done by keyboard alone", async () => {
  const nc = await stage.socket("keys", "Nick");
  const ada = await stage.visitor();
  await ada.open(stage.server.ws, { room: "keys", name: "Ada" });
  const { keyboard } = ada.page;
  const focused = () => ada.page.evaluate(() => document.activeElement.id);
  assert.equal(await focused(), "name");
  await keyboard.press("Enter");
  await ada.isConnected();
  await ada.page.getByRole("tab", { name: "keys" }).waitFor();
  assert.equal(await focused(), "say");
  await keyboard.type("first line");
  await keyboard.press("Shift+Enter");
  await keyboard.type("second line");
  await keyboard.press("Enter");
  await nc.hears({ data: { text: "first line\nsecond line" } });

  // Back through the page to the rooms: every stop on the way has a name.
  const names = [];
  for (let n = 0; n < 20 && (await focused()) !== "where"; n += 1) {
    await keyboard.press("Shift+Tab");
    names.push(await ada.page.evaluate(nameOfFocused));
  }
  assert.ok(names.every(Boolean), `a stop without a name: ${JSON.stringify(names)}`);
  await keyboard.type("keys-too");
  await keyboard.press("Enter");
  await ada.page.getByRole("tab", { name: "keys-too", selected: true }).waitFor();
  await ada.page.getByRole("tab", { name: "keys-too" }).focus();
  await keyboard.press("ArrowLeft");
  await ada.page.getByRole("tab", { name: "keys", exact: true, selected: true }).waitFor();
  await ada.sees("first line\nsecond line");
});

/** Runs in the page: what a screen reader calls the focused element. */
function nameOfFocused() {
  const node = document.activeElement;
  const label = node.labels?.[0]?.textContent || node.ariaLabel || node.textContent;
  const by = document.getElementById(node.getAttribute("aria-labelledby"))?.textContent;
  return (label || by || "").trim();
}

test("what is said is announced, and so is the state of the connection", async () => {
  const cable = await stage.cable();
  const ada = await stage.visit("aloud", "Ada", { port: cable.port });
  ada.isCut = true;
  assert.equal(await ada.log.count(), 1);
  cable.cut();
  await ada.page.getByRole("status").getByText("Connection lost. Reconnecting.").waitFor();
  cable.mend();
  await ada.page.getByRole("status").getByText("Resumed: nothing missed").waitFor();
});

test("a refused name brings the person back to the door with the reason", async () => {
  const ada = await stage.visitor();
  await ada.page.routeWebSocket(/\/ws$/, (ws) => ws.onMessage((frame) => {
    const { ref } = JSON.parse(frame);
    const refusal = { code: 4003, reason: "invalid_name", message: "`name`: not this one" };
    ws.send(JSON.stringify({ type: "error", ref, ...refusal, retry: false }));
  }));
  await ada.open(stage.server.ws, { room: "x", name: "Ada" });
  await ada.page.getByRole("button", { name: "Enter" }).click();
  await ada.page.locator("#refused").getByText("`name`: not this one").waitFor();
});

test("nonsense from the wire does no harm", async () => {
  const ada = await stage.visitor();
  await ada.page.routeWebSocket(/\/ws$/, (ws) => {
    const server = ws.connectToServer();
    ws.onMessage((frame) => server.send(frame));
    server.onMessage((frame) => {
      ws.send(frame);
      for (const garbage of nonsense) ws.send(garbage);
    });
  });
  await ada.enter(stage.server.ws, { room: "nonsense", name: "Ada" });
  await ada.say("still here");
  await ada.sees("still here");
  await ada.seesPeople("Ada");
  const nc = await stage.socket("nonsense", "Nick");
  await ada.seesPeople("Ada", "Nick");
  nc.chat("nonsense", "hello");
  await ada.sees("hello");
  assert.deepEqual(await ada.said(), ["still here", "hello"]);
});

const at = { epoch: "x", offset: -1 };
const nonsense = [
  "null", "[]", "7", '"text"', "{}", '{"type":7}', '{"type":"__proto__"}',
  '{"type":"constructor"}', '{"type":"toString","room":"nonsense"}',
  ...["event", "member_joined", "member_left", "member_dropped", "presence", "joined"].flatMap(
    (type) => [{}, { room: 7 }, { room: "nonsense" }, { room: "nonsense", from: 7, at: 7 },
      { room: "nonsense", member: {}, from: { session: 4 }, at: { epoch: 1, offset: "2" } }]
      .map((fields) => JSON.stringify({ type, ...fields }))),
  JSON.stringify({ type: "event", room: "nowhere", event: "chat", data: { text: "no" }, at }),
  JSON.stringify({ type: "rooms", ref: 999_999, rooms: [null, 7, {}, { room: {} }] }),
];

test("on a phone everything fits, and rooms and people are a touch away", async () => {
  const phone = { viewport: { width: 360, height: 720 }, isMobile: true, hasTouch: true };
  const nc = await stage.socket("phone", "Nick");
  const ada = await stage.visit("phone", "Ada", phone);
  nc.chat("phone", `${"long".repeat(60)} ${"words ".repeat(40)}`);
  await ada.page.locator(".said").waitFor();
  await ada.page.getByRole("button", { name: "People", exact: true }).tap();
  await ada.page.locator("#people-list").getByText("Nick").waitFor();
  const [scroll, client] = await ada.page.evaluate(() => {
    const root = document.documentElement;
    return [root.scrollWidth, root.clientWidth];
  });
  assert.ok(scroll <= client, `${scroll} px wide content in ${client} px`);
  await ada.page.keyboard.press("Escape");
  assert.equal(await ada.page.locator("#people").isVisible(), false);
  await ada.page.getByRole("button", { name: "Rooms", exact: true }).tap();
  await ada.page.getByRole("textbox", { name: "Join or make a room" }).waitFor();
});

test("the frames can be watched and sent, with the secrets masked", async () => {
  const ada = await stage.visit("frames", "Ada");
  await ada.page.getByRole("button", { name: "Frames", exact: true }).click();
  const tape = ada.page.locator("#tape");
  await tape.getByText(/^→ .*"type":"hello"/).waitFor();
  const welcome = await tape.getByText(/^← .*"type":"welcome"/).textContent();
  assert.match(welcome, /"resume":"•••"/);
  const raw = ada.page.getByRole("textbox", { name: "A frame, as JSON" });
  await raw.fill('{"type":"presence","room":"frames"}');
  await raw.press("Enter");
  await tape.getByText(/^→ .*"type":"presence"/).waitFor();
  await tape.getByText(/^← .*"type":"presence".*"users":1/).waitFor();
  await raw.fill("no JSON");
  await raw.press("Enter");
  await ada.page.getByRole("alert").getByText("This is no JSON").waitFor();
});

test("the page is small, one file, and keeps to the policy it is served with", async () => {
  const source = readFileSync(pageFile, "utf8");
  assert.ok(Buffer.byteLength(source) <= BYTES_MAX, `${Buffer.byteLength(source)} bytes`);
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
  assert.doesNotMatch(source, /<[^>]+\s(on\w+|style)\s*=/i);
  assert.doesNotMatch(source, /(?:src|href|url\()\s*=?\s*["']?https?:/i);
  const ada = await stage.visit("policy", "Ada");
  const headers = ada.response.headers();
  assert.match(headers["content-type"], /^text\/html; *charset=utf-8/i);
  const policy = headers["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /script-src[^;]*'unsafe-(inline|eval)'/);
});

// With PICTURES=1 the pictures of the documentation are taken anew.
test("light, dark and small, the page shows a talk between page and socket", async () => {
  const nc = await stage.socket("lobby", "nc");
  const phone = { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true };
  const mina = await stage.visit("lobby", "Mina", { viewport: { width: 1040, height: 640 } });
  const jonas = await stage.visit("lobby", "Jonas", { colorScheme: "dark", ...phone });
  await mina.say("Good morning from a browser.");
  await jonas.sees("Good morning from a browser.");
  nc.chat("lobby", "And from a terminal: one line of JSON through nc.");
  await jonas.sees("And from a terminal: one line of JSON through nc.");
  await jonas.say("I lost my connection in the tunnel, and got every message when I came back.");
  nc.say({ type: "publish", room: "lobby", event: "move", data: { x: 3, y: 7 } });
  await mina.sees('move {"x":3,"y":7}');
  await mina.say("Same order for all of us.");
  await jonas.sees("Same order for all of us.");
  await mina.seesPeople("nc", "Mina", "Jonas");
  const ground = (visitor) => visitor.page.evaluate(() => getComputedStyle(document.body).color);
  assert.notEqual(await ground(mina), await ground(jonas));
  if (!process.env.PICTURES) return;
  await mina.page.screenshot({ path: `${pictures}page.png` });
  await jonas.page.screenshot({ path: `${pictures}page-phone.png` });
});
