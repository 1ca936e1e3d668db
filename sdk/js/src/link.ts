import type { Codec } from "./codec.js";
import { RoomcastError, textOf } from "./errors.js";
import { openWebSocket, type WebSocketClass } from "./websocket.js";
import { offered, openWebTransport } from "./webtransport.js";

export type Transport = "websocket" | "webtransport";

/** One open line to a server: messages in, messages out, whatever is below. */
export interface Link {
  readonly transport: Transport;
  /** `mayBeLost`: it may take a way on which it is lost, where the link has one. */
  send(message: string | Uint8Array, mayBeLost: boolean): void;
  /** Bytes that wait to be written. */
  queuedBytes(): number;
  /** Ends it now; nothing is heard from it any more. */
  drop(): void;
  /** Writes what waits, and resolves when the server has seen the end. */
  finish(): Promise<void>;
}

/** How a link ended: without a code if the network failed. */
export interface Ended {
  code?: number | undefined;
  message: string;
  /** What the server asked to wait. */
  retryMs?: number | undefined;
}

/** Who hears what a link says. */
export interface Hearer {
  message(message: string | Uint8Array): void;
  ended(ended: Ended): void;
}

export interface Way {
  url: URL;
  codec: Codec;
  transport: Transport | "auto";
  WebSocket: WebSocketClass | undefined;
}

/** Opens links: by WebTransport where browser and server have it, else by WebSocket. */
export class Dialer {
  readonly #way: Way;
  /** WebTransport was tried in vain in this network: UDP does not come through everywhere. */
  #plain = false;

  constructor(way: Way) {
    this.#way = way;
  }

  /** Another network may let through what the last one did not. */
  forget(): void {
    this.#plain = false;
  }

  async dial(hearer: Hearer, signal: AbortSignal): Promise<Link> {
    const { url, codec, transport } = this.#way;
    const wanted = transport !== "websocket" && !(transport === "auto" && this.#plain);
    const offer = wanted ? await offered(url, signal) : undefined;
    if (offer) {
      try {
        return await openWebTransport(offer, codec, hearer, signal);
      } catch (error) {
        if (transport === "webtransport" || signal.aborted) throw error;
      }
    }
    if (transport === "webtransport") {
      throw unreachable(url, "browser or server has no WebTransport");
    }
    const link = await openWebSocket(url, codec, this.#way.WebSocket, hearer, signal);
    this.#plain = offer !== undefined;
    return link;
  }
}

/** `ws(s)` and `http(s)` mean the same server; the path is `/ws` if none is given. */
export function serverUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text, globalThis.location?.href);
  } catch {
    throw new RoomcastError("invalid", `\`${text}\` is no URL; an example: ws://127.0.0.1:7400`);
  }
  url.protocol = url.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(url.protocol)) {
    const message = `\`${text}\`: this client takes ws, wss, http and https`;
    throw new RoomcastError("invalid", message);
  }
  url.hash = "";
  if (url.pathname === "/") url.pathname = "/ws";
  return url;
}

export function unreachable(url: URL, why: unknown): RoomcastError {
  return new RoomcastError("unreachable", `cannot reach ${url.host}: ${textOf(why)}`, {
    retry: true,
  });
}
