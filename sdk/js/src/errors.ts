import { asCount, asText, type Frame } from "./protocol.js";

/**
 * - `refused`: the server said no; `code` and `reason` say why, `retry` whether it may pass.
 * - `timeout`: no answer in time. Whether the command was carried out is not known.
 * - `disconnected`: the link was lost before the answer came; just as unknown. The client is
 *   connecting again.
 * - `closed`: the client has ended and will not connect again.
 * - `unreachable`: nobody answers at the address, or not as a roomcast server does.
 * - `token`: the token callback gave none.
 * - `invalid`: an argument cannot be sent.
 * - `full`: too many commands wait for their answers.
 */
export type ErrorKind =
  | "refused" | "timeout" | "disconnected" | "closed" | "unreachable" | "token" | "invalid"
  | "full";

/** What can go wrong, by what the caller does next. */
export class RoomcastError extends Error {
  readonly kind: ErrorKind;
  /** The number of the protocol, if the server refused or closed the link. */
  readonly code: number | undefined;
  /** The word of the protocol, if the server refused. */
  readonly reason: string | undefined;
  /** Whether the same may succeed later. */
  readonly retry: boolean;
  /** When trying again makes sense, if the server knows. */
  readonly retryAfterMs: number | undefined;

  constructor(kind: ErrorKind, message: string, more: Partial<RoomcastError> = {}) {
    super(message);
    this.name = "RoomcastError";
    this.kind = kind;
    this.code = more.code;
    this.reason = more.reason;
    this.retry = more.retry ?? false;
    this.retryAfterMs = more.retryAfterMs;
  }
}

/** The server's `error` as an error. */
export function refusal(frame: Frame): RoomcastError {
  const code = asCount(frame.code);
  const reason = asText(frame.reason);
  const message = `${asText(frame.message) ?? "refused"} (${reason}, ${code})`;
  const retry = frame.retry === true;
  const retryAfterMs = asCount(frame.retry_ms);
  return new RoomcastError("refused", message, { code, reason, retry, retryAfterMs });
}

/** The text of whatever was thrown. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A fault in the application's own code: seen by its console, and by nobody else. */
export function report(error: unknown): void {
  if (typeof reportError === "function") return reportError(error);
  setTimeout(() => {
    throw error;
  });
}
