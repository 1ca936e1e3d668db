// Starts the example programs on free ports and ends them again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const START_MS = 15_000;
const STOP_MS = 10_000;
// The programs read ROOMCAST_*: what is set around the tests must not reach them.
const own = ([name]) => !name.startsWith("ROOMCAST_");
const env = Object.fromEntries(Object.entries(process.env).filter(own));
const directory = process.env.ROOMCAST_PROGRAMS;
const built = (name) =>
  directory
    ? `${directory}/${name}`
    : fileURLToPath(new URL(`../../../target/debug/${name}`, import.meta.url));

/**
 * A running program, ready when it has printed so many addresses. It ends when its input does.
 * `urls`: the addresses in the order printed.
 */
export async function start(name, flags, count) {
  const child = spawn(built(name), flags, { env, stdio: ["pipe", "pipe", "pipe"] });
  const ended = once(child, "close");
  const printed = { text: "" };
  child.stderr.on("data", (chunk) => (printed.text += chunk));
  const urls = await addresses(name, child, printed, count);
  const stop = async (signal) => {
    if (signal) child.kill(signal);
    else child.stdin.end();
    const deadline = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(deadline);
  };
  return { urls, stop, printed };
}

function addresses(name, child, printed, count) {
  return new Promise((resolve, reject) => {
    const give = (why) => reject(new Error(`${name} ${why}; it printed:\n${printed.text}`));
    const deadline = setTimeout(give, START_MS, `named no addresses within ${START_MS} ms`);
    child.stdout.on("data", (chunk) => {
      printed.text += chunk;
      const urls = printed.text.match(/^\w+:\/\/\S+$/gm) ?? [];
      if (urls.length < count) return;
      clearTimeout(deadline);
      resolve(urls);
    });
    child.on("error", (error) => give(`did not start (${error.message})`));
    child.on("exit", (code) => give(`ended with ${code}`));
  });
}
