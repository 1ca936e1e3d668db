// Rooms over plain HTTP in a real browser: its EventSource comes back by itself, to what it missed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "./support/stage.js";

const stage = new Stage();

/** A page of the server's own origin with nothing of its own; `t` ends it. */
async function blank(t, port) {
  const page = await stage.browser.newPage();
  t.after(() => page.close());
  await page.goto(`http://127.0.0.1:${port}/health/live`);
  return page;
}

/** Waits until the page has heard so many. */
const heard = (page, count) =>
  page.waitForFunction((count) => window.heard.length >= count, count, { polling: 50 });

test("an EventSource goes on where its connection broke", async (t) => {
  const cable = await stage.cable();
  const nick = await stage.socket("feed", "Nick");
  const page = await blank(t, cable.port);
  await page.evaluate(() => {
    window.heard = [];
    window.joined = [];
    const source = new EventSource("/sse?room=feed&name=Ada");
    source.addEventListener("joined", (event) => window.joined.push(JSON.parse(event.data)));
    source.addEventListener("event", (event) =>
      window.heard.push(JSON.parse(event.data).data.text),
    );
  });
  await nick.hears({ type: "member_joined", member: { name: "Ada" } });
  nick.chat("feed", "one");
  await heard(page, 1);
  cable.cut();
  await nick.hears({ type: "member_left", from: { name: "Ada" } });
  nick.chat("feed", "two");
  nick.chat("feed", "three");
  cable.mend();
  await heard(page, 3);
  nick.chat("feed", "four");
  await heard(page, 4);
  assert.deepEqual(await page.evaluate(() => window.heard), ["one", "two", "three", "four"]);
  const joined = await page.evaluate(() => window.joined);
  assert.deepEqual(joined.map(({ recovered }) => recovered), [undefined, true]);
});

test("who has no WebSocket speaks by POST", async (t) => {
  const nick = await stage.socket("posts", "Nick");
  const page = await blank(t, stage.server.ws);
  await page.evaluate(() => {
    window.heard = [];
    const source = new EventSource("/sse");
    source.onmessage = async ({ data }) => {
      const frame = JSON.parse(data);
      window.heard.push(frame);
      if (frame.type !== "open") return;
      const commands = [
        { type: "hello", ref: 1, name: "Ada" },
        { type: "join", ref: 2, room: "posts" },
        { type: "publish", ref: 3, room: "posts", event: "chat", data: { text: "hi" } },
      ];
      const body = commands.map((command) => JSON.stringify(command)).join("\n");
      const { status } = await fetch(`/sse/${frame.line}`, { method: "POST", body });
      window.heard.push({ type: `status ${status}` });
    };
  });
  await nick.hears({ type: "event", data: { text: "hi" }, from: { name: "Ada" } });
  await heard(page, 6);
  const kinds = await page.evaluate(() => window.heard.map(({ type }) => type).sort());
  assert.deepEqual(kinds, ["event", "joined", "ok", "open", "status 204", "welcome"]);
});
