// The chat page in a real browser, against the real binary, with a bare TCP member beside it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "./support/stage.js";

const stage = new Stage();

test("two pages and a TCP client in one room hear each other", async () => {
  const nc = await stage.socket("one", "Nick");
  const mina = await stage.visit("one", "Mina");
  await nc.hears({ type: "member_joined", member: { name: "Mina" } });
  const jonas = await stage.visit("one", "Jonas");
  await mina.seesPeople("Nick", "Mina", "Jonas");
  await mina.sees("Jonas joined");

  await mina.say("from a page");
  await jonas.sees("from a page");
  await jonas.say("from another");
  await nc.hears({ event: "chat", data: { text: "from another" }, from: { name: "Jonas" } });
  nc.chat("one", "from a socket");
  await mina.sees("from a socket");
  await jonas.sees("from a socket");

  const order = ["from a page", "from another", "from a socket"];
  assert.deepEqual(await mina.said(), order);
  assert.deepEqual(await jonas.said(), order);
  const own = mina.log.locator(".said.mine");
  assert.deepEqual(await own.locator(".text").allTextContents(), ["from a page"]);
  assert.match(await own.locator(".who").textContent(), /Mina\s*you/);
  const other = jonas.log.locator(".said").first();
  assert.equal(await other.locator(".who").textContent(), "Mina");

  nc.close();
  await mina.sees(/^Nick (is gone|lost the connection|left)/);
});

test("a late comer reads what was said before", async () => {
  const nc = await stage.socket("late", "Nick");
  for (let n = 1; n <= 5; n += 1) nc.chat("late", `line ${n}`);
  nc.say({ type: "publish", ref: 9, room: "late", event: "move", data: { x: 3 } });
  await nc.hears({ type: "ok", ref: 9 });
  const ada = await stage.visit("late", "Ada");
  await ada.sees("line 5");
  const expected = ["line 1", "line 2", "line 3", "line 4", "line 5", 'move {"x":3}'];
  assert.deepEqual(await ada.said(), expected);
});

test("markup from a peer is text, in messages, names and rooms", async () => {
  const attack = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
  const room = `<b onclick="window.owned=1">r</b>`.replace("/", "");
  const nc = await stage.socket(room, attack);
  const ada = await stage.visit(room, "Ada");
  nc.chat(room, attack);
  nc.say({ type: "publish", room, event: attack, data: { [attack]: attack } });
  nc.chat(room, "__proto__ \u001b[31m");
  await ada.sees(attack);
  await ada.seesPeople(cut80(attack), "Ada");
  await ada.page.locator("#people-list button:enabled").click();
  await ada.say("hello you");
  await nc.hears({ type: "message", data: { text: "hello you" }, from: { name: "Ada" } });
  const foreign = "main img, main script, aside img, main b, aside script, nav b, #talk [onclick]";
  assert.equal(await ada.page.locator(foreign).count(), 0);
  assert.equal(await ada.page.evaluate(() => window.owned), undefined);
});

const cut80 = (text) => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

test("a direct message reaches one member only and can be answered", async () => {
  const [mina, jonas] = [await stage.visit("dm", "Mina"), await stage.visit("dm", "Jonas")];
  const nc = await stage.socket("dm", "Nick");
  await mina.page.getByRole("button", { name: /Jonas/ }).click();
  await mina.say("just for you");
  await jonas.page.getByRole("tab", { name: "@Mina" }).click();
  await jonas.sees("just for you");
  await jonas.say("thanks");
  await mina.sees("thanks");
  assert.deepEqual(await mina.said(), ["just for you", "thanks"]);
  // Nobody else heard it: the next that Nick hears is what is said to the room.
  await mina.page.getByRole("tab", { name: "dm", exact: true }).click();
  await mina.say("for all");
  const heard = await nc.hears({ data: {} });
  assert.equal(heard.data.text, "for all");
});

test("several rooms: joined, listed, counted, left", async () => {
  const nc = await stage.socket("rooms-b", "Nick");
  const ada = await stage.visit("rooms-a", "Ada");
  await ada.page.locator("#room-list").getByText("rooms-b").click();
  await ada.page.getByRole("tab", { name: "rooms-b", selected: true }).waitFor();
  await nc.hears({ type: "member_joined", room: "rooms-b" });
  await ada.page.getByRole("tab", { name: "rooms-a" }).click();
  nc.chat("rooms-b", "psst");
  await ada.page.getByRole("tab", { name: /rooms-b.*1 unread/ }).waitFor();
  assert.match(await ada.page.title(), /^\(1\) rooms-a/);
  await ada.page.getByRole("tab", { name: /rooms-b/ }).click();
  await ada.page.getByRole("button", { name: "Leave" }).click();
  const left = await nc.hears({ type: "member_left", room: "rooms-b" });
  assert.deepEqual([left.from.name, left.reason], ["Ada", "left"]);
  assert.equal(await ada.page.getByRole("tab").count(), 1);
});

test("after a cut the page resumes and every message is there exactly once", async () => {
  const cable = await stage.cable();
  const nc = await stage.socket("cut", "Nick");
  const ada = await stage.visit("cut", "Ada", { port: cable.port });
  ada.isCut = true;
  nc.chat("cut", "before");
  await ada.sees("before");

  cable.cut();
  await nc.hears({ type: "member_dropped", room: "cut", from: { name: "Ada" } });
  await ada.seesState(/Reconnecting in \d+ s/);
  for (const text of ["one", "two", "three"]) nc.chat("cut", text);
  await ada.say("written while away");
  await ada.page.getByText("sending…").waitFor();
  cable.mend();

  await nc.hears({ type: "member_resumed", room: "cut", from: { name: "Ada" } });
  await ada.seesState("Resumed: recovered 3 missed messages");
  await nc.hears({ data: { text: "written while away" }, from: { name: "Ada" } });
  await ada.sees("written while away");
  nc.chat("cut", "after");
  await ada.sees("after");
  const all = ["before", "one", "two", "three", "written while away", "after"];
  assert.deepEqual(await ada.said(), all);
  await ada.sees("3 messages while you were away");
  assert.equal(await ada.page.locator(".going").count(), 0);
});

test("a reload keeps the session and its seats", async () => {
  const nc = await stage.socket("reload", "Nick");
  const ada = await stage.visit("reload", "Ada");
  nc.chat("reload", "before");
  await ada.sees("before");
  const joined = await nc.hears({ type: "member_joined", member: { name: "Ada" } });
  await ada.page.reload();
  const back = await nc.hears({ type: "member_resumed", from: { name: "Ada" } });
  assert.equal(back.from.session, joined.member.session);
  await ada.sees("before");
  nc.chat("reload", "after");
  await ada.sees("after");
  assert.deepEqual(await ada.said(), ["before", "after"]);
});

test("a server that stops is told, and its successor gets a fresh session", async () => {
  const first = await stage.anotherServer();
  const cable = await stage.cable(first.ws);
  const ada = await stage.visit("again", "Ada", { port: cable.port });
  ada.isCut = true;
  await ada.say("to the first server");
  await ada.sees("to the first server");
  await first.stop();
  await ada.seesState(/Connection lost|Reconnecting/);

  const second = await stage.anotherServer();
  cable.mend(second.ws);
  const nc = await stage.socket("again", "Nick", second.tcp);
  // The page tries again by itself, too, and may be quicker: then the button is gone.
  const click = ada.page.getByRole("button", { name: "Reconnect now" }).click();
  await Promise.any([click, ada.seesState(/^New session/)]);
  await ada.seesState(/^New session/);
  await ada.log.getByText(/^The room began anew/).waitFor();
  await ada.say("to the second server");
  await nc.hears({ data: { text: "to the second server" }, from: { name: "Ada" } });
  await ada.sees("to the second server");
  assert.deepEqual(await ada.said(), ["to the first server", "to the second server"]);
  await ada.seesPeople("Nick", "Ada");
});
