import { report } from "./errors.js";
import type { EventName } from "./protocol.js";

type Listener = (value: any) => void;

/** Ends what a listener began. */
export type Unlisten = () => void;

/**
 * Who listens: to what is said, by its name, and to what becomes of a room or client. Until the
 * first listener comes, what happens is held for it, so that nothing falls between `await join`
 * and `on`.
 */
export class Listeners {
  #heldMax: number;
  readonly #missed: (missed: number) => [change: string, value: unknown];
  readonly #said = new Map<EventName, Set<Listener>>();
  readonly #saidAny = new Set<Listener>();
  readonly #changes = new Map<string, Set<Listener>>();
  #held: (() => void)[] | undefined = [];
  #dropped = 0;
  #opening = false;

  /** At most `heldMax` things are held; above it the oldest go, told as `missed` says. */
  constructor(heldMax: number, missed: (missed: number) => [change: string, value: unknown]) {
    this.#heldMax = heldMax;
    this.#missed = missed;
  }

  on(event: EventName, listener: Listener): Unlisten {
    return this.#add(setOf(this.#said, event), listener);
  }

  onAny(listener: Listener): Unlisten {
    return this.#add(this.#saidAny, listener);
  }

  watch(change: string, listener: Listener): Unlisten {
    return this.#add(setOf(this.#changes, change), listener);
  }

  say(event: EventName, value: unknown): void {
    this.#deliver(() => {
      call(this.#said.get(event), value);
      call(this.#saidAny, value);
    });
  }

  tell(change: string, value: unknown): void {
    this.#deliver(() => call(this.#changes.get(change), value));
  }

  #deliver(delivery: () => void): void {
    if (!this.#held) return delivery();
    this.#held.push(delivery);
    if (this.#held.length <= this.#heldMax) return;
    this.#held.shift();
    this.#dropped += 1;
  }

  #add(listeners: Set<Listener>, listener: Listener): Unlisten {
    // Of its own, so that one function given twice is called twice and ended one by one.
    const own: Listener = (value) => listener(value);
    listeners.add(own);
    // Not at once: whoever sets several listeners in a row gets everything with all of them.
    if (this.#held && !this.#opening) queueMicrotask(() => this.#open());
    this.#opening = true;
    return () => void listeners.delete(own);
  }

  #open(): void {
    if (this.#dropped > 0) {
      const [change, value] = this.#missed(this.#dropped);
      call(this.#changes.get(change), value);
    }
    // What happens meanwhile goes behind what waits, and nothing of that goes any more.
    this.#heldMax = Infinity;
    for (const delivery of this.#held ?? []) delivery();
    this.#held = undefined;
  }
}

function setOf<K>(sets: Map<K, Set<Listener>>, key: K): Set<Listener> {
  let set = sets.get(key);
  if (!set) sets.set(key, (set = new Set()));
  return set;
}

/** A listener that throws disturbs nobody else. */
function call(listeners: Set<Listener> | undefined, value: unknown): void {
  for (const listener of listeners ?? []) {
    try {
      listener(value);
    } catch (error) {
      report(error);
    }
  }
}
