/** How frames are written. JSON is built in; MessagePack is `@roomcast/client/msgpack`. */
export interface Codec {
  readonly name: "json" | "msgpack";
  encode(frame: object): string | Uint8Array;
  /** Throws if it cannot be read. */
  decode(message: string | Uint8Array): unknown;
  /** A message as it goes on a stream, where it must be told where it ends. */
  frame(message: string | Uint8Array): Uint8Array;
  /** Cuts the chunks of a stream into messages. Throws above {@link MESSAGE_BYTES_MAX}. */
  cutter(): (chunk: Uint8Array) => (string | Uint8Array)[];
}

/** Lists and histories may be larger than what a server takes: the bound is the protocol's own. */
export const MESSAGE_BYTES_MAX = 16 << 20;

const utf8 = new TextEncoder();

/** One object a text message, or a line of a stream. */
export const json: Codec = {
  name: "json",
  encode: JSON.stringify,
  decode: (message) => JSON.parse(message as string),
  frame: (message) => utf8.encode(`${message as string}\n`),
  cutter() {
    const text = new TextDecoder();
    let parts: string[] = [];
    let length = 0;
    return (chunk) => {
      const lines = text.decode(chunk, { stream: true }).split("\n");
      const messages = lines.slice(0, -1);
      // Only new text is searched and joined: a long line in small chunks costs its length once.
      if (messages.length > 0) {
        messages[0] = parts.join("") + messages[0]!;
        parts = [];
        length = 0;
      }
      const rest = lines.at(-1)!;
      length += rest.length;
      if (length > MESSAGE_BYTES_MAX) throw new Error("a message above 16 MiB");
      parts.push(rest);
      return messages;
    };
  },
};

/** Its size on the wire, not counted exactly where that makes no difference. */
export function isLarger(message: string | Uint8Array, bytes: number): boolean {
  if (typeof message !== "string") return message.length > bytes;
  // UTF-8 takes at most 3 bytes for what counts 1 in a string.
  return message.length * 3 > bytes && utf8.encode(message).length > bytes;
}
