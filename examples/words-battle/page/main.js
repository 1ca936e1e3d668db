// The page: what the player does goes to the server, what the server tells goes to the view.
import { Link } from "./link.js";
import { View } from "./view.js";

const LOBBY = "mesh-global";
const invited = new URLSearchParams(location.search).get("room");
const view = new View(invited);

let room = sessionStorage.getItem("words-battle.room");
let hasTalk = false;

const link = new Link({
  hear: (name, data, message) => hear[name]?.(data, message),
  change(line) {
    view.showLine(line);
    if (!line.open) return;
    if (line.resumed && line.seats.includes(room)) return;
    // A new session has no seat: who was in a game comes back to it as somebody new.
    const lost = room;
    room = null;
    view.enable();
    if (lost && lost === view.invited) enter("friends");
    else if (lost) toStart();
  },
});

const hear = {
  joined({ room: joined }) {
    if (joined === LOBBY) return;
    room = joined;
    sessionStorage.setItem("words-battle.room", room);
    link.publish(room, "game-state").catch(view.complain);
    if (!hasTalk) fillTalk();
  },
  room_closed({ room: closed }) {
    if (closed !== room) return;
    toStart();
    view.complain(new Error("This room is closed."));
  },
  "know-yourself": ({ sender }) => {
    view.self = sender;
    const name = localStorage.getItem("words-battle.name") ?? "";
    link.publish(room, "set-client-name", { setname: name }).catch(view.complain);
  },
  "fail-join-room-notify"({ message }, { room: from }) {
    view.complain(new Error(message));
    if (from === LOBBY) view.enable();
  },
  "game-state"(state) {
    view.self = state.you ?? view.self;
    view.show(state);
  },
  "send-message": (data) => isNews(data) && view.talk(data),
  "message-by-bot": (data) => view.talk(data),
  "room-setting-applied": (data) => view.talk(data),
};

/** That a turn or the game is over shows in the state; who plays and the welcome are read. */
function isNews({ color, letter }) {
  return color !== undefined || letter !== undefined;
}

async function fillTalk() {
  hasTalk = true;
  view.clearTalk();
  const { events } = await link.history(room, 60).catch(() => ({ events: [] }));
  const shown = ["send-message", "message-by-bot", "room-setting-applied"];
  for (const { event, data } of events) {
    if (shown.includes(event) && (event !== "send-message" || isNews(data))) view.talk(data);
  }
}

function toStart() {
  sessionStorage.removeItem("words-battle.room");
  room = null;
  hasTalk = false;
  view.toStart();
}

function enter(mode) {
  const name = view.name();
  localStorage.setItem("words-battle.name", name);
  hasTalk = true;
  view.clearTalk();
  const made = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) =>
    "abcdefghijkmnpqrstuvwxyz23456789".charAt(byte % 32),
  ).join("");
  const roomname = mode === "friends" && view.invited ? view.invited : made;
  const asked = {
    friends: ["join-room", { roomname, playerlimit: 3, setplayername: name }],
    random: ["join-random-room", { roomname }],
  }[mode];
  view.enable(false);
  link.publish(LOBBY, ...asked).catch((error) => {
    view.enable();
    view.complain(error);
  });
}

view.on({
  enter,
  settings: (duration, limit) => {
    const wish = { game_duration: String(duration), player_limit: String(limit) };
    link.publish(room, "room-settings", wish).catch(view.complain);
  },
  start: () => link.publish(room, "start-the-game", { message: room }).catch(view.complain),
  chat: (message) => link.publish(room, "send-message", { message }).catch(view.complain),
  attempt: (message) => link.publish(room, "attempt-word", { message }).catch(view.complain),
  leave: () => {
    if (room) link.leave(room).catch(() => {});
    toStart();
  },
});
