// Starts the real binary on free ports and ends it again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const START_MS = 15_000;
const STOP_MS = 10_000;
// The binary reads ROOMCAST_*: what is set around the tests must not reach it.
const own = ([name]) => !name.startsWith("ROOMCAST_");
const env = Object.fromEntries(Object.entries(process.env).filter(own));
const binary =
  process.env.ROOMCAST_BIN ||
  fileURLToPath(new URL("../../../target/debug/roomcast", import.meta.url));

/** A running server: the ports it listens on, and how to end it. */
export async function startServer() {
  const listeners = ["--listen", "ws://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"];
  const child = spawn(binary, ["serve", ...listeners], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  const ports = await listenerPorts(child);
  return { ...ports, stop: () => stop(child, ended) };
}

/** Reads what is printed at the start, on either stream, until both listeners were named. */
function listenerPorts(child) {
  return new Promise((resolve, reject) => {
    let printed = "";
    const give = (why) => reject(new Error(`${binary} ${why}; it printed:\n${printed}`));
    const deadline = setTimeout(give, START_MS, `named no listeners within ${START_MS} ms`);
    const read = (chunk) => {
      printed += chunk;
      const ws = /ws:\/\/127\.0\.0\.1:([1-9]\d*)/.exec(printed);
      const tcp = /tcp:\/\/127\.0\.0\.1:([1-9]\d*)/.exec(printed);
      if (!ws || !tcp) return;
      clearTimeout(deadline);
      resolve({ ws: Number(ws[1]), tcp: Number(tcp[1]) });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", (error) => give(`did not start (${error.message})`));
    child.on("exit", (code) => give(`ended with ${code}`));
  });
}

async function stop(child, ended) {
  if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
  const deadline = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(deadline);
}
