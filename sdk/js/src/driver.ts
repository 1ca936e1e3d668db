// Owns the link, and makes a new one when it is lost.

import { delayMs, type Reconnect } from "./backoff.js";
import type { Codec } from "./codec.js";
import { Deadlines } from "./deadlines.js";
import { refusal, report, RoomcastError, textOf } from "./errors.js";
import { Ledger, type Seated, type Surroundings } from "./ledger.js";
import { Dialer, type Ended, type Link, type Transport, type Way } from "./link.js";
import {
  asCount, asFrame, asText, CANNOT_RESUME, isMap, mayReturn,
  type Frame, type Limits, type Resume,
} from "./protocol.js";
import { Renewal, type TokenCallback } from "./token.js";
import { onWake } from "./wake.js";

/** How long the server may take to answer a sign of life. */
const PROBE_MS = 10_000;

/** The same when there is reason to believe that the link is dead. */
const WAKE_PROBE_MS = 5_000;

/** A link that lived so long was a good one: the next delay begins small again. */
const GOOD_LINK_MS = 5_000;

/** What may be lost is, while so many bytes wait to be written. */
const QUEUED_BYTES_MAX = 256 << 10;

/** How long a farewell may take. */
const FAREWELL_MS = 2_000;

export type State = "connecting" | "open" | "waiting" | "closed";

export interface Settings extends Way {
  token: string | TokenCallback | undefined;
  name: string | undefined;
  data: unknown;
  resume: Resume | undefined;
  reconnect: Reconnect | false;
  connectTimeoutMs: number;
  onFrame: ((direction: "in" | "out", frame: string | Uint8Array) => void) | undefined;
}

/** What `welcome` told. */
export interface Welcome {
  session: string;
  user: string | undefined;
  resumed: boolean;
  pingMs: number;
  limits: Limits;
}

type Outside<Room> = Omit<Surroundings<Room>, "codec" | "write" | "later">;

/** A link that is being introduced. */
interface Introduction {
  token: string | undefined;
  resume: Resume | undefined;
  resolve(): void;
  reject(error: RoomcastError): void;
}

export class Driver<Room extends Seated> {
  readonly #settings: Settings;
  readonly #codec: Codec;
  readonly #tell: (change: string, value: unknown) => void;
  readonly #dialer: Dialer;
  readonly #renewal: Renewal;
  readonly ledger: Ledger<Room>;
  readonly deadlines: Deadlines;
  state: State = "connecting";
  welcome: Welcome | undefined;
  resume: Resume | undefined;
  /** Why it has ended. */
  ended = "";
  #link: Link | undefined;
  #introduction: Introduction | undefined;
  #abort = new AbortController();
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;
  #silence: number | undefined;
  #probing: number | undefined;
  #retry: number | undefined;
  /** The server has said when to come back: no sign of a new network makes it sooner. */
  #isTold = false;
  #stopWaking = (): void => {};

  constructor(settings: Settings, outside: Outside<Room>) {
    this.#settings = settings;
    this.#codec = settings.codec;
    this.#tell = outside.tell;
    this.#dialer = new Dialer(settings);
    this.resume = settings.resume;
    this.deadlines = new Deadlines(WAKE_PROBE_MS, () => this.#wake(false));
    this.#renewal = new Renewal(settings.token, this.deadlines, (token) => this.#refresh(token));
    this.ledger = new Ledger({
      ...outside,
      codec: settings.codec,
      write: (message, mayBeLost) => this.#write(message, mayBeLost),
      later: (ms, then) => void this.deadlines.set(ms, then),
    });
  }

  get transport(): Transport | undefined {
    return this.#link?.transport;
  }

  /** The first connection. It is not tried again by itself: whoever starts wants to know. */
  async start(): Promise<void> {
    try {
      await this.#connect();
    } catch (error) {
      this.#end(textOf(error));
      throw error;
    }
    this.#stopWaking = onWake((isNewNetwork) => this.#wake(isNewNetwork));
  }

  /** Says `bye`, so that all seats are given up at once. */
  async close(reason: string): Promise<void> {
    if (this.state === "closed") return;
    const link = this.#link;
    if (this.state === "open") this.ledger.tell({ type: "bye" });
    this.#link = undefined;
    this.#end(reason);
    if (!link) return;
    const late = new Promise((done) => setTimeout(done, FAREWELL_MS));
    await Promise.race([link.finish(), late]);
  }

  refreshed(token: string): void {
    this.#renewal.replace(token);
  }

  /** Does not wait until it is time to connect again. */
  hurry(): void {
    if (this.state === "waiting") this.#tryAgain();
  }

  #refresh(token: string): void {
    if (this.state !== "open") return;
    try {
      this.ledger.ask({ type: "refresh", token });
    } catch (error) {
      this.#tell("refused", error);
    }
  }

  async #connect(): Promise<void> {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const { connectTimeoutMs, url } = this.#settings;
    const late = this.deadlines.set(connectTimeoutMs, () => {
      const message = `cannot reach ${url.host}: no answer within ${connectTimeoutMs} ms`;
      this.#abort.abort(new RoomcastError("unreachable", message, { retry: true }));
    });
    try {
      const aborted = new Promise<never>((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      });
      await Promise.race([this.#introduced(signal), aborted]);
    } finally {
      this.deadlines.clear(late);
    }
  }

  async #introduced(signal: AbortSignal): Promise<void> {
    const token = await this.#renewal.token();
    if (signal.aborted) return;
    let link: Link | undefined;
    // What the last link still says is nobody's business.
    const mine = (): boolean => link !== undefined && link === this.#link;
    link = await this.#dialer.dial(
      {
        message: (message) => mine() && this.#hear(message),
        ended: (ended) => mine() && this.#lose(ended),
      },
      signal,
    );
    if (signal.aborted) return link.drop();
    this.#link = link;
    signal.addEventListener("abort", () => this.#introduction && link.drop());
    await new Promise<void>((resolve, reject) => {
      this.#introduction = { token, resume: this.resume, resolve, reject };
      this.#hello();
    });
  }

  #hello(): void {
    const { token, resume } = this.#introduction!;
    const { name, data } = this.#settings;
    this.#write(this.#codec.encode({ type: "hello", ref: 0, token, name, resume, data }), false);
  }

  #hear(message: string | Uint8Array): void {
    this.#heardAt = Date.now();
    this.#show("in", message);
    let frame: Frame | undefined;
    try {
      frame = asFrame(this.#codec.decode(message));
    } catch (error) {
      return this.#lose({ message: `the server sent no message: ${textOf(error)}` });
    }
    if (!frame) return;
    if (frame.type === "goodbye") return this.#goodbye(frame);
    if (this.#introduction) return this.#hearAnswer(this.#introduction, frame);
    this.ledger.hear(frame);
  }

  #goodbye(frame: Frame): void {
    const code = asCount(frame.code);
    const message = asText(frame.message) || asText(frame.reason) || "goodbye";
    this.#tell("goodbye", { code, message });
    this.#lose({ code, message, retryMs: asCount(frame.retry_ms) });
  }

  /** The answer to `hello`. */
  #hearAnswer(introduction: Introduction, frame: Frame): void {
    if (frame.type === "welcome") {
      const welcome = asWelcome(frame);
      const secret = asText(frame.resume);
      if (!welcome || secret === undefined) return;
      this.#introduction = undefined;
      this.#open(welcome, secret);
      return introduction.resolve();
    }
    if (frame.type !== "error") return;
    const refused = refusal(frame);
    if (refused.code === CANNOT_RESUME && introduction.resume) {
      // The link stays open for a fresh start.
      introduction.resume = undefined;
      return this.#hello();
    }
    this.#drop();
    introduction.reject(refused);
  }

  #open(welcome: Welcome, secret: string): void {
    const { session, resumed } = welcome;
    const isBack = this.welcome !== undefined;
    this.welcome = welcome;
    this.resume = { session, secret };
    this.#openedAt = Date.now();
    this.#setState("open");
    this.ledger.messageBytesMax = welcome.limits.messageBytes;
    if (isBack) this.#tell("reconnected", { session, resumed, transport: this.transport });
    this.ledger.open(welcome.user === undefined ? session : `user ${welcome.user}`);
    this.#watchSilence();
  }

  #lose(ended: Ended): void {
    const introduction = this.#introduction;
    this.#drop();
    if (introduction) return introduction.reject(asFailure(ended));
    if (Date.now() - this.#openedAt >= GOOD_LINK_MS) this.#attempt = 0;
    const { message, code } = ended;
    this.ledger.lose(message);
    this.#tell("disconnected", { reason: message, code });
    this.#again(asFailure(ended));
  }

  /** Forgets the link, if there is one. */
  #drop(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#introduction = undefined;
    this.deadlines.clear(this.#silence);
    this.deadlines.clear(this.#probing);
    this.#probing = undefined;
    link?.drop();
  }

  #again(failure: RoomcastError): void {
    const { reconnect } = this.#settings;
    if (this.state === "closed") return;
    const isHopeless = !failure.retry || reconnect === false;
    if (isHopeless || this.#attempt >= (reconnect.attemptsMax ?? Infinity)) {
      return this.#end(failure.message);
    }
    const wait = failure.retryAfterMs ?? delayMs(reconnect, this.#attempt);
    this.#isTold = failure.retryAfterMs !== undefined;
    this.#setState("waiting");
    this.#tell("reconnecting", { attempt: this.#attempt, delayMs: Math.round(wait) });
    this.#attempt += 1;
    this.#retry = this.deadlines.set(wait, () => this.#tryAgain());
  }

  #tryAgain(): void {
    this.deadlines.clear(this.#retry);
    this.#setState("connecting");
    this.#connect().catch((error: unknown) => {
      this.#drop();
      this.#again(error instanceof RoomcastError ? error : asFailure({ message: textOf(error) }));
    });
  }

  #end(reason: string): void {
    if (this.state === "closed") return;
    this.ended = reason;
    this.#setState("closed");
    this.#abort.abort(closedError(reason));
    this.#drop();
    this.#renewal.stop();
    this.deadlines.clear(this.#retry);
    this.#stopWaking();
    this.ledger.end(reason);
    this.#tell("closed", { reason });
  }

  #setState(state: State): void {
    if (state === this.state) return;
    this.state = state;
    this.#tell("state", state);
  }

  #write(message: string | Uint8Array, mayBeLost: boolean): void {
    const link = this.#link;
    if (!link || (mayBeLost && link.queuedBytes() > QUEUED_BYTES_MAX)) return;
    this.#show("out", message);
    link.send(message, mayBeLost);
  }

  #show(direction: "in" | "out", frame: string | Uint8Array): void {
    try {
      this.#settings.onFrame?.(direction, frame);
    } catch (error) {
      report(error);
    }
  }

  /** Browsers answer the pings of WebSockets out of sight, so a server that says nothing for its
   * own ping interval is asked for a sign of life. */
  #watchSilence(): void {
    const { pingMs } = this.welcome!;
    if (pingMs === 0) return;
    // The clock may have been set back meanwhile.
    const quiet = Math.max(0, Date.now() - this.#heardAt);
    this.#silence = this.deadlines.set(Math.max(0, pingMs - quiet), () => {
      if (Date.now() - this.#heardAt >= pingMs) this.#probe(PROBE_MS);
      else this.#watchSilence();
    });
  }

  #probe(withinMs: number): void {
    const askedAt = Date.now();
    this.deadlines.clear(this.#probing);
    this.deadlines.clear(this.#silence);
    this.ledger.ask({ type: "ping" });
    this.#probing = this.deadlines.set(withinMs, () => {
      this.#probing = undefined;
      if (this.#heardAt < askedAt) this.#lose({ message: "the server went silent" });
      else this.#watchSilence();
    });
  }

  #wake(isNewNetwork: boolean): void {
    if (isNewNetwork) this.#dialer.forget();
    if (this.state === "open") {
      // One that was asked before a sleep is as good.
      if (this.#probing === undefined) this.#probe(WAKE_PROBE_MS);
      return;
    }
    if (!this.#isTold) this.hurry();
  }
}

/** What a command's caller hears of a client that has ended. */
export function closedError(reason: string): RoomcastError {
  return new RoomcastError("closed", `the client has ended: ${reason}`);
}

function asFailure({ code, message, retryMs }: Ended): RoomcastError {
  const retry = mayReturn(code);
  const kind = retry ? "unreachable" : "closed";
  return new RoomcastError(kind, message, { code, retry, retryAfterMs: retryMs });
}

function asWelcome(frame: Frame): Welcome | undefined {
  const session = asText(frame.session);
  const limits = isMap(frame.limits) ? frame.limits : {};
  if (session === undefined) return undefined;
  return {
    session,
    user: asText(frame.user),
    resumed: frame.resumed === true,
    pingMs: asCount(frame.ping_ms) ?? 25_000,
    limits: {
      messageBytes: asCount(limits.message_bytes) ?? 65_536,
      rooms: asCount(limits.rooms) ?? 128,
      resumeMs: asCount(limits.resume_ms) ?? 0,
    },
  };
}
