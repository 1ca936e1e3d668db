// Words Battle in a real browser, against the real program with short seconds.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { layCable } from "./support/cable.js";
import { startGame } from "./support/server.js";
import { Visitor, openBrowser } from "./support/visitor.js";

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const WAIT_MS = 60_000;
// They all end with the letter that the second half begins with: so there is one for every turn.
const WORDS = ["water", "winter", "wonder", "weather", "wander", "whisper", "wear", "war",
  "river", "radar", "rear", "roar", "rotor", "racer", "rider", "ruler", "razor", "ranger",
  "reader", "roller", "rubber", "runner", "rigor", "rumor", "refer", "rover"];

let browser;
let game;
let visitors = [];

before(async () => {
  [browser, game] = await Promise.all([openBrowser(), startGame("--second-ms", "400")]);
});

afterEach(async () => {
  const faults = await Promise.all(visitors.map((visitor) => visitor.depart()));
  visitors = [];
  assert.deepEqual(faults.flat(), []);
});

after(async () => {
  await Promise.allSettled([browser?.close(), game?.stop()]);
});

/** Somebody at the start page, or at a link. */
async function visit(name, { link = `http://127.0.0.1:${game.page}/`, ...options } = {}) {
  const visitor = await Visitor.arrive(browser, options);
  visitors.push(visitor);
  const { page } = visitor;
  page.setDefaultTimeout(WAIT_MS);
  page.on("response", (response) => {
    if (response.status() >= 400) visitor.faults.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(link);
  await page.locator('#line[data-state="open"]').waitFor();
  await page.getByLabel("Your name").fill(name);
  return visitor;
}

/** Makes a room with the keyboard alone; gives its link. */
async function makeRoom({ page }) {
  await page.getByLabel("Your name").press("Tab");
  await page.keyboard.press("Enter");
  const link = page.getByLabel("Share this link");
  await link.waitFor();
  return link.inputValue();
}

async function seesPlayers({ page }, ...names) {
  const shown = page.locator("#players .who");
  await shown.nth(names.length - 1).waitFor();
  const texts = await shown.evaluateAll((all) => all.map((who) => who.firstChild.textContent));
  assert.deepEqual(texts.toSorted(), names.toSorted());
}

/** Says words whenever it has the turn, with the keyboard alone, until the board is there. */
async function play({ page }, said) {
  const board = page.locator("#board:not([hidden])");
  const turn = page.locator("#word:enabled:focus");
  for (;;) {
    await board.or(turn).first().waitFor();
    if (await board.isVisible()) return;
    const letter = (await page.locator("#letter").textContent()).toLowerCase();
    const word = WORDS.find((one) => one.startsWith(letter) && !said.has(one)) ?? "nothing";
    said.add(word);
    await page.keyboard.type(word);
    await page.keyboard.press("Enter");
    await board.or(page.locator("#word:disabled")).first().waitFor();
  }
}

async function fitsItsWidth({ page }) {
  const [content, window] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  assert.ok(content <= window, `the page is ${content} wide, the window ${window}`);
}

test("two friends, one on a phone, play a game to the end board", async () => {
  const anna = await visit("Anna");
  const link = await makeRoom(anna);
  const bert = await visit("Bert", { link, ...PHONE });
  await fitsItsWidth(bert);
  await bert.page.getByRole("button", { name: /^Join/ }).tap();
  await Promise.all([seesPlayers(anna, "Anna", "Bert"), seesPlayers(bert, "Anna", "Bert")]);
  assert.equal(await bert.page.getByRole("button", { name: "Start the game" }).isVisible(), false);

  await anna.page.getByLabel("Message").fill("hello <b>Bert</b>");
  await anna.page.keyboard.press("Enter");
  await bert.page.getByRole("log").getByText("hello ‹b›Bert‹/b›").waitFor();

  await anna.page.getByLabel("Duration").focus();
  await anna.page.keyboard.press("ArrowLeft");
  await bert.page.getByRole("log").getByText("up to 3 players, 50 seconds").waitFor();
  await anna.page.getByRole("button", { name: "Start the game" }).press("Enter");
  await fitsItsWidth(bert);
  const said = new Set();
  await Promise.all([play(anna, said), play(bert, said)]);

  const found = async ({ page }) => page.locator("#found b").allTextContents();
  const [seen, other] = [await found(anna), await found(bert)];
  assert.ok(seen.length > 0 && seen[0].startsWith("w"), `found: ${seen}`);
  assert.deepEqual(other, seen);
  const points = await anna.page.locator("#players .score").allTextContents();
  assert.equal(points.map(Number).reduce((a, b) => a + b), seen.length);
  assert.equal(await anna.page.getByRole("img", { name: "first place" }).count() > 0, true);
  assert.equal(await anna.page.locator("#medals li").count(), 2);
  await fitsItsWidth(bert);

  // Again, and at once: the maker's button is a press away.
  await anna.page.getByRole("button", { name: "Play again" }).press("Enter");
  await bert.page.getByText("Say hello, it begins in a moment").waitFor();
});

test("a reload and a cut keep the seat", async () => {
  const cable = await layCable(game.page);
  const anna = await visit("Anna", { link: `http://127.0.0.1:${cable.port}/` });
  anna.isCut = true;
  const link = (await makeRoom(anna)).replace(`:${cable.port}/`, `:${game.page}/`);
  const bert = await visit("Bert", { link });
  await bert.page.getByRole("button", { name: /^Join/ }).click();
  await seesPlayers(anna, "Anna", "Bert");
  await bert.page.getByLabel("Message").fill("before");
  await bert.page.keyboard.press("Enter");
  await anna.page.getByRole("log").getByText("before").waitFor();

  await anna.page.reload();
  await seesPlayers(anna, "Anna", "Bert");
  await anna.page.getByText("you, host").waitFor();
  await anna.page.getByRole("log").getByText("before").waitFor();

  cable.cut();
  await anna.page.getByText("Connection lost").waitFor();
  await bert.page.getByText("away").waitFor();
  cable.mend();
  await anna.page.locator('#line[data-state="open"]').waitFor();
  await bert.page.getByText("away").waitFor({ state: "hidden" });
  await anna.page.getByRole("button", { name: "Start the game" }).click();
  await bert.page.getByText("Get ready").waitFor();
  cable.remove();
});

test("two strangers are put together and begin", async () => {
  const [anna, bert] = [await visit("Anna", PHONE), await visit("Bert")];
  await anna.page.getByRole("button", { name: /stranger/ }).tap();
  await anna.page.getByText("Looking for somebody to play with").waitFor();
  await bert.page.getByRole("button", { name: /stranger/ }).click();
  await Promise.all([seesPlayers(anna, "Anna", "Bert"), seesPlayers(bert, "Anna", "Bert")]);
  await anna.page.getByText("Say hello, it begins in a moment").waitFor();
  // Who leaves ends it: the other gets the board.
  await bert.page.getByRole("link", { name: "Words Battle" }).click();
  await bert.page.getByLabel("Your name").waitFor();
  await anna.page.getByRole("heading", { name: "The game is over" }).waitFor();
});

test("names that cannot be are refused in words", async () => {
  const anna = await visit("<b>Anna</b>");
  await makeRoom(anna);
  await anna.page.getByRole("alert").getByText(/a name has 1 to 16/).waitFor();
});
