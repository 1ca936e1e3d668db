// What every test file needs: one browser and one server, and an end for all that a test began.
import assert from "node:assert/strict";
import { after, afterEach, before } from "node:test";
import { layCable } from "./cable.js";
import { Lines } from "./lines.js";
import { startServer } from "./server.js";
import { Visitor, openBrowser } from "./visitor.js";

/** Sets the hooks of a test file; its methods start things that end with the test. */
export class Stage {
  #ends = [];

  constructor() {
    before(async () => {
      [this.browser, this.server] = await Promise.all([openBrowser(), startServer()]);
    });
    afterEach(async () => {
      const ends = this.#ends.splice(0).reverse();
      const results = await Promise.allSettled(ends.map((end) => end()));
      const failed = results.find((result) => result.status === "rejected");
      if (failed) throw failed.reason;
    });
    after(async () => {
      await Promise.allSettled([this.browser?.close(), this.server?.stop()]);
    });
  }

  /** A browser page that nobody opened yet. */
  async visitor(options) {
    const visitor = await Visitor.arrive(this.browser, options);
    this.#ends.push(async () => assert.deepEqual(await visitor.depart(), []));
    return visitor;
  }

  /** Somebody on the page in a room, connected to the server or through a cable. */
  async visit(room, name, { port = this.server.ws, ...options } = {}) {
    const visitor = await this.visitor(options);
    await visitor.enter(port, { room, name });
    return visitor;
  }

  /** Somebody with a bare TCP socket in a room. */
  async socket(room, name, port = this.server.tcp) {
    const lines = new Lines(port);
    this.#ends.push(() => lines.close());
    await lines.enter(room, name);
    return lines;
  }

  async cable(port = this.server.ws) {
    const cable = await layCable(port);
    this.#ends.push(() => cable.remove());
    return cable;
  }

  async anotherServer(...schemes) {
    const server = await startServer(...schemes);
    this.#ends.push(() => server.stop());
    return server;
  }
}
