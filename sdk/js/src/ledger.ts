// What the client has to remember about its server: which seats it holds, which commands wait for
// an answer. No sockets and no timers here; the driver carries the messages.

import { isLarger, type Codec } from "./codec.js";
import { refusal, RoomcastError, textOf } from "./errors.js";
import type { Listeners } from "./listeners.js";
import {
  asCount, asEventName, asMember, asPosition, asSender, asText, NOT_A_MEMBER,
  type EventName, type Frame, type Position, type Sender,
} from "./protocol.js";

/** Most commands that wait for an answer, or for a link. */
const PENDING_MAX = 1_024;

/** How long to wait before a refused seat is asked for again, if the server does not say. */
const REJOIN_MS = 1_000;

/** What did not come between one event of a room and the next, told from the positions. */
export interface Missed {
  /** Events that could not be dropped: the room's `slow` rule dropped them nevertheless, or they
   * are the client's own, from which it wanted no echo. */
  reliable: number;
  /** Events that could be dropped. */
  unreliable: number;
}

/** One thing said in a room. */
export interface RoomEvent<Data = any, Name extends EventName = EventName> {
  event: Name;
  data: Data;
  /** Absent: the server said it. */
  from?: Sender;
  /** Absent: the room told it to some members only. */
  at?: Position;
  /** `false`: it might as well have been dropped. */
  reliable: boolean;
  missed: Missed;
}

/** Whether everything after a position was still there; else why not. */
export type Recovery =
  | { recovered: true }
  | { recovered: false; reason: "epoch" | "trimmed" | "ahead" | "forbidden" | string };

/** What the ledger knows of a seat's room, and what it tells it. */
export interface Seated {
  readonly listeners: Listeners;
  joined: boolean;
  position: Position;
}

export interface Joined<Room> {
  room: Room;
  position: Position;
  members: number;
  recovery: Recovery | undefined;
}

export type Command = { type: string } & Record<string, unknown>;

interface Seat<Room> {
  room: Room;
  /** The newest event seen, once there was one. */
  newest: { offset: number; unreliable: number } | undefined;
  data: unknown;
  /** It was asked for again, and the answer brings what is missing: what comes before that (in a
   * lobby, whose seat is given unasked) comes once more. */
  rejoins: boolean;
  /** It was refused for a while, and will be asked for again. */
  refused: boolean;
}

interface Pending {
  command: Command;
  /** Absent: the client asks itself, or who asked has given up. */
  asker: Asker | undefined;
  /** As whom it was sent, if it was. */
  sentAs: string | undefined;
}

export interface Asker {
  resolve(reply: Frame): void;
  reject(error: RoomcastError): void;
}

/** What the ledger needs of its surroundings. */
export interface Surroundings<Room> {
  codec: Codec;
  /** Makes the room of a seat. */
  room(name: string, joined: { position: Position; members: number }): Room;
  /** Writes one frame, if there is a link. */
  write(message: string | Uint8Array, mayBeLost: boolean): void;
  /** Has `then` called in a while. */
  later(ms: number, then: () => void): void;
  /** Tells the client's listeners. */
  tell(change: string, value: unknown): void;
  message(frame: Frame): void;
  call(frame: Frame): void;
}

export class Ledger<Room extends Seated> {
  readonly #around: Surroundings<Room>;
  readonly #seats = new Map<string, Seat<Room>>();
  /** By `ref`, so that repeats keep their order. Without a link nothing of it was sent. */
  #pending = new Map<number, Pending>();
  #ref = 0;
  /** Who the server takes the client for; nobody while there is no link. */
  #self: string | undefined;
  messageBytesMax = Infinity;

  constructor(around: Surroundings<Room>) {
    this.#around = around;
  }

  /** Sends a command, now or on the next link; its reply goes to `asker`. Returns how to give up
   * waiting. */
  ask(command: Command, asker?: Asker): () => void {
    if (asker) this.#makeRoom();
    const ref = (this.#ref += 1);
    this.#pending.set(ref, { command, asker, sentAs: this.#self });
    try {
      const message = this.#encode({ ...command, ref });
      if (this.#self !== undefined) this.#around.write(message, false);
    } catch (error) {
      this.#pending.delete(ref);
      throw error;
    }
    return () => {
      const pending = this.#pending.get(ref);
      if (pending?.asker === asker) pending!.asker = undefined;
    };
  }

  /** Sends a command that wants no answer. Nothing is kept for the next link. */
  tell(command: Command): void {
    const message = this.#encode(command);
    const mayBeLost = command.reliable === false;
    if (this.#self !== undefined) this.#around.write(message, mayBeLost);
  }

  /** The link is gone. Commands that may be repeated stay; the others' askers are told. */
  lose(reason: string): void {
    this.#self = undefined;
    const gone = disconnected(reason);
    for (const [ref, { command, asker }] of this.#pending) {
      if (asker && mayRepeat(command)) continue;
      this.#pending.delete(ref);
      asker?.reject(gone);
    }
  }

  /** There is a link: take every seat again, then say what waits. The server carries out one
   * link's commands in order, so no answer need be awaited. `self`: the user, or the session of one
   * who has none. */
  open(self: string): void {
    this.#self = self;
    const waiting = this.#pending;
    this.#pending = new Map();
    const left = new Set<unknown>();
    for (const { command, asker } of waiting.values()) {
      if (asker && command.type === "leave") left.add(command.room);
    }
    for (const room of [...this.#seats.keys()].sort()) {
      if (!left.has(room)) this.#rejoin(room);
    }
    for (const [ref, { command, asker, sentAs = self }] of waiting) {
      if (!asker) continue;
      // A room knows the keys of each user by itself: it would take this for another publish.
      if (sentAs !== self && command.type === "publish") {
        asker.reject(disconnected("and the session with it"));
        continue;
      }
      try {
        this.#around.write(this.#encode({ ...command, ref }), false);
        this.#pending.set(ref, { command, asker, sentAs: self });
      } catch (error) {
        // This server takes less than the last one.
        asker.reject(error as RoomcastError);
      }
    }
  }

  hear(frame: Frame): void {
    const ref = asCount(frame.ref);
    const pending = ref === undefined ? undefined : this.#pending.get(ref);
    if (ref === undefined) return this.#hearPush(frame);
    if (!pending) return;
    this.#pending.delete(ref);
    this.#hearReply(pending, frame);
  }

  /** The client has ended: everybody who waits is told. */
  end(reason: string): void {
    this.#self = undefined;
    const error = new RoomcastError("closed", `the client has ended: ${reason}`);
    for (const { asker } of this.#pending.values()) asker?.reject(error);
    this.#pending.clear();
    for (const name of [...this.#seats.keys()]) this.#dropSeat(name, { reason: "client_closed" });
  }

  seat(room: string): Room | undefined {
    return this.#seats.get(room)?.room;
  }

  #makeRoom(): void {
    if (this.#pending.size < PENDING_MAX) return;
    for (const [ref, { asker }] of this.#pending) if (!asker) this.#pending.delete(ref);
    if (this.#pending.size < PENDING_MAX) return;
    throw new RoomcastError("full", `${PENDING_MAX} commands wait for their answers`, {
      retry: true,
    });
  }

  #encode(frame: Command): string | Uint8Array {
    let message;
    try {
      message = this.#around.codec.encode(frame);
    } catch (error) {
      throw new RoomcastError("invalid", `the data cannot be written: ${textOf(error)}`);
    }
    // The server would close the link at a message above its limit.
    if (!isLarger(message, this.messageBytesMax)) return message;
    const most = `the server takes at most ${this.messageBytesMax} bytes a message`;
    throw new RoomcastError("invalid", `the data is too large: ${most}`);
  }

  #rejoin(name: string): void {
    const seat = this.#seats.get(name);
    if (!seat || this.#self === undefined) return;
    seat.rejoins = true;
    seat.refused = false;
    const { data } = seat;
    try {
      this.ask({ type: "join", room: name, since: seat.room.position, data });
    } catch (error) {
      // This server takes less than the last one.
      this.#dropSeat(name, { refused: error as RoomcastError });
    }
  }

  #hearReply({ command, asker }: Pending, frame: Frame): void {
    const isLeave = command.type === "leave";
    if (frame.type === "joined") this.#take(frame, command);
    if (frame.type !== "error") {
      if (isLeave) this.#dropSeat(command.room as string, { reason: "left" });
      return asker?.resolve(frame);
    }
    const refused = refusal(frame);
    // A repeated `leave` finds no seat if the session began anew.
    if (isLeave && refused.code === NOT_A_MEMBER) {
      this.#dropSeat(command.room as string, { reason: "left" });
      return asker?.resolve(frame);
    }
    if (asker) return asker.reject(refused);
    const seat = command.type === "join" ? this.#seats.get(command.room as string) : undefined;
    if (!seat) return this.#around.tell("refused", refused);
    if (!refused.retry) return this.#dropSeat(command.room as string, { refused });
    seat.rejoins = false;
    seat.refused = true;
    this.#around.later(refused.retryAfterMs ?? REJOIN_MS, () => {
      // Another link may have asked meanwhile.
      if (seat.refused) this.#rejoin(command.room as string);
    });
  }

  /** A seat was taken, or taken again. */
  #take(frame: Frame, command: Command): void {
    const name = asText(frame.room);
    const position = asPosition(frame.position);
    if (name === undefined || !position) return;
    const seat = this.#seatOf(name, frame, position);
    seat.rejoins = false;
    if (command.type === "join") seat.data = command.data;
    const recovery = asRecovery(frame);
    seat.room.position = recovery?.recovered ? (command.since as Position) : position;
    if (!recovery?.recovered) seat.newest = undefined;
    if (!recovery) return;
    if (recovery.recovered) seat.room.listeners.tell("recovered", { ...recovery, until: position });
    else seat.room.listeners.tell("lost", recovery);
  }

  #seatOf(name: string, frame: Frame, position: Position): Seat<Room> {
    let seat = this.#seats.get(name);
    if (!seat) {
      const room = this.#around.room(name, { position, members: asCount(frame.members) ?? 0 });
      seat = { room, newest: undefined, data: undefined, rejoins: false, refused: false };
      this.#seats.set(name, seat);
    }
    return seat;
  }

  #hearPush(frame: Frame): void {
    const name = asText(frame.room);
    const seat = name === undefined ? undefined : this.#seats.get(name);
    switch (frame.type) {
      case "event":
        return seat && this.#hearEvent(seat, frame);
      case "message":
        return this.#around.message(frame);
      case "call":
        return this.#around.call(frame);
      case "error":
        return this.#around.tell("refused", refusal(frame));
      case "joined":
        return this.#given(frame);
      case "room_closed":
        return seat && this.#dropSeat(name!, { reason: asText(frame.reason) });
      default:
        // Newer servers may tell what this version does not know.
        return seat && tellChange(seat.room.listeners, frame);
    }
  }

  /** The server gave a seat unasked. One that is held goes on as it is. */
  #given(frame: Frame): void {
    const name = asText(frame.room);
    const position = asPosition(frame.position);
    if (name === undefined || !position || this.#seats.has(name)) return;
    this.#around.tell("joined", this.#seatOf(name, frame, position).room);
  }

  #hearEvent(seat: Seat<Room>, frame: Frame): void {
    const event = asEvent(frame);
    if (!event) return;
    if (event.at && !this.#isNew(seat, event, event.at, asCount(frame.unreliable) ?? 0)) return;
    seat.room.listeners.say(event.event, event);
  }

  #isNew(seat: Seat<Room>, event: RoomEvent, at: Position, unreliable: number): boolean {
    if (seat.rejoins) return false;
    const { position: last } = seat.room;
    const isSameLog = at.epoch === last.epoch;
    // What can be dropped is not kept either, so it never comes twice.
    if (event.reliable && isSameLog && at.offset <= last.offset) return false;
    if (!isSameLog) seat.newest = undefined;
    if (!seat.newest || seat.newest.offset < at.offset) {
      event.missed = missedBefore(seat.newest, event.reliable, at.offset, unreliable);
      seat.newest = { offset: at.offset, unreliable };
    }
    // As a datagram, what can be dropped overtakes what must arrive, which would be missed after
    // the next loss of the link if that counted here.
    if (event.reliable) seat.room.position = at;
    return true;
  }

  #dropSeat(name: string, why: { reason?: string | undefined; refused?: RoomcastError }): void {
    const seat = this.#seats.get(name);
    if (!seat) return;
    this.#seats.delete(name);
    seat.room.joined = false;
    seat.room.listeners.tell("closed", why);
  }
}

/** An event as it is pushed, or listed in a history. */
export function asEvent(frame: Record<string, unknown>): RoomEvent | undefined {
  const event = asEventName(frame.event);
  if (event === undefined) return undefined;
  const missed = { reliable: 0, unreliable: 0 };
  const told: RoomEvent = { event, data: frame.data, reliable: frame.reliable !== false, missed };
  const from = asSender(frame.from);
  const at = asPosition(frame.at);
  if (from) told.from = from;
  if (at) told.at = at;
  return told;
}

export function asRecovery(frame: Frame): Recovery | undefined {
  if (frame.recovered === true) return { recovered: true };
  if (frame.recovered !== false) return undefined;
  return { recovered: false, reason: asText(frame.reason) ?? "unknown" };
}

/** What lies between the newest event of a seat and one that is newer. */
function missedBefore(
  newest: { offset: number; unreliable: number } | undefined,
  reliable: boolean,
  offset: number,
  unreliable: number,
): Missed {
  if (!newest) return { reliable: 0, unreliable: 0 };
  const all = Math.max(0, offset - newest.offset - 1);
  const counted = unreliable - newest.unreliable - (reliable ? 0 : 1);
  const dropped = Math.min(all, Math.max(0, counted));
  return { reliable: all - dropped, unreliable: dropped };
}

function tellChange(listeners: Listeners, frame: Frame): void {
  const member = asMember(frame.member);
  const from = asSender(frame.from);
  if (frame.type === "member_joined") return member && listeners.tell(frame.type, member);
  if (frame.type === "presence") {
    const [members, users] = [asCount(frame.members), asCount(frame.users)];
    return listeners.tell(frame.type, { members: members ?? 0, users: users ?? 0 });
  }
  if (!from || !/^member_(left|dropped|resumed)$/.test(frame.type)) return;
  listeners.tell(frame.type, { from, reason: asText(frame.reason), data: frame.data });
}

function disconnected(how: string): RoomcastError {
  const message = `the connection was lost before the answer came (${how})`;
  return new RoomcastError("disconnected", message);
}

/** Whether a command that may have been carried out already can be said again. */
function mayRepeat({ type, key }: Command): boolean {
  return type === "leave" || (type === "publish" && key !== undefined);
}
