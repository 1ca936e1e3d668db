// A scripted server behind a WebSocket that is none: the test says what it hears and what it
// answers, on a virtual clock.
import { vi } from "vitest";

import { connect } from "../../src/index.js";
import type { Client, ConnectOptions, WebSocketClass } from "../../src/index.js";

export const SESSION = "AAAAAAAAAAAAAAAAAAAAAA";
export const LIMITS = { message_bytes: 1000, rooms: 128, resume_ms: 60_000 };

type Frame = Record<string, any>;

export const at = (offset: number, epoch = "AAAAAAAA"): Frame => ({ epoch, offset });

export function event(offset: number, more: Frame = {}): Frame {
  const said = { room: "lobby", event: "chat", data: { n: offset }, at: at(offset) };
  return { type: "event", ...said, ...more };
}

/** One link that a client has dialled. */
export class Line {
  binaryType = "";
  bufferedAmount = 0;
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  readonly heard: Frame[] = [];
  closedWith: number | undefined | null = null;

  constructor(readonly url: string, readonly protocol: string) {}

  send(message: string): void {
    this.heard.push(JSON.parse(message));
  }

  /** The client closes it. */
  close(code?: number): void {
    this.closedWith = code;
    queueMicrotask(() => this.onclose?.({ code: code ?? 1005, reason: "" }));
  }

  async open(): Promise<void> {
    this.onopen?.({});
    await settle();
  }

  /** The first frame of this type that was not taken yet. */
  take(type: string): Frame {
    const found = this.heard.findIndex((frame) => frame.type === type);
    if (found < 0) throw new Error(`no ${type} among ${JSON.stringify(this.heard)}`);
    return this.heard.splice(found, 1)[0]!;
  }

  async say(...frames: (Frame | string)[]): Promise<void> {
    for (const frame of frames) {
      const data = typeof frame === "string" ? frame : JSON.stringify(frame);
      this.onmessage?.({ data });
    }
    await settle();
  }

  async answer(type: string, reply: Frame): Promise<Frame> {
    const asked = this.take(type);
    await this.say({ ...reply, ref: asked.ref });
    return asked;
  }

  async welcome(secret: string, more: Frame = {}): Promise<Frame> {
    await this.open();
    const told = { session: SESSION, resume: secret, resumed: false, rooms: [], ping_ms: 25_000 };
    return this.answer("hello", { type: "welcome", ...told, limits: LIMITS, ...more });
  }

  letJoin(offset: number, more: Frame = {}): Promise<Frame> {
    const told = { room: "lobby", position: at(offset), members: 1 };
    return this.answer("join", { type: "joined", ...told, ...more });
  }

  refuse(type: string, code: number, reason: string, more: Frame = {}): Promise<Frame> {
    const told = { code, reason, message: `${reason}!`, retry: false };
    return this.answer(type, { type: "error", ...told, ...more });
  }

  async break(code = 1006): Promise<void> {
    this.onclose?.({ code, reason: "" });
    await settle();
  }
}

/** A server without a network, and how to connect to it. */
export class Fake {
  readonly lines: Line[] = [];
  readonly options: ConnectOptions;
  #taken = 1;

  constructor(options: ConnectOptions = {}) {
    const { lines } = this;
    class FakeSocket extends Line {
      constructor(url: string, protocol: string) {
        super(url, protocol);
        lines.push(this);
      }
    }
    const WebSocket = FakeSocket as unknown as WebSocketClass;
    this.options = { WebSocket, transport: "websocket", ...options };
  }

  /** The link that was dialled last. */
  get line(): Line {
    return this.lines.at(-1)!;
  }

  async connect<E = any>(more: Frame = {}): Promise<Client<E>> {
    const connecting = connect<E>("ws://fake:7400", this.options);
    await settle();
    await this.line.welcome("secret-1", more);
    return connecting;
  }

  /** The next link, after whatever delay: it may be there already. */
  async next(): Promise<Line> {
    for (let n = 0; n < 100 && this.lines.length === this.#taken; n += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
    }
    this.#taken = this.lines.length;
    return this.line;
  }

  /** The next link, on which the session is resumed. */
  async resumed(): Promise<Line> {
    const line = await this.next();
    const hello = await line.welcome("secret-2", { resumed: true });
    if (hello.resume?.secret !== "secret-1") throw new Error(JSON.stringify(hello));
    return line;
  }
}

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** Everything that came, for a test to look at. */
export function collect<T>(listen: (listener: (value: T) => void) => unknown): T[] {
  const all: T[] = [];
  listen((value) => all.push(value));
  return all;
}
