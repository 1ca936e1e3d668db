// Starts the real binary on free ports and ends it again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const START_MS = 15_000;
const STOP_MS = 10_000;
// The binary reads ROOMCAST_*: what is set around the tests must not reach it.
const own = ([name]) => !name.startsWith("ROOMCAST_");
const env = Object.fromEntries(Object.entries(process.env).filter(own));
const built = (name) => fileURLToPath(new URL(`../../../target/debug/${name}`, import.meta.url));

/** A running server: the ports it listens on, by scheme, and how to end it. */
export function startServer(schemes = ["ws", "tcp"], flags = []) {
  const binary = process.env.ROOMCAST_BIN || built("roomcast");
  const listeners = schemes.flatMap((scheme) => ["--listen", `${scheme}://127.0.0.1:0`]);
  const port = (scheme) => [scheme, new RegExp(`${scheme}://127\\.0\\.0\\.1:([1-9]\\d*)`)];
  const ports = Object.fromEntries(schemes.map(port));
  return startProgram(binary, ["serve", ...listeners, ...flags], ports);
}

/** The game of the examples: the port of its page, and how to end it. */
export function startGame(...flags) {
  const anywhere = ["--page", "127.0.0.1:0", "--mesh", "127.0.0.1:0"];
  const ports = { page: /http:\/\/127\.0\.0\.1:([1-9]\d*)\/(?!\?)/ };
  return startProgram(built("words-battle"), [...anywhere, ...flags], ports);
}

async function startProgram(binary, flags, patterns) {
  const child = spawn(binary, flags, { env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  const ports = await printedPorts(binary, child, patterns);
  return { ...ports, stop: () => stop(child, ended) };
}

/** Reads what is printed at the start, on either stream, until all ports were named. */
function printedPorts(binary, child, patterns) {
  return new Promise((resolve, reject) => {
    let printed = "";
    const give = (why) => reject(new Error(`${binary} ${why}; it printed:\n${printed}`));
    const deadline = setTimeout(give, START_MS, `named no ports within ${START_MS} ms`);
    const read = (chunk) => {
      printed += chunk;
      const found = Object.entries(patterns).map(([name, port]) => [name, port.exec(printed)]);
      if (!found.every(([, port]) => port)) return;
      clearTimeout(deadline);
      resolve(Object.fromEntries(found.map(([name, port]) => [name, Number(port[1])])));
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
