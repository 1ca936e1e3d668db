// Links that are cut at random while everybody talks: each event comes once, in order, and each
// publish is in the room once. The seed is printed with a failure.
import { expect, test } from "vitest";

import { msgpack } from "../../src/msgpack.js";
import type { RoomEvent } from "../../src/index.js";
import { cableTo, clientOf, Heard, serve, socketIn } from "../support.js";

const CUTS_MS = Number(process.env.CUTS_MS || 3_000);
const SEED = Number(process.env.CUTS_SEED || Date.now() % 1_000_000);
const CONFIG = "[rooms.history]\nsize = 65536\nbytes = 67108864\n";

/** Numerical Recipes' generator: enough to choose whom to cut. */
function chanceOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const passed = (ms: number) => new Promise((done) => setTimeout(done, ms));

test(`random cuts, seed ${SEED}`, async () => {
  const chance = chanceOf(SEED);
  const server = await serve({ config: CONFIG });
  const nick = await socketIn("cuts", "Nick", server.tcp);
  const reconnect = { baseMs: 10, capMs: 60 };
  const all = await Promise.all([0, 1, 2, 3].map(async (n) => {
    const cable = await cableTo(server.ws);
    const codec = n % 2 ? { codec: msgpack } : {};
    const client = await clientOf(cable.port, { reconnect, ackTimeoutMs: 60_000, ...codec });
    const room = await client.join("cuts");
    const heard = new Heard<RoomEvent>((listener) => room.onAny(listener));
    const lost = new Heard((listener) => room.watch("lost", listener));
    return { cable, client, room, heard, lost, name: `client ${n}` };
  }));
  let running = true;
  // An answer to `hello` that is cut off takes the session with it, and with that the right to
  // repeat: whether these are there is not known.
  const unknown = new Set<string>();
  const talks = all.map(async ({ room, name }) => {
    const said: string[] = [];
    for (let n = 0; running; n += 1) {
      const burst = Array.from({ length: 1 + chance(4) }, (_, m) => `${name}: ${n}.${m}`);
      await Promise.all(burst.map((text) => room.publish("chat", { text }).then(
        () => said.push(text),
        ({ kind }) => kind === "disconnected" && unknown.add(text),
      )));
      // A room remembers 1,024 keys: no more may be new while a client is away.
      await passed(20);
    }
    return said;
  });
  for (const end = Date.now() + CUTS_MS; Date.now() < end;) {
    const { cable } = all[chance(all.length)]!;
    cable.cut();
    nick.chat("cuts", `while one is away ${Date.now()}`);
    await passed(chance(30));
    cable.mend();
    await passed(chance(40));
  }
  running = false;
  const said = (await Promise.all(talks)).flat();
  nick.say({ type: "publish", ref: 9, room: "cuts", event: "chat", data: { text: "the end" } });
  const { position } = await nick.hears({ type: "ok", ref: 9 });
  const offsets = Array.from({ length: position.offset }, (_, n) => n + 1);
  for (const { heard, lost } of all) {
    await heard.first(({ data }) => data.text === "the end");
    expect(lost.all).toEqual([]);
    // The first of them joined before anything was said, but all of them in that same moment.
    expect(heard.all.map(({ at }) => at!.offset)).toEqual(offsets);
  }
  const texts = all[0]!.heard.all.map(({ data }) => data.text as string);
  const known = texts.filter((text) => text.startsWith("client") && !unknown.has(text));
  expect(known.sort()).toEqual(said.sort());
  const others = texts.filter((text) => unknown.has(text));
  expect(new Set(others).size).toBe(others.length);
  expect(unknown.size).toBeLessThan(said.length / 10);
  for (const { name } of all) {
    const rounds = texts.filter((text) => text.startsWith(name)).map((text) =>
      Number(text.split(" ")[2]!.split(".")[0]));
    expect(rounds).toEqual([...rounds].sort((a, b) => a - b));
  }
}, CUTS_MS + 60_000);
