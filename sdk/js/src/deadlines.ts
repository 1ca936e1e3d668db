/** A timer that comes so much too late was asleep with its tab, or with the machine. */
const ASLEEP_MS = 2_000;

interface Entry {
  at: number;
  then(): void;
  isSpared: boolean;
}

/**
 * All timers of one client behind one of the system. After a sleep none of them is taken at its
 * word: what arrived meanwhile still waits to be read, so each gets a grace period, and the client
 * is told. It gets one only: in a hidden tab timers may come once a minute, each as after a
 * sleep.
 */
export class Deadlines {
  readonly #graceMs: number;
  readonly #slept: () => void;
  readonly #entries = new Map<number, Entry>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wakeAt = Infinity;
  #count = 0;
  #skewMs = 0;

  constructor(graceMs: number, slept: () => void) {
    this.#graceMs = graceMs;
    this.#slept = slept;
  }

  /** Calls `then` in `ms`, unless it is cleared by the number that is returned. */
  set(ms: number, then: () => void): number {
    // What is no number would never be due, and would hold up what is.
    const at = this.#now() + (ms || 0);
    this.#count += 1;
    this.#entries.set(this.#count, { at, then, isSpared: false });
    if (at < this.#wakeAt) this.#arm(at);
    return this.#count;
  }

  clear(id: number | undefined): void {
    if (id === undefined || !this.#entries.delete(id) || this.#entries.size > 0) return;
    clearTimeout(this.#timer);
    this.#wakeAt = Infinity;
  }

  #now(): number {
    return Date.now() + this.#skewMs;
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    const now = this.#now();
    // A timer of the system takes 2^31 - 1 ms at most, and fires at once above.
    this.#wakeAt = Math.min(at, now + 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#wake(), Math.max(0, this.#wakeAt - now));
  }

  #wake(): void {
    const late = this.#now() - this.#wakeAt;
    // Somebody has set the clock back; the timer itself counts what passed.
    if (late < 0) this.#skewMs -= late;
    const now = this.#now();
    const asleep = late > ASLEEP_MS;
    this.#wakeAt = Infinity;
    for (const entry of this.#entries.values()) {
      if (!asleep || entry.isSpared || entry.at > now + this.#graceMs) continue;
      entry.at = now + this.#graceMs;
      entry.isSpared = true;
    }
    for (const [id, { at, then }] of [...this.#entries]) {
      if (at <= now && this.#entries.delete(id)) then();
    }
    const next = Math.min(...Array.from(this.#entries.values(), ({ at }) => at));
    if (next < this.#wakeAt) this.#arm(next);
    if (asleep) this.#slept();
  }
}
