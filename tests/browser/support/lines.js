// A member with nothing but a TCP socket, as `nc` is: one JSON object a line.
import net from "node:net";

const ANSWER_MS = 10_000;

export class Lines {
  #socket;
  #heard = [];
  #waiting = [];

  constructor(port) {
    let rest = "";
    this.#socket = net.connect(port, "127.0.0.1").setEncoding("utf8");
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      for (const line of lines) this.#hear(JSON.parse(line));
    });
  }

  /** Says `hello` and takes a seat; resolves with the reply to `join`. */
  async enter(room, name) {
    this.say({ type: "hello", ref: 1, name }, { type: "join", ref: 2, room });
    this.session = (await this.hears({ type: "welcome" })).session;
    return this.hears({ type: "joined", ref: 2 });
  }

  say(...commands) {
    for (const command of commands) this.#socket.write(`${JSON.stringify(command)}\n`);
  }

  chat(room, text) {
    this.say({ type: "publish", room, event: "chat", data: { text } });
  }

  /** The first message, heard already or to come, that has these fields; it is taken out. */
  hears(fields) {
    const fits = (message) => contains(message, fields);
    const at = this.#heard.findIndex(fits);
    if (at >= 0) return Promise.resolve(this.#heard.splice(at, 1)[0]);
    return new Promise((resolve, reject) => {
      const what = `heard no ${JSON.stringify(fields)} within ${ANSWER_MS} ms`;
      const late = () => reject(new Error(`${what}, but ${JSON.stringify(this.#heard)}`));
      const deadline = setTimeout(late, ANSWER_MS);
      this.#waiting.push({ fits, resolve, deadline });
    });
  }

  close() {
    this.#socket.destroy();
    for (const { deadline } of this.#waiting) clearTimeout(deadline);
  }

  #hear(message) {
    const at = this.#waiting.findIndex(({ fits }) => fits(message));
    if (at < 0) return this.#heard.push(message);
    const [{ resolve, deadline }] = this.#waiting.splice(at, 1);
    clearTimeout(deadline);
    resolve(message);
  }
}

function contains(value, part) {
  if (typeof part !== "object" || part === null) return value === part;
  return Object.entries(part).every(([key, inner]) => contains(value?.[key], inner));
}
