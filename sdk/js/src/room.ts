import { RoomcastError } from "./errors.js";
import { asEvent, asRecovery, type Command, type Recovery, type RoomEvent } from "./ledger.js";
import { Listeners, type Unlisten } from "./listeners.js";
import {
  asCount, asMember, asPosition, isMap, listOf,
  type EventName, type Frame, type Member, type Position, type Presence, type Sender,
} from "./protocol.js";

/** Events of any name with any data: what there is without a generic parameter. */
export type AnyEvents = Record<EventName, any>;

/** The names of the events of `Events`, a map from names to what they say. */
export type NameOf<Events> = keyof Events & EventName;

/** Any of the events of `Events`; `event` tells which. */
export type EventOf<Events> = {
  [Name in NameOf<Events>]: RoomEvent<Events[Name], Name>;
}[NameOf<Events>];

/** What becomes of a room and of those in it. */
export interface RoomChanges {
  member_joined: Member;
  /** `reason`: `left`, `lost` or `kicked`; `data`: its last word. */
  member_left: { from: Sender; reason?: string; data?: unknown };
  /** Its link is lost; its seat is kept for a while. */
  member_dropped: { from: Sender };
  member_resumed: { from: Sender };
  /** Where the room tells numbers only. */
  presence: Presence;
  /** The client was away and has everything it missed: the events that follow continue those
   * before, without gap or repeat. Those up to `until` were said while it was away. */
  recovered: { recovered: true; until: Position };
  /** Something is missing before the events that follow: read the state of the room anew. `unread`:
   * nobody listened, and the oldest of what was held went. */
  lost: { recovered: false; reason: string; missed?: number };
  /** The seat is gone. `reason`: the server's, or `left`, or `client_closed`; `refused`: why it
   * could not be taken again after the link was lost. */
  closed: { reason?: string; refused?: RoomcastError };
}

export interface PublishOptions {
  /** `false`: may be dropped, and the newest wins; nothing is answered. Default: `true`. */
  reliable?: boolean;
  /** Whether the sender receives its own event. Default: as the room says. */
  echo?: boolean;
  /**
   * An idempotency key: while the room remembers it, a second publish with it is answered but not
   * repeated. Default: one of the client's making, so that a publish goes on over a lost link.
   * `false`: none; it fails with `disconnected` then.
   */
  key?: string | false;
}

export interface HistoryOptions {
  /** The first events after this position; else the newest. */
  since?: Position;
  limit?: number;
}

export interface History<Events> {
  /** Oldest first. */
  events: EventOf<Events>[];
  /** The position of the newest event, listed or not. */
  position: Position | undefined;
  /** Whether everything after `since` was still known, if it was given. */
  recovery: Recovery | undefined;
}

export interface MemberList {
  /** In the order of joining. */
  members: Member[];
  /** There are more than the answer may hold. */
  truncated: boolean;
}

/** The way from a room to its server. */
export interface Port {
  ask(command: Command): Promise<Frame>;
  tell(command: Command): void;
  nextKey(): string;
}

/** Most things that are held for a room until somebody listens. */
const HELD_MAX = 1_024;

/**
 * A seat in a room. It is kept over lost links until `leave`, or until the room is closed.
 *
 * ```js
 * const lobby = await client.join("lobby");
 * lobby.on("chat", ({ data, from }) => console.log(from?.name, data.text));
 * await lobby.publish("chat", { text: "hi" });
 * ```
 */
export class Room<Events = AnyEvents> {
  /** The full name: `lobby`, or `game/lobby` in another namespace than `default`. */
  readonly name: string;
  /** How many were in it when the seat was taken. */
  readonly membersAtJoin: number;
  /** Whether there is a seat, be the link up or not. */
  joined = true;
  /** Of the last event that could not be dropped: where to go on with `since`. */
  position: Position;
  /** @internal */
  readonly listeners: Listeners;
  readonly #port: Port;

  /** @internal */
  constructor(port: Port, name: string, joined: { position: Position; members: number }) {
    this.#port = port;
    this.name = name;
    this.position = joined.position;
    this.membersAtJoin = joined.members;
    this.listeners = new Listeners(HELD_MAX, (missed) => {
      return ["lost", { recovered: false, reason: "unread", missed }];
    });
  }

  /** Hears the events of one name, in the room's order. */
  on<Name extends NameOf<Events>>(
    event: Name,
    listener: (event: RoomEvent<Events[Name], Name>) => void,
  ): Unlisten {
    return this.listeners.on(event, listener);
  }

  /** Hears all events. */
  onAny(listener: (event: EventOf<Events>) => void): Unlisten {
    return this.listeners.onAny(listener);
  }

  /** Hears what becomes of the room and of those in it. */
  watch<Change extends keyof RoomChanges>(
    change: Change,
    listener: (what: RoomChanges[Change]) => void,
  ): Unlisten {
    return this.listeners.watch(change, listener);
  }

  /**
   * Says something. Resolves with its position when the room has taken it; with nothing if the
   * room's logic kept it to itself, or if it is not reliable. Over a lost link it is said again,
   * once, as long as it has a key and its time (`ackTimeoutMs`) is not over.
   */
  async publish<Name extends NameOf<Events>>(
    event: Name,
    ...rest: undefined extends Events[Name]
      ? [data?: Events[Name], options?: PublishOptions]
      : [data: Events[Name], options?: PublishOptions]
  ): Promise<Position | undefined> {
    const [data, { reliable = true, echo, key } = {}] = rest;
    const command: Command = { type: "publish", room: this.name, event, data, echo };
    if (!reliable) {
      this.#port.tell({ ...command, reliable });
      return undefined;
    }
    if (key !== false) command.key = key ?? this.#port.nextKey();
    return asPosition((await this.#port.ask(command)).position);
  }

  /** Who is here. */
  async members(): Promise<MemberList> {
    const reply = await this.#port.ask({ type: "members", room: this.name });
    return { members: listOf(reply.members, asMember), truncated: reply.truncated === true };
  }

  /** How many are here. */
  async presence(): Promise<Presence> {
    const reply = await this.#port.ask({ type: "presence", room: this.name });
    return { members: asCount(reply.members) ?? 0, users: asCount(reply.users) ?? 0 };
  }

  /** What was said here: the newest events, or the first ones after a position. */
  async history(options: HistoryOptions = {}): Promise<History<Events>> {
    const { since, limit } = options;
    const reply = await this.#port.ask({ type: "history", room: this.name, since, limit });
    const asListed = (item: unknown): RoomEvent | undefined =>
      isMap(item) ? asEvent(item) : undefined;
    return {
      events: listOf(reply.events, asListed) as EventOf<Events>[],
      position: asPosition(reply.position),
      recovery: asRecovery(reply),
    };
  }

  /** Gives up the seat; `data` is a last word to the others. */
  async leave(data?: unknown): Promise<void> {
    await this.#port.ask({ type: "leave", room: this.name, data });
  }
}
