// Headless Chromium, and pages of another origin than the server's that load its `/roomcast.js`.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { build } from "esbuild";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

import type * as roomcast from "../../src/index.js";
import type { msgpack } from "../../src/msgpack.js";
import { serve, type Server } from "../support.js";

declare global {
  interface Window {
    roomcast: typeof roomcast & { msgpack: typeof msgpack };
    client: roomcast.Client;
    room: roomcast.Room;
    /** What the room and the client told, in order. */
    told: any[];
  }
}

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const EXAMPLE = new URL("../../../../examples/page/index.html", import.meta.url);

/** Sets the hooks of a test file. */
export class Stage {
  browser!: Browser;
  server!: Server & { quic?: number };
  /** The origin of the pages. */
  origin = "";
  readonly #pages = createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    const at = new URL(request.url!, this.origin);
    if (at.pathname === "/favicon.ico") return void response.writeHead(204).end();
    const example = readFileSync(EXAMPLE, "utf8");
    if (at.pathname === "/") return void response.end("<!doctype html><title>page</title>");
    response.end(example.replaceAll(":7400", `:${at.pathname.slice(1)}`));
  });
  #opened: Page[] = [];

  constructor(schemes = ["ws", "tcp"]) {
    beforeAll(async () => {
      await new Promise<void>((listening) => this.#pages.listen(0, "127.0.0.1", listening));
      this.origin = `http://127.0.0.1:${(this.#pages.address() as AddressInfo).port}`;
      const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
      this.browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
      this.server = await this.serve(schemes, true);
    });
    afterEach(async () => {
      for (const page of this.#opened.splice(0)) await page.context().close();
    });
    afterAll(async () => {
      await this.browser?.close();
      this.#pages.close();
    });
  }

  /** A server that lets these pages connect. */
  serve(schemes = ["ws", "tcp"], forAll = false): Promise<Server> {
    const config = `[http]\norigins = ["${this.origin}"]\n`;
    return serve({ schemes, config, forAll });
  }

  /** A page, at a path of ours, as of another person's browser. */
  async page(path = "/"): Promise<Page> {
    const page = await (await this.browser.newContext()).newPage();
    this.#opened.push(page);
    page.on("pageerror", (error) => expect.soft(String(error)).toBe("no error in the page"));
    await page.goto(this.origin + path);
    return page;
  }

  /** A page with the client in a room, through `port`; `told` collects what it hears. */
  async client(
    room: string,
    { port = this.server.ws, script = "", ...options }: Record<string, any> = {},
  ): Promise<Page> {
    const page = await this.page();
    // The script is the server's own, be it reached through a cable or not.
    if (script) await page.addScriptTag({ content: script });
    else await page.addScriptTag({ url: `http://127.0.0.1:${port}/roomcast.js` });
    await page.evaluate(enter, { url: `http://127.0.0.1:${port}`, room, options });
    return page;
  }
}

/** Runs in the page. */
async function enter(
  { url, room, options }: { url: string; room: string; options: Record<string, any> },
): Promise<void> {
  const { connect, msgpack } = window.roomcast;
  const { codec, ...others } = options;
  const chosen = codec === "msgpack" ? { codec: msgpack } : {};
  const reconnect = { baseMs: 50, capMs: 300 };
  window.told = [];
  window.client = await connect(url, { reconnect, ...others, ...chosen });
  window.room = await window.client.join(room);
  window.room.onAny((event) => window.told.push(event));
  for (const change of ["recovered", "lost", "closed"] as const) {
    window.room.watch(change, (what) => window.told.push({ change, ...what }));
  }
  for (const change of ["disconnected", "reconnected", "goodbye"] as const) {
    window.client.watch(change, (what) => window.told.push({ change, ...what }));
  }
}

/** Waits until the page was told of something with these fields. */
export async function told(page: Page, fields: Record<string, unknown>): Promise<any> {
  const found = await page.waitForFunction((fields) => {
    const has = (thing: any) =>
      Object.entries(fields).every(([key, value]) => {
        return JSON.stringify(thing[key]) === JSON.stringify(value);
      });
    return window.told.find(has);
  }, fields);
  return found.jsonValue();
}

/** What was said in the room, as far as the page has heard it. */
export function said(page: Page): Promise<unknown[]> {
  return page.evaluate(() => {
    const events = window.told.filter(({ change }) => change === undefined);
    return events.map(({ data }) => data.text ?? data);
  });
}

/** The client with MessagePack in one script, as a bundler makes it. */
export async function bundle(): Promise<string> {
  const contents = 'export * from "./src/index.ts"; export * from "./src/msgpack.ts";';
  const resolveDir = new URL("../..", import.meta.url).pathname;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir }, bundle: true, write: false,
    format: "iife", globalName: "roomcast",
  });
  // A script that is put into a page has its own scope only if it says so.
  return `${outputFiles[0]!.text}; window.roomcast = roomcast;`;
}
