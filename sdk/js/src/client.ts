import { randomText, type Reconnect } from "./backoff.js";
import { json, type Codec } from "./codec.js";
import { closedError, Driver, type State } from "./driver.js";
import { RoomcastError, textOf } from "./errors.js";
import type { Command, RoomEvent } from "./ledger.js";
import { serverUrl, type Transport } from "./link.js";
import { Listeners, type Unlisten } from "./listeners.js";
import {
  asCount, asEventName, asPosition, asSender, asText, isMap, listOf,
  type EventName, type Frame, type Limits, type Position, type Resume, type Sender,
} from "./protocol.js";
import { Room, type AnyEvents, type NameOf } from "./room.js";
import type { TokenCallback } from "./token.js";
import type { WebSocketClass } from "./websocket.js";

export interface ConnectOptions {
  /** Proves who the user is; a function is asked for each new link, and before its token ends. */
  token?: string | TokenCallback;
  /** The display name that others see. */
  name?: string;
  /** For the server's own code. */
  data?: unknown;
  /** Default: JSON. */
  codec?: Codec;
  /** Default: `auto`, WebTransport where browser and server have it, else a WebSocket. */
  transport?: Transport | "auto";
  /** When to connect again; `false`: never. */
  reconnect?: Reconnect | false;
  /** How long a command waits for its answer, lost links included. Default: 10,000. */
  ackTimeoutMs?: number;
  /** How long connecting may take, each time. Default: 10,000. */
  connectTimeoutMs?: number;
  /** Sees every frame as it goes on the wire or comes off it, secrets included: for tools. */
  onFrame?: (direction: "in" | "out", frame: string | Uint8Array) => void;
  /** Takes up a session of before: `client.resume`, kept over a reload of the page. */
  resume?: Resume;
  /** Where there is none (node below 22): the class of the package `ws`. */
  WebSocket?: WebSocketClass;
}

/** What becomes of the client and its link. */
export interface ClientChanges<Events = AnyEvents> {
  state: State;
  disconnected: { reason: string; code?: number };
  reconnecting: { attempt: number; delayMs: number };
  /** `resumed`: it is the session from before; else others saw it leave and join anew. */
  reconnected: { session: string; resumed: boolean; transport: Transport };
  /** The server gave a seat unasked: in a lobby, or by its own code. */
  joined: Room<Events>;
  /** A command that nobody waits for was refused: a new token, something unreliable. */
  refused: RoomcastError;
  /** The server is about to close the link. */
  goodbye: { code?: number; message: string };
  /** So many messages were dropped because nobody listened. */
  unread: { missed: number };
  /** It will not connect again. */
  closed: { reason: string };
}

/** One thing said to this session, its user or its namespace. */
export interface Message<Data = any, Name extends EventName = EventName> {
  event: Name;
  data: Data;
  /** Absent: the server said it. */
  from?: Sender;
}

/** Whom a message or a kick is for. */
export type To = { session: string } | { user: string };

export interface JoinOptions {
  /** The last position seen: everything after it comes first. */
  since?: Position;
  /** What the other members see of this one; at most 4 KiB. */
  data?: unknown;
}

export interface CreateOptions {
  /** Without it the server makes up a name that nobody can guess. */
  room?: string;
  /** Room options that differ from the namespace's. */
  options?: Record<string, unknown>;
}

type Answer = (data: any) => unknown;

/** Most things that are held for a client until somebody listens. */
const HELD_MAX = 256;

/** Most calls of the server that are answered at the same time; more are refused. */
const ANSWERING_MAX = 256;

/** Longest error that the server takes. */
const ERROR_BYTES_MAX = 255;

/** A connection to a roomcast server that survives the loss of its link. */
export class Client<Events = AnyEvents, Messages = AnyEvents> {
  readonly #driver: Driver<Room<any>>;
  readonly #listeners: Listeners;
  readonly #ackTimeoutMs: number;
  readonly #answers = new Map<EventName, Answer>();
  #answering = 0;
  readonly #keys = randomText();
  #keyCount = 0;

  private constructor(url: string, options: ConnectOptions) {
    const { token, name, data, resume, reconnect = {}, connectTimeoutMs = 10_000 } = options;
    const { codec = json, transport = "auto", WebSocket, ackTimeoutMs = 10_000 } = options;
    this.#ackTimeoutMs = ackTimeoutMs;
    this.#listeners = new Listeners(HELD_MAX, (missed) => ["unread", { missed }]);
    const way = { url: serverUrl(url), codec, transport, WebSocket };
    const own = { token, name, data, resume, reconnect, connectTimeoutMs };
    const settings = { ...way, ...own, onFrame: options.onFrame };
    const port = {
      ask: (command: Command) => this.#ask(command),
      tell: (command: Command) => this.#tell(command),
      nextKey: () => this.#nextKey(),
    };
    this.#driver = new Driver(settings, {
      room: (full, joined) => new Room(port, full, joined),
      tell: (change, value) => this.#listeners.tell(change, value),
      message: (frame) => this.#hearMessage(frame),
      call: (frame) => void this.#answer(frame),
    });
  }

  /** See `connect`. @internal */
  static async connect<E, M>(url: string, options: ConnectOptions): Promise<Client<E, M>> {
    const client = new Client<E, M>(url, options);
    await client.#driver.start();
    return client;
  }

  /** The session. It changes when the client connects again and cannot resume. */
  get session(): string {
    return this.#driver.welcome?.session ?? "";
  }

  /** Who the token says the user is. */
  get user(): string | undefined {
    return this.#driver.welcome?.user;
  }

  /** What the server allows this session. */
  get limits(): Limits | undefined {
    return this.#driver.welcome?.limits;
  }

  /** What takes this session up again after a reload. The secret changes with every link. */
  get resume(): Resume | undefined {
    return this.#driver.resume;
  }

  get state(): State {
    return this.#driver.state;
  }

  /** What carries the messages now; nothing while there is no link. */
  get transport(): Transport | undefined {
    return this.#driver.transport;
  }

  /** Takes a seat in a room, which is made if it may be. A second join gives the same room. */
  async join<E = Events>(room: string, options: JoinOptions = {}): Promise<Room<E>> {
    const { since, data } = options;
    return this.#seat(await this.#ask({ type: "join", room, since, data }));
  }

  /** Makes a room without taking a seat. */
  async create(options: CreateOptions = {}): Promise<{ room: string; created: boolean }> {
    const reply = await this.#ask({ type: "create", ...options });
    return { room: asText(reply.room) ?? "", created: reply.created === true };
  }

  /** Makes a room and takes a seat in it. */
  async createAndJoin<E = Events>(options: CreateOptions = {}): Promise<Room<E>> {
    return this.#seat(await this.#ask({ type: "create", ...options, join: true }));
  }

  /** Which rooms a namespace has (its own, if none is named). */
  async rooms(
    namespace?: string,
  ): Promise<{ rooms: { room: string; members: number }[]; truncated: boolean }> {
    const reply = await this.#ask({ type: "rooms", namespace });
    const rooms = listOf(reply.rooms, (item) => {
      const room = isMap(item) ? asText(item.room) : undefined;
      if (room === undefined || !isMap(item)) return undefined;
      return { room, members: asCount(item.members) ?? 0 };
    });
    return { rooms, truncated: reply.truncated === true };
  }

  /** Hears the messages of one name. */
  on<Name extends NameOf<Messages>>(
    event: Name,
    listener: (message: Message<Messages[Name], Name>) => void,
  ): Unlisten {
    return this.#listeners.on(event, listener);
  }

  /** Hears all messages. */
  onAny(listener: (message: Message) => void): Unlisten {
    return this.#listeners.onAny(listener);
  }

  /** Hears what becomes of the client and its link. */
  watch<Change extends keyof ClientChanges>(
    change: Change,
    listener: (what: ClientChanges<Events>[Change]) => void,
  ): Unlisten {
    return this.#listeners.watch(change, listener);
  }

  /** Says something to one session, or to all of a user. Resolves with how many it went to. */
  send(to: To, event: EventName, data?: unknown): Promise<number> {
    return this.#deliver({ type: "send", ...to, event, data });
  }

  /** Says something to every session of a namespace (its own, if none is named). For admins. */
  broadcast(event: EventName, data?: unknown, namespace?: string): Promise<number> {
    return this.#deliver({ type: "broadcast", namespace, event, data });
  }

  /** Says something in a room in the server's name. For admins. */
  async announce(room: string, event: EventName, data?: unknown): Promise<Position | undefined> {
    return asPosition((await this.#ask({ type: "announce", room, event, data })).position);
  }

  /** Puts a member out of a room. For admins. */
  async kick(room: string, who: To, message?: string): Promise<void> {
    await this.#ask({ type: "kick", room, ...who, message });
  }

  /** Closes a room. For admins. */
  async delete(room: string): Promise<void> {
    await this.#ask({ type: "delete", room });
  }

  /** Asks the application behind the server for something of its own. It is not asked again by
   * itself if the link is lost. */
  async call<T = any>(call: EventName, data?: unknown, about: { room?: string } = {}): Promise<T> {
    return (await this.#ask({ type: "call", call, room: about.room, data })).data as T;
  }

  /** Answers calls of the application behind the server; a later answer of the same name takes the
   * place of an earlier one. What it throws is told as the error. */
  onCall<T = any>(call: EventName, answer: (data: T) => unknown): void {
    this.#answers.set(call, answer);
  }

  /** Replaces the token, so that rights go on; it is used for reconnects too. */
  async refresh(token: string): Promise<void> {
    await this.#ask({ type: "refresh", token });
    this.#driver.refreshed(token);
  }

  /** Sends any command of the protocol, and resolves with its reply as it came. */
  request(command: { type: string } & Record<string, unknown>): Promise<Record<string, unknown>> {
    return this.#ask(command);
  }

  /** Connects again now, if the client waits to: for a button. */
  reconnect(): void {
    this.#driver.hurry();
  }

  /** How many milliseconds the way to the server and back takes now. */
  async ping(): Promise<number> {
    const began = performance.now();
    await this.#ask({ type: "ping" });
    return performance.now() - began;
  }

  /** Says `bye`, so that all seats are given up at once, and ends the client. */
  close(): Promise<void> {
    return this.#driver.close("closed by the application");
  }

  #ask(command: Command): Promise<Frame> {
    const { state, ended, ledger, deadlines } = this.#driver;
    if (state === "closed") return Promise.reject(closedError(ended));
    return new Promise((resolve, reject) => {
      let late: number | undefined;
      const giveUp = ledger.ask(command, {
        resolve: (reply) => {
          deadlines.clear(late);
          resolve(reply);
        },
        reject: (error) => {
          deadlines.clear(late);
          reject(error);
        },
      });
      late = deadlines.set(this.#ackTimeoutMs, () => {
        giveUp();
        reject(new RoomcastError("timeout", `no answer within ${this.#ackTimeoutMs} ms`));
      });
    });
  }

  #tell(command: Command): void {
    const { state, ended, ledger } = this.#driver;
    if (state === "closed") throw closedError(ended);
    ledger.tell(command);
  }

  #seat(reply: Frame): Room<any> {
    const room = this.#driver.ledger.seat(asText(reply.room) ?? "");
    if (room) return room;
    throw new RoomcastError("refused", "the seat was taken away at once", { retry: true });
  }

  async #deliver(command: Command): Promise<number> {
    return asCount((await this.#ask(command)).delivered) ?? 0;
  }

  /** One that no other publish has. */
  #nextKey(): string {
    this.#keyCount += 1;
    return `${this.#keys}-${this.#keyCount.toString(16)}`;
  }

  #hearMessage(frame: Frame): void {
    const event = asEventName(frame.event);
    if (event === undefined) return;
    const message: Message = { event, data: frame.data };
    const from = asSender(frame.from);
    if (from) message.from = from;
    this.#listeners.say(event, message);
  }

  async #answer(frame: Frame): Promise<void> {
    const link = this.#driver.welcome;
    const result = (answer: { data?: unknown; error?: string }): void => {
      // Nobody waits for an answer to what was asked on an earlier link.
      if (this.#driver.welcome !== link) return;
      this.#driver.ledger.tell({ type: "result", id: frame.id, ...answer });
    };
    this.#answering += 1;
    try {
      result({ data: await this.#answerOf(frame) });
    } catch (error) {
      result({ error: speakable(textOf(error)) });
    } finally {
      this.#answering -= 1;
    }
  }

  #answerOf(frame: Frame): unknown {
    const answer = this.#answers.get(asEventName(frame.call) ?? "");
    if (!answer) throw new Error("this client answers no calls of this name");
    if (this.#answering > ANSWERING_MAX) throw new Error("this client answers too many calls");
    return answer(frame.data);
  }
}

/** A text that the server takes: neither empty, nor too long, nor with characters that hide. */
function speakable(text: string): string {
  let shown = "";
  let bytes = 0;
  for (const character of text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ")) {
    bytes += new TextEncoder().encode(character).length;
    if (bytes > ERROR_BYTES_MAX) break;
    shown += character;
  }
  return shown.trim() || "no reason was given";
}

export type { RoomEvent };
