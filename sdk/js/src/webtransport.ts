import type { Codec } from "./codec.js";
import { textOf } from "./errors.js";
import { unreachable, type Hearer, type Link } from "./link.js";

/** How long a session may take to come about before a WebSocket is tried instead. */
const SESSION_MS = 3_000;

/** How long the server may take to see the end of a session. */
const FAREWELL_MS = 2_000;

/** How long after its streams a session may tell the code that it was closed with. */
const CODE_MS = 200;

interface Offer {
  url: string;
  /** SHA-256, in base64, of a certificate that nobody has signed. */
  hash?: string | null;
}

/** Where the server has WebTransport; nothing if it or the browser has none. */
export async function offered(server: URL, signal: AbortSignal): Promise<Offer | undefined> {
  if (!globalThis.WebTransport) return undefined;
  const url = new URL("/webtransport", server);
  url.protocol = url.protocol.replace("ws", "http");
  const within = AbortSignal.any([signal, AbortSignal.timeout(SESSION_MS)]);
  try {
    const offer = await (await fetch(url, { signal: within })).json();
    return typeof offer?.url === "string" ? offer : undefined;
  } catch {
    // A server on another origin keeps the answer from this page: then there is the WebSocket.
    return undefined;
  }
}

export async function openWebTransport(
  offer: Offer,
  codec: Codec,
  hearer: Hearer,
  signal: AbortSignal,
): Promise<Link> {
  const url = new URL(offer.url);
  url.searchParams.set("codec", codec.name);
  const value = offer.hash && Uint8Array.from(atob(offer.hash), (c) => c.charCodeAt(0));
  const options = value ? { serverCertificateHashes: [{ algorithm: "sha-256", value }] } : {};
  const session = new WebTransport(url.href, options);
  const closed = session.closed.catch((error: unknown) => ({
    closeCode: undefined,
    reason: textOf(error),
  }));
  const within = AbortSignal.any([signal, AbortSignal.timeout(SESSION_MS)]);
  try {
    const stream = await unlessAborted(opened(session), within);
    return new WebTransportLink(session, stream, codec, hearer, closed);
  } catch (error) {
    drop(session);
    throw signal.aborted ? signal.reason : unreachable(url, error);
  }
}

async function opened(session: WebTransport): Promise<WebTransportBidirectionalStream> {
  await session.ready;
  return session.createBidirectionalStream();
}

function unlessAborted<T>(wanted: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    wanted.then(resolve, reject);
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

type Closed = Promise<{ closeCode?: number | undefined; reason?: string }>;

/** A stream for what must arrive, and datagrams, of one message each, for what may be lost. */
class WebTransportLink implements Link {
  readonly transport = "webtransport";
  readonly #session: WebTransport;
  readonly #codec: Codec;
  readonly #hearer: Hearer;
  readonly #closed: Closed;
  readonly #stream: WritableStreamDefaultWriter<Uint8Array>;
  readonly #datagrams: WritableStreamDefaultWriter<Uint8Array>;
  #queuedBytes = 0;
  #isDropped = false;

  constructor(
    session: WebTransport,
    stream: WebTransportBidirectionalStream,
    codec: Codec,
    hearer: Hearer,
    closed: Closed,
  ) {
    this.#session = session;
    this.#codec = codec;
    this.#hearer = hearer;
    this.#closed = closed;
    this.#stream = stream.writable.getWriter();
    this.#datagrams = session.datagrams.writable.getWriter();
    const cut = codec.cutter();
    void this.#read(stream.readable, cut);
    const isText = codec.name === "json";
    void this.#read(session.datagrams.readable, (datagram) => [
      isText ? new TextDecoder().decode(datagram) : datagram,
    ]);
    void closed.then(({ closeCode, reason }) => this.#end(closeCode, reason));
  }

  send(message: string | Uint8Array, mayBeLost: boolean): void {
    if (mayBeLost) {
      const bytes = typeof message === "string" ? new TextEncoder().encode(message) : message;
      if (bytes.length <= this.#session.datagrams.maxDatagramSize) {
        void this.#datagrams.write(bytes).catch(() => {});
        return;
      }
    }
    const framed = this.#codec.frame(message);
    this.#queuedBytes += framed.length;
    // A stream that takes no more ends its session, which is told by `closed`.
    const written = this.#stream.write(framed).catch(() => {});
    void written.then(() => (this.#queuedBytes -= framed.length));
  }

  queuedBytes(): number {
    return this.#queuedBytes;
  }

  drop(): void {
    this.#isDropped = true;
    drop(this.#session);
  }

  async finish(): Promise<void> {
    this.#isDropped = true;
    const late = new Promise((done) => setTimeout(done, FAREWELL_MS));
    await Promise.race([this.#stream.close().then(() => this.#closed, () => {}), late]);
    drop(this.#session);
  }

  async #read(
    stream: ReadableStream<Uint8Array>,
    cut: (chunk: Uint8Array) => (string | Uint8Array)[],
  ): Promise<void> {
    const reader = stream.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || !value) break;
        for (const message of cut(value)) if (!this.#isDropped) this.#hearer.message(message);
      }
    } catch (error) {
      // A session that is closed breaks its streams first, and tells its code then.
      setTimeout(() => this.#end(undefined, textOf(error)), CODE_MS);
    }
  }

  #end(code: number | undefined, reason: string | undefined): void {
    if (this.#isDropped) return;
    this.drop();
    this.#hearer.ended({ code, message: reason || "the session ended" });
  }
}

/** Closing one that never came about rejects, which says nothing new. */
function drop(session: WebTransport): void {
  session.ready.then(
    () => session.close(),
    () => {},
  );
}
