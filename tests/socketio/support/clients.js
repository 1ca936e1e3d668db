// The clients that are tried, each in every way it can travel.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const newest = "socket.io-client";
export const VERSIONS = ["socket.io-client-4.0", "socket.io-client-4.5", newest];
export const TRAVELS = [["websocket"], ["polling"], ["polling", "websocket"]];
export const newestIo = require(newest).io;
export const msgpackParser = require("socket.io-msgpack-parser");

/** Those that can recover: all from 4.6 on. */
export const RECOVERING = ["socket.io-client-4.6", "socket.io-client-4.7", newest];

/** Each version and way: a name for the test, and how to connect. */
export function everyClient(versions = VERSIONS) {
  return versions.flatMap((version) =>
    TRAVELS.map((transports) => {
      const { io } = require(version);
      const connect = (url, more = {}) =>
        io(url, { transports, forceNew: true, reconnection: false, ...more });
      return { name: `${version} by ${transports.join(", then ")}`, connect, transports };
    }),
  );
}

/** The arguments of the next event of that name. */
export function heard(socket, event) {
  return new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
}

/** The acknowledgement of an event: all its arguments. */
export function acked(socket, event, ...args) {
  return new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer)));
}

/** Waits until a condition holds, looking at each event of the emitter. */
export async function until(holds, what, ms = 10_000) {
  const deadline = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
