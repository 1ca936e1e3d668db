// One session with the server, in roomcast's own protocol: connects, comes back after a cut or a
// reload, and asks for its seat again.

const RETRY_MS = [300, 700, 1500, 3000, 5000];
// The server says with these codes that coming back by itself would be wrong.
const FINAL = new Set([4820, 4822, 4823, 4824]);

export class Link {
  #socket;
  #tries = 0;
  #timer;
  #ref = 0;
  #asked = new Map();
  #hear;
  #change;

  /** `hear(name, data, event)` for what is told; `change(state)` when the line comes and goes. */
  constructor({ hear, change }) {
    this.#hear = hear;
    this.#change = change;
    this.#connect();
    addEventListener("online", () => this.#again());
    document.addEventListener("visibilitychange", () => document.hidden || this.#again());
  }

  publish(room, event, data = {}) {
    return this.#ask({ type: "publish", room, event, data });
  }

  history(room, limit) {
    return this.#ask({ type: "history", room, limit });
  }

  leave(room) {
    return this.#ask({ type: "leave", room });
  }

  #ask(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(new Error("There is no connection just now."));
    }
    this.#ref += 1;
    const ref = this.#ref;
    this.#socket.send(JSON.stringify({ ...command, ref }));
    return new Promise((resolve, reject) => this.#asked.set(ref, { resolve, reject }));
  }

  #connect() {
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, "roomcast.v1.json");
    this.#socket = socket;
    socket.addEventListener("open", () => {
      const kept = JSON.parse(sessionStorage.getItem("words-battle.session") ?? "null");
      this.#ask({ type: "hello", ...(kept && { resume: kept }) }).then(
        (welcome) => this.#welcome(welcome),
        () => this.#forget(socket),
      );
    });
    socket.addEventListener("message", ({ data }) => this.#read(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => this.#closed(socket, code));
  }

  #welcome({ session, resume, resumed, rooms }) {
    this.#tries = 0;
    const kept = JSON.stringify({ session, secret: resume });
    sessionStorage.setItem("words-battle.session", kept);
    const seats = resumed ? rooms.filter((room) => room !== "mesh-global") : [];
    for (const room of seats) this.#ask({ type: "join", room }).catch(() => {});
    // A seat in the lobby is quiet after a resume, like any other.
    if (resumed) this.#ask({ type: "join", room: "mesh-global" }).catch(() => {});
    this.#change({ open: true, resumed, seats });
  }

  /** The session is over: say hello as somebody new. */
  #forget(socket) {
    sessionStorage.removeItem("words-battle.session");
    socket.close();
  }

  #read(message) {
    const waiting = message.ref && this.#asked.get(message.ref);
    if (waiting) {
      this.#asked.delete(message.ref);
      if (message.type === "error") waiting.reject(new Error(message.message));
      else waiting.resolve(message);
    }
    // What another client sends by itself has a sender: it must not speak for the game.
    if (message.type === "event" || (message.type === "message" && !message.from)) {
      this.#hear(message.event, message.data ?? {}, message);
    } else if (message.type === "joined" || message.type === "room_closed") {
      this.#hear(message.type, message, message);
    }
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    for (const { reject } of this.#asked.values()) reject(new Error("The connection was lost."));
    this.#asked.clear();
    const final = FINAL.has(code);
    const wait = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)];
    this.#tries += 1;
    this.#change({ open: false, final });
    if (!final) this.#timer = setTimeout(() => this.#connect(), wait * (0.7 + Math.random() * 0.6));
  }

  /** Somebody looks again, or the network is back: no need to wait longer. */
  #again() {
    if (this.#socket.readyState !== WebSocket.CLOSED || this.#tries === 0) return;
    clearTimeout(this.#timer);
    this.#connect();
  }
}
