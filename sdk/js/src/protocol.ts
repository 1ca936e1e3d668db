// What is said on the wire, and what of it is believed. The reference is docs/protocol.md.

/** Where an event stands in its room: an offset says nothing without its epoch. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Who said something, stamped by the server. */
export interface Sender {
  session: string;
  /** Who the token says it is. */
  user?: string;
  /** The display name: what the client says of itself. */
  name?: string;
}

/** A member of a room as the others see it. */
export interface Member<Data = unknown> extends Sender {
  /** What it gave with `join`. */
  data?: Data;
  /** Its link is lost and its seat kept. */
  dropped?: boolean;
}

/** How many are in a room. */
export interface Presence {
  /** Sessions with a seat. */
  members: number;
  /** Users they belong to; each anonymous session counts as one. */
  users: number;
}

/** What the server allows this session. */
export interface Limits {
  messageBytes: number;
  rooms: number;
  /** How long a session without a link is kept. */
  resumeMs: number;
}

/** What takes a session up again. The secret is good for one time: each welcome brings another. */
export interface Resume {
  session: string;
  secret: string;
}

export type EventName = string | number;

/** One map of the protocol, as the codec reads and writes it. */
export type Frame = { type: string; ref?: number } & Record<string, unknown>;

/** A frame with its `type` at least; nothing else about it is known yet. */
export function asFrame(value: unknown): Frame | undefined {
  return isMap(value) && typeof value.type === "string" ? (value as Frame) : undefined;
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function asText(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function asCount(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

export function asEventName(value: unknown): EventName | undefined {
  return asText(value) ?? asCount(value);
}

export function asPosition(value: unknown): Position | undefined {
  if (!isMap(value)) return undefined;
  const epoch = asText(value.epoch);
  const offset = asCount(value.offset);
  return epoch === undefined || offset === undefined ? undefined : { epoch, offset };
}

export function asSender(value: unknown): Sender | undefined {
  if (!isMap(value) || typeof value.session !== "string") return undefined;
  const sender: Sender = { session: value.session };
  if (typeof value.user === "string") sender.user = value.user;
  if (typeof value.name === "string") sender.name = value.name;
  return sender;
}

export function asMember(value: unknown): Member | undefined {
  const member: Member | undefined = asSender(value);
  if (!member || !isMap(value)) return undefined;
  if (value.data !== undefined) member.data = value.data;
  if (value.dropped === true) member.dropped = true;
  return member;
}

export function listOf<T>(value: unknown, as: (item: unknown) => T | undefined): T[] {
  if (!Array.isArray(value)) return [];
  return value.map(as).filter((item) => item !== undefined);
}

/** The refusals that this client acts on; docs/protocol.md, section 11. */
export const CANNOT_RESUME = 4012;
export const NOT_A_MEMBER = 4030;

/**
 * Whether a client connects again after a close code; docs/protocol.md, section 12. No code, 1006
 * and what proxies say between (1001, 1012, 1013) are failures of the network.
 */
export function mayReturn(code: number | undefined): boolean {
  if (code === undefined || code === 0) return true;
  if (code >= 1000 && code < 2000) return ![1000, 1002, 1003, 1007, 1009].includes(code);
  return code >= 4800 && code <= 4819;
}
