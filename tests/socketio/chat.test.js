// The chat of "get started": its page, and what is said in it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { acked, newestIo } from "./support/clients.js";
import { start } from "./support/server.js";

const script = fileURLToPath(
  new URL("./node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url),
);

test("everybody hears a line, who comes later too", async () => {
  const server = await start("socketio-chat", ["ws://127.0.0.1:0", "127.0.0.1:0", script], 2);
  const page = server.urls.find((url) => url.startsWith("http:"));
  const url = server.urls.find((url) => url.startsWith("ws:")).replace("ws:", "http:");
  const html = await (await fetch(page)).text();
  assert.ok(html.includes(`io("${url}")`), "the page connects to the server");
  assert.match(await (await fetch(`${page}/socket.io.js`)).text(), /Socket\.IO v4/);
  // As the page's browser: its origin is another than the server's.
  const join = async () => {
    const socket = newestIo(url, { forceNew: true, extraHeaders: { Origin: page } });
    const lines = [];
    socket.on("chat message", (line) => lines.push(line));
    await new Promise((resolve, reject) => {
      socket.on("connect", resolve);
      socket.on("connect_error", reject);
    });
    return { socket, lines };
  };
  const all = [await join(), await join()];
  try {
    await acked(all[0].socket, "chat message", "hi");
    await acked(all[1].socket, "chat message", "hello");
    all.push(await join());
    for (const { socket, lines } of all) {
      while (lines.length < 2) await new Promise((resolve) => socket.once("chat message", resolve));
      assert.deepEqual(lines, ["hi", "hello"]);
    }
  } finally {
    for (const { socket } of all) socket.close();
    await server.stop();
  }
});
