// A person at the page: headless Chromium with a fresh profile, and what a test asks of it.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const WAIT_MS = 15_000;
const flags = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

export function openBrowser() {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  return chromium.launch({ executablePath, headless: true, args: flags });
}

export class Visitor {
  /** Errors that a broken connection cannot avoid: the browser itself reports them. */
  static #unavoidable = /WebSocket connection to .* failed|net::ERR_/;

  /** A page of its own, as of another person's browser. Nothing is opened yet. */
  static async arrive(browser, options = {}) {
    const viewport = { width: 1100, height: 700 };
    const context = await browser.newContext({ viewport, ...options });
    const visitor = new Visitor();
    visitor.page = await context.newPage();
    visitor.page.setDefaultTimeout(WAIT_MS);
    visitor.faults = [];
    visitor.isCut = false;
    visitor.page.on("pageerror", (error) => visitor.faults.push(String(error.stack || error)));
    visitor.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) visitor.faults.push(message.text());
    });
    await visitor.page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    return visitor;
  }

  async open(port, { room, name }) {
    const wish = new URLSearchParams({ room, name });
    this.response = await this.page.goto(`http://127.0.0.1:${port}/?${wish}`);
  }

  async enter(port, wish) {
    await this.open(port, wish);
    await this.page.getByRole("button", { name: "Enter" }).click();
    await this.isConnected();
    await this.page.getByRole("tab", { name: wish.room }).waitFor();
  }

  async isConnected() {
    await this.page.locator('#state[data-phase="open"]').waitFor();
  }

  async say(text) {
    await this.box.fill(text);
    await this.box.press("Enter");
  }

  get box() {
    return this.page.getByRole("textbox", { name: /^Message/ });
  }

  get log() {
    return this.page.getByRole("log");
  }

  /** The texts said in the open tab, in order, without what is still being sent. */
  said() {
    return this.log.locator(".text").allTextContents();
  }

  async sees(text) {
    await this.log.getByText(text, { exact: true }).first().waitFor();
  }

  async seesState(words) {
    await this.page.locator("#state").getByText(words).waitFor();
  }

  async seesPeople(...names) {
    const shown = () => this.page.locator("#people-list bdi").allTextContents();
    const deadline = Date.now() + WAIT_MS;
    while ((await shown()).join() !== names.join() && Date.now() < deadline) {
      await this.page.waitForTimeout(50);
    }
    assert.deepEqual(await shown(), names);
  }

  /** Ends the visit; returns what the page complained about, which no test expects. */
  async depart() {
    await this.page.context().close();
    return this.faults.filter((text) => !(this.isCut && Visitor.#unavoidable.test(text)));
  }
}
