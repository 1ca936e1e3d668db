// What the tests against the real binary need; each thing ends with its test.
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";

import { layCable } from "../../../tests/browser/support/cable.js";
import { Lines } from "../../../tests/browser/support/lines.js";
import { startServer } from "../../../tests/browser/support/server.js";
import { connect, type Client, type ConnectOptions, type WebSocketClass } from "../src/index.js";

type End = () => unknown;
const ends: End[] = [];
const lastEnds: End[] = [];

async function endAll(all: End[]): Promise<void> {
  for (const end of all.splice(0).reverse()) await end();
}
afterEach(() => endAll(ends));
afterAll(() => endAll(lastEnds));

export interface Server {
  ws: number;
  tcp: number;
  stop(): Promise<void>;
}

/** A server for one test; `forAll`: for all of its file. */
export async function serve(
  { schemes = ["ws", "tcp"], config = "", forAll = false } = {},
): Promise<Server> {
  const to = forAll ? lastEnds : ends;
  const folder = mkdtempSync(join(tmpdir(), "roomcast-js-"));
  to.push(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "roomcast.toml");
  writeFileSync(file, config);
  const server = (await startServer(schemes, ["--config", file])) as unknown as Server;
  to.push(() => server.stop());
  return server;
}

interface Cable {
  port: number;
  cut(): void;
  silence(): void;
  mend(to?: number): void;
  remove(): void;
}

/** A cable to it that can be cut. */
export async function cableTo(port: number) {
  const cable = (await layCable(port)) as unknown as Cable;
  ends.push(() => cable.remove());
  return cable;
}

/** A client of node; node 20 has no WebSocket of its own. */
export async function clientOf<E = any>(port: number, options: ConnectOptions = {}) {
  const WebSocket = NodeWebSocket as unknown as WebSocketClass;
  const url = `ws://127.0.0.1:${port}`;
  const client: Client<E> = await connect<E>(url, { WebSocket, ...options });
  ends.push(() => client.close());
  return client;
}

/** A member with a bare TCP socket. */
export async function socketIn(room: string, name: string, port: number) {
  const lines = new Lines(port);
  ends.push(() => lines.close());
  await lines.enter(room, name);
  return lines as unknown as Lines & { session: string };
}

/** What comes, and a promise of the first that fits. */
export class Heard<T> {
  readonly all: T[] = [];
  #waiting: { fits(value: T): boolean; resolve(value: T): void }[] = [];

  constructor(listen: (listener: (value: T) => void) => unknown) {
    listen((value) => {
      this.all.push(value);
      for (const { fits, resolve } of this.#waiting) if (fits(value)) resolve(value);
    });
  }

  first(fits: (value: T) => boolean = () => true): Promise<T> {
    const found = this.all.find(fits);
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve) => this.#waiting.push({ fits, resolve }));
  }
}

export const SECRET = "a secret of the tests, which is long enough for HS256";

/** A token as a back end signs it. */
export function tokenOf(sub: string, lasts_s: number, more: object = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const iat = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: "HS256" })}.${part({ sub, iat, exp: iat + lasts_s, ...more })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}
