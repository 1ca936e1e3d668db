// What is seen: drawn anew from the game's state whenever it comes, so nothing can go stale.

const SHAPES = {
  yellow: ["★", "#ffd83d", "star"],
  red: ["■", "#ff6b5e", "square"],
  orange: ["◆", "#ff9d2e", "diamond"],
  blue: ["●", "#6db3ff", "disc"],
  purple: ["▲", "#c79bff", "triangle"],
  pink: ["♥", "#ff8fc7", "heart"],
  white: ["○", "#ffffff", "ring"],
};

const OUTCOMES = {
  correct: ({ name, word }) => `✓ ${name}: “${word}” — one point`,
  "wrong-letter": ({ name, word }) => `✗ ${name}: “${word}” begins with another letter`,
  "no-such-word": ({ name, word }) => `✗ ${name}: “${word}” is not in the list`,
  "word-reused": ({ name, word }) => `✗ ${name}: “${word}” was said before`,
  "times-up": ({ name }) => `✗ ${name} ran out of time`,
  left: ({ name }) => `${name} has left`,
};

const PLACES = ["first", "second", "third"];

const $ = (id) => document.getElementById(id);

function element(tag, { text, className, ...rest } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(rest)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function chip(color) {
  const [shape, shade, word] = SHAPES[color] ?? ["?", "#ccc", "shape"];
  const made = element("span", { className: "chip", text: shape, role: "img" });
  made.setAttribute("aria-label", `${color} ${word}`);
  made.style.color = shade;
  return made;
}

export class View {
  self = null;
  #state = null;
  #acts = {};
  #ends = { turn: 0, whole: 1, game: 0 };
  #shown = "";

  constructor(invited) {
    this.invited = invited;
    this.complain = this.complain.bind(this);
    $("name").value = localStorage.getItem("words-battle.name") ?? "";
    if (invited) {
      $("friends-label").textContent = `Join ${invited.slice(0, 20)}`;
      $("friends-hint").textContent = "Somebody shared this room with you";
    }
    this.enable(false);
    this.#listen();
    const tick = () => {
      this.#drawClock();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  on(acts) {
    this.#acts = acts;
  }

  name() {
    return $("name").value.trim();
  }

  enable(can = true) {
    for (const id of ["with-friends", "with-stranger"]) $(id).disabled = !can;
  }

  showLine({ open, final }) {
    $("line").dataset.state = open ? "open" : "lost";
    const lost = final ? "Disconnected: reload to come back" : "Connection lost, coming back…";
    $("line").textContent = open ? "Connected" : lost;
    if (open) $("notice").hidden = true;
    else this.enable(false);
  }

  complain({ message }) {
    $("notice").textContent = message;
    $("notice").hidden = false;
    clearTimeout(this.noticed);
    this.noticed = setTimeout(() => ($("notice").hidden = true), 6000);
  }

  toStart() {
    this.#state = null;
    $("room").hidden = true;
    $("start").hidden = false;
    this.enable();
  }

  clearTalk() {
    $("log").replaceChildren();
  }

  talk({ message, color, useravatar }) {
    if (typeof message !== "string" || message === "") return;
    const line = element("li");
    if (color) {
      const found = this.#players().find(
        (player) => player.color === color && player.name.startsWith(useravatar),
      );
      line.append(element("b", { text: found?.name ?? useravatar }), message);
    } else {
      line.className = "bot";
      line.textContent = message;
    }
    const log = $("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(line);
    while (log.children.length > 200) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  show(state) {
    const before = this.#state;
    this.#state = state;
    $("start").hidden = true;
    $("room").hidden = false;
    $("room-title").textContent = `Room ${state.room}`;
    const waits = state.phase === "waiting";
    const ended = state.phase === "ended";
    $("waiting").hidden = !waits;
    $("board").hidden = !ended;
    $("play").hidden = waits || ended;
    this.#drawPlayers(state);
    if (waits) this.#drawWaiting(state);
    else if (ended) this.#drawBoard(state, before);
    else this.#drawPlay(state, before);
  }

  #players() {
    return this.#state?.players ?? [];
  }

  #isMaker() {
    return this.#state?.maker === this.self;
  }

  #drawPlayers({ players, turn, maker, away, onlookers, limit }) {
    const lines = players.map(({ slug, name, color, score }) => {
      const notes = [];
      if (slug === this.self) notes.push("you");
      if (slug === maker) notes.push("host");
      if (away.includes(slug)) notes.push("away");
      if (slug === turn) notes.push("to play");
      const who = element("span", { className: "who", text: name });
      if (notes.length) who.append(element("small", { text: notes.join(", ") }));
      const points = element("span", { className: "score", text: score });
      points.setAttribute("aria-label", `${score} points`);
      const current = String(slug === turn);
      return element("li", { "aria-current": current }, chip(color), who, points);
    });
    $("players").replaceChildren(...lines);
    $("players-title").textContent = `Players (${players.length} of ${limit})`;
    $("onlookers").textContent = onlookers ? `${onlookers} looking on` : "";
  }

  #drawWaiting({ room, mode, players, limit, duration_s }) {
    const friends = mode === "friends";
    $("share").hidden = !friends;
    $("settings").hidden = !friends || !this.#isMaker();
    $("go").hidden = !friends || !this.#isMaker();
    const link = new URL(location.href);
    link.search = `?room=${encodeURIComponent(room)}`;
    $("share-link").value = link.href;
    if (friends) history.replaceState(null, "", link);
    for (const [id, value, unit] of [["duration", duration_s, " s"], ["limit", limit, ""]]) {
      if (document.activeElement !== $(id)) $(id).value = value;
      $(`${id}-shown`).textContent = `${$(id).value}${unit}`;
    }
    $("go").disabled = players.length < 2;
    const alone = players.length < 2;
    $("waiting-title").textContent = friends
      ? alone ? "Waiting for players" : "Ready when you are"
      : "Looking for somebody to play with";
    const starter = this.#isMaker() ? "" : "Who made the room starts the game.";
    $("waiting-hint").textContent = alone ? "A game needs two players." : starter;
  }

  #drawPlay({ phase, letter, turn, turn_ms, talk_ms, game_ms, last, players }, before) {
    const now = performance.now();
    const due = turn_ms ?? talk_ms ?? 0;
    this.#ends = { turn: now + due, whole: Math.max(due, 1), game: now + (game_ms ?? 0) };
    const mine = turn !== null && turn === this.self;
    const player = players.find(({ slug }) => slug === turn);
    const shownLetter = letter.toUpperCase() || "…";
    const changed = $("letter").textContent !== shownLetter;
    $("letter").textContent = shownLetter;
    if (changed) {
      $("letter").classList.remove("pop");
      void $("letter").offsetWidth;
      $("letter").classList.add("pop");
    }
    const texts = {
      greeting: "Get ready…",
      talking: "Say hello, it begins in a moment",
      ending: "Time is up!",
      pause: "…",
    };
    const whose = mine ? "Your turn!" : player ? `${player.name}’s turn` : (texts[phase] ?? "");
    $("whose").textContent = whose;
    $("word-label").textContent = mine ? `A word that begins with ${shownLetter}` : "Your word";
    const wasMine = !$("word").disabled;
    $("word").disabled = $("say").disabled = !mine;
    if (mine && !wasMine) {
      $("word").value = "";
      if (document.activeElement !== $("text") || !$("text").value) $("word").focus();
    }
    $("result").textContent = last ? OUTCOMES[last.outcome](last) : "";
    $("result").dataset.outcome = last?.outcome ?? "";
    const turnAsked = turn && turn !== before?.turn;
    const news = phase === "pause" ? $("result").textContent : turnAsked ? whose : "";
    this.#speak(news && turnAsked ? `${news} Letter ${shownLetter}.` : news);
  }

  #drawBoard({ players, words, mode }, before) {
    const ranked = [...players].sort((a, b) => b.score - a.score);
    const medals = ranked.slice(0, 3).map(({ name, color, score, slug }, index) => {
      const place = 1 + ranked.filter((other) => other.score > score).length;
      const medal = element("span", { className: "medal", text: place, role: "img" });
      medal.setAttribute("aria-label", `${PLACES[place - 1]} place`);
      const shown = element("span", { className: "name", text: name });
      if (slug === this.self) shown.append(element("small", { text: " (you)" }));
      const points = element("small", { text: `${score} ${score === 1 ? "point" : "points"}` });
      const step = element("div", { className: "step" }, medal, chip(color), shown, points);
      return element("li", { className: `place-${place}`, "data-rank": index + 1 }, step);
    });
    $("medals").replaceChildren(...medals);
    $("word-count").textContent = `(${words.length})`;
    const list = words.map(({ word, name }) =>
      element("li", {}, element("b", { text: word }), element("small", { text: name })),
    );
    $("found").replaceChildren(...list);
    if (!list.length) $("found").append(element("li", { text: "none this time" }));
    $("again").hidden = !this.#isMaker() || mode === "random";
    $("again").disabled = players.length < 2;
    const waits = !this.#isMaker() && mode === "friends";
    $("again-hint").textContent = waits ? "Who made the room can start another game." : "";
    if (before && before.phase !== "ended") {
      $("board-title").focus();
      this.#speak(`The game is over. ${ranked[0]?.name ?? "Nobody"} has won.`);
    }
  }

  #drawClock() {
    if ($("play").hidden) return;
    const now = performance.now();
    const left = Math.max(0, this.#ends.turn - now);
    const counts = ["turn", "talking"].includes(this.#state?.phase);
    $("clock").style.setProperty("--part", counts ? left / this.#ends.whole : 0);
    $("clock").classList.toggle("late", counts && left < 4000);
    $("seconds").hidden = !counts;
    $("seconds").textContent = `${Math.ceil(left / 1000)} s`;
    const game = Math.ceil(Math.max(0, this.#ends.game - now) / 1000);
    const shown = game ? `${game} s of the game left` : "";
    if ($("game-left").textContent !== shown) $("game-left").textContent = shown;
  }

  /** Said to those who do not see the page; the same is not said twice in a row. */
  #speak(text) {
    if (!text || text === this.#shown) return;
    this.#shown = text;
    $("spoken").textContent = text;
  }

  #listen() {
    $("enter").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#acts.enter(event.submitter?.value ?? "friends");
    });
    const send = (form, input, act) =>
      $(form).addEventListener("submit", (event) => {
        event.preventDefault();
        const text = $(input).value.trim();
        if (!text) return;
        this.#acts[act](text);
        $(input).value = "";
      });
    send("attempt", "word", "attempt");
    send("chat", "text", "chat");
    for (const id of ["duration", "limit"]) {
      $(id).addEventListener("input", () => {
        $(`${id}-shown`).textContent = `${$(id).value}${id === "duration" ? " s" : ""}`;
      });
      $(id).addEventListener("change", () => {
        this.#acts.settings(Number($("duration").value), Number($("limit").value));
      });
    }
    $("settings").addEventListener("submit", (event) => event.preventDefault());
    $("go").addEventListener("click", () => this.#acts.start());
    $("again").addEventListener("click", () => this.#acts.start());
    document.querySelectorAll('a[href="./"]').forEach((leave) =>
      leave.addEventListener("click", (event) => {
        if (!this.#state) return;
        event.preventDefault();
        history.replaceState(null, "", location.pathname);
        this.invited = null;
        $("friends-label").textContent = "Play with friends";
        $("friends-hint").textContent = "You get a link to share";
        this.#acts.leave();
      }),
    );
    $("copy").addEventListener("click", async () => {
      $("share-link").select();
      const copied = await navigator.clipboard?.writeText($("share-link").value).then(
        () => true,
        () => false,
      );
      $("copy").textContent = copied ? "Copied ✓" : "Press Ctrl+C";
      setTimeout(() => ($("copy").textContent = "Copy"), 2000);
    });
  }
}
