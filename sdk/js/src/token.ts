import type { Deadlines } from "./deadlines.js";
import { RoomcastError, textOf } from "./errors.js";

/** How long to wait before a token is asked for again that could not be had, or lasts no longer. */
const AGAIN_MS = 5_000;

/** A token, and how long it is good from now on. */
export interface Token {
  token: string;
  lastsMs?: number;
}

/** Asked for each new link, and before a token ends of which it is known when. */
export type TokenCallback = () => string | Token | Promise<string | Token>;

/** The token of a client, and when the next one is due. */
export class Renewal {
  #source: string | TokenCallback | undefined;
  readonly #deadlines: Deadlines;
  readonly #refresh: (token: string) => void;
  #due: number | undefined;

  constructor(
    source: string | TokenCallback | undefined,
    deadlines: Deadlines,
    refresh: (token: string) => void,
  ) {
    this.#source = source;
    this.#deadlines = deadlines;
    this.#refresh = refresh;
  }

  /** The token for a new link. */
  async token(): Promise<string | undefined> {
    if (typeof this.#source !== "function") return this.#source;
    this.stop();
    try {
      return this.#take(await this.#source());
    } catch (error) {
      throw new RoomcastError("token", `no token: ${textOf(error)}`, { retry: true });
    }
  }

  /** Takes the place of a fixed token from now on. */
  replace(token: string): void {
    if (typeof this.#source !== "function") this.#source = token;
  }

  stop(): void {
    this.#deadlines.clear(this.#due);
  }

  #take(given: string | Token): string {
    const { token, lastsMs } = typeof given === "string" ? { token: given } : given;
    // Without one the client would be somebody else: anonymous.
    if (typeof token !== "string") throw new Error("the callback gave none");
    this.stop();
    // One that lasts for ever is not replaced.
    if (Number.isFinite(lastsMs)) this.#next(Math.max(AGAIN_MS, lastsMs! * 0.8));
    return token;
  }

  #next(inMs: number): void {
    this.#due = this.#deadlines.set(inMs, () => {
      const due = this.#due;
      this.token().then(
        (token) => token !== undefined && this.#refresh(token),
        () => due === this.#due && this.#next(AGAIN_MS),
      );
    });
  }
}
