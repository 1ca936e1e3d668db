// python-socketio against the same example. It is tried where it is installed: in the Python that
// PYTHON_SOCKETIO names, or in the one of the system.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { start } from "./support/server.js";

const python = process.env.PYTHON_SOCKETIO || "python3";
const checks = fileURLToPath(new URL("./python_client.py", import.meta.url));
const has = spawnSync(python, ["-c", "import socketio, requests, websocket"]).status === 0;
const skip = has ? false : `${python} has no python-socketio[client]`;

test("python-socketio by WebSocket, by polling, and through the upgrade", { skip }, async () => {
  const server = await start("socketio-handlers", ["ws://127.0.0.1:0"], 1);
  const url = server.urls[0].replace("ws:", "http:");
  const child = spawn(python, [checks, url], { stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => (printed += chunk));
  }
  const deadline = setTimeout(() => child.kill("SIGKILL"), 50_000);
  const [code] = await once(child, "close");
  clearTimeout(deadline);
  await server.stop();
  assert.equal(code, 0, printed);
});
