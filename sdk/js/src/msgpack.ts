import { decode, Encoder } from "@msgpack/msgpack";

import { MESSAGE_BYTES_MAX, type Codec } from "./codec.js";

// Left out as JSON leaves it out: the server takes null and absence for the same thing.
const encoder = new Encoder({ ignoreUndefined: true });

/**
 * MessagePack: smaller, and `Uint8Array` in data stays bytes among those who speak it. Others get
 * base64 text (docs/protocol.md, section 14).
 *
 * ```js
 * import { connect } from "@roomcast/client";
 * import { msgpack } from "@roomcast/client/msgpack";
 * const client = await connect("ws://127.0.0.1:7400", { codec: msgpack });
 * ```
 */
export const msgpack: Codec = {
  name: "msgpack",
  encode: (frame) => encoder.encode(frame),
  decode: (message) => decode(message as Uint8Array),
  frame(message) {
    const framed = new Uint8Array(4 + message.length);
    new DataView(framed.buffer).setUint32(0, message.length);
    framed.set(message as Uint8Array, 4);
    return framed;
  },
  cutter() {
    let rest: Uint8Array = new Uint8Array(0);
    return (chunk) => {
      const bytes = new Uint8Array(rest.length + chunk.length);
      bytes.set(rest);
      bytes.set(chunk, rest.length);
      const view = new DataView(bytes.buffer);
      const messages = [];
      let at = 0;
      while (bytes.length - at >= 4) {
        const length = view.getUint32(at);
        if (length > MESSAGE_BYTES_MAX) throw new Error("a message above 16 MiB");
        if (bytes.length - at - 4 < length) break;
        messages.push(bytes.subarray(at + 4, at + 4 + length));
        at += 4 + length;
      }
      rest = bytes.subarray(at);
      return messages;
    };
  },
};
