import { Client, type ConnectOptions } from "./client.js";
import type { AnyEvents } from "./room.js";

/**
 * Connects to a roomcast server: `ws://host:port`, `wss://…`, or the `http(s)` URL of the same. The
 * first connection is not tried again by itself; from then on the client comes back whenever the
 * link is lost, takes its seats again and recovers what it missed.
 *
 * ```ts
 * interface Events {
 *   chat: { text: string };
 * }
 * const client = await connect<Events>("ws://127.0.0.1:7400", { name: "Mina" });
 * const lobby = await client.join("lobby");
 * lobby.on("chat", ({ data, from }) => console.log(from?.name, data.text));
 * await lobby.publish("chat", { text: "hi" });
 * ```
 *
 * @throws RoomcastError `unreachable` if there is no server; `refused` if it does not let the
 * client in; `token` if there is none to show; `invalid` if the URL is none.
 */
export function connect<Events = AnyEvents, Messages = AnyEvents>(
  url: string,
  options: ConnectOptions = {},
): Promise<Client<Events, Messages>> {
  return Client.connect<Events, Messages>(url, options);
}

export { RoomcastError, type ErrorKind } from "./errors.js";
export type {
  Client, ClientChanges, ConnectOptions, CreateOptions, JoinOptions, Message, To,
} from "./client.js";
export type { Codec } from "./codec.js";
export type { Reconnect } from "./backoff.js";
export type { State } from "./driver.js";
export type { Transport } from "./link.js";
export type { Missed, Recovery, RoomEvent } from "./ledger.js";
export type { Unlisten } from "./listeners.js";
export type {
  EventName, Limits, Member, Position, Presence, Resume, Sender,
} from "./protocol.js";
export type {
  AnyEvents, EventOf, History, HistoryOptions, MemberList, NameOf, PublishOptions, Room,
  RoomChanges,
} from "./room.js";
export type { Token, TokenCallback } from "./token.js";
export type { WebSocketClass, WebSocketLike } from "./websocket.js";
