/** When to connect again after the link was lost. */
export interface Reconnect {
  /** Bound of the first delay; it doubles with every attempt. Default: 250. */
  baseMs?: number;
  /** The bound grows no further than this. Default: 20,000. */
  capMs?: number;
  /** Give up after so many attempts in a row. Default: never. */
  attemptsMax?: number;
}

/**
 * The delay before attempt number `attempt` (from 0): anything from zero to the bound. Full jitter
 * spreads the clients of a server that went away over the whole span; they would come back as one
 * herd otherwise.
 */
export function delayMs(reconnect: Reconnect, attempt: number): number {
  const { baseMs = 250, capMs = 20_000 } = reconnect;
  return Math.random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 31));
}

/** 64 random bits as text. */
export function randomText(): string {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
}
