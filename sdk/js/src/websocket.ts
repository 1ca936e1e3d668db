import type { Codec } from "./codec.js";
import { RoomcastError } from "./errors.js";
import { unreachable, type Hearer, type Link } from "./link.js";

/** `WebSocket` of browsers, of node from version 22 on, or of the package `ws`. */
export type WebSocketClass = new (url: string, protocol: string) => WebSocketLike;

/** What is needed of a WebSocket. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(message: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export function openWebSocket(
  url: URL,
  codec: Codec,
  given: WebSocketClass | undefined,
  hearer: Hearer,
  signal: AbortSignal,
): Promise<Link> {
  const WebSocket = given ?? (globalThis.WebSocket as unknown as WebSocketClass | undefined);
  if (!WebSocket) {
    const message = "no WebSocket here: give one, as in connect(url, { WebSocket }) with `ws`";
    throw new RoomcastError("invalid", message);
  }
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.href, `roomcast.v1.${codec.name}`);
    socket.binaryType = "arraybuffer";
    let isOpen = false;
    let isDropped = false;
    let finished = (): void => {};
    const drop = (): void => {
      isDropped = true;
      socket.close();
    };
    signal.addEventListener("abort", () => {
      if (isOpen) return;
      drop();
      reject(signal.reason);
    });
    const link: Link = {
      transport: "websocket",
      send: (message) => socket.send(message as string),
      queuedBytes: () => socket.bufferedAmount,
      drop,
      finish: () =>
        new Promise((done) => {
          finished = done;
          isDropped = true;
          socket.close(1000);
        }),
    };
    socket.onopen = () => {
      if (isDropped) return;
      isOpen = true;
      resolve(link);
    };
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      if (!isDropped) hearer.message(typeof data === "string" ? data : new Uint8Array(data));
    };
    // What was wrong is kept from scripts; the end follows.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      finished();
      if (isDropped) return;
      isDropped = true;
      if (!isOpen) return reject(unreachable(url, `no WebSocket came about (${code})`));
      hearer.ended({ code, message: reason || `the connection ended (${code})` });
    };
  });
}
