// The demo's page: a guest chats, and one sees what becomes of the token meanwhile. No library, no build.

import { createGuest } from "/guestpass/client.js";

const EVERY = 2000; // milliseconds between two questions, to the desk and for the issuer
const SETTLED = 300; // milliseconds after which it is known how a token came
const WINDOW = 0.25; // of a token's life, at its end: when guestpass rotates it
const KEPT = 50; // entries of the timeline
const TAB = "guestpass-demo-tab";

const $ = (id) => document.getElementById(id);
const guest = createGuest({ identity: { name: "Ada", email: "ada@example.org" } });

let token = null; // { id, life, ends, deadline } of the one in use
let carried = {}; // the last successor that an answer carried: { token, by }
let asked = -Infinity; // when this tab last had an answer of the token endpoint
let issuer = null; // { on, mints }
let rotations = 0, answers = 0, refused = 0;
let paused = false; // the desk cannot be asked: there is no token that holds
let shown = 0; // the number of the last message
const outbox = []; // messages that have not arrived yet: { text, bubble }

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text; // never markup: what is shown may come from anywhere
  made.className = className;
  return made;
}

/** Show text only where it differs, so that nothing is drawn, or read out, without need. */
function show(id, text) {
  if ($(id).textContent !== String(text)) $(id).textContent = text;
}

function tell(what, detail, mood = "") {
  const entry = element("p", "", mood);
  const now = new Date();
  const time = element("time", now.toLocaleTimeString("en-GB"));
  time.dateTime = now.toISOString();
  entry.append(time, element("b", what), detail);
  $("timeline").prepend(entry);
  while ($("timeline").children.length > KEPT) $("timeline").lastChild.remove();
}

// The token

/** The claims of a token, for show: only the server may trust them, as only it verifies. */
const claimsOf = (jwt) => JSON.parse(atob(jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));

/** Seconds left as the server told them; one clock may stop in sleep, the other may be set. */
const left = () => Math.min(token.deadline - performance.now(), token.ends - Date.now()) / 1000;

guest.addEventListener("token", ({ detail }) => {
  const { jti, exp, iat } = claimsOf(detail.token);
  const before = token && { id: token.id, age: Math.max(0, Math.round(token.life - left())) };
  const ms = detail.expiresIn * 1000;
  token = { id: jti.slice(0, 6), life: exp - iat, deadline: performance.now() + ms, ends: Date.now() + ms };
  if (before) rotations++;
  $("token").classList.remove("fresh");
  requestAnimationFrame(() => $("token").classList.add("fresh"));
  tick();
  const { id } = token;
  setTimeout(() => {
    const how = carried.token === detail.token ? `It came with the answer to ${carried.by}.`
      : performance.now() - asked < 2 * SETTLED ? "This tab asked the token endpoint for it."
      : before ? "Another tab got it and shared it." : "It was in this browser already: no mint.";
    if (before) tell(`Rotated: ${before.id} → ${id}`, `The old one was ${before.age} s old. ${how}`);
    else tell(`Token ${id}`, how);
    askIssuer().catch(() => {}); // it may just have minted
  }, SETTLED);
});

new PerformanceObserver((list) => {
  for (const { name } of list.getEntries()) if (name.endsWith("/guestpass/token")) asked = performance.now();
}).observe({ type: "resource", buffered: true });

function phase(rest) {
  if (paused) return "It has run out. The chat waits until there is another one.";
  if (rest <= 0) return "Past its end. guestpass still lets it pass for a moment.";
  if (rest > WINDOW * token.life) return "Fresh: answers pass as they are.";
  return issuer?.on === false
    ? "Near its end, and the issuer is off. It still holds."
    : "Near its end: the next answer brings its successor.";
}

function tick() {
  if (!token) return;
  const rest = left();
  const whole = Math.max(0, Math.ceil(rest));
  const mood = rest <= 0 ? "over" : rest <= WINDOW * token.life ? "near" : "";
  $("token").classList.toggle("near", mood === "near");
  $("token").classList.toggle("over", mood === "over");
  $("token").style.setProperty("--left", (100 * whole) / token.life);
  show("seconds", whole);
  show("unit", rest > 0 ? "seconds left" : `ended ${Math.floor(-rest)} s ago`);
  show("phase", phase(rest));
  show("token-id", token.id);
  show("rotations", rotations);
  show("answers", answers);
  show("refused", refused);
}

/** Each tab holds a lock of its own, which goes when it goes: no tab has to say goodbye. */
async function countTabs() {
  const { held } = await navigator.locks.query();
  const tabs = held.filter(({ name }) => name.startsWith(TAB)).length;
  show("tabs", tabs === 1 ? "1 tab" : `${tabs} tabs`);
}
navigator.locks?.request(`${TAB}-${Math.random()}`, () => new Promise(() => {}));

// The chat

/** Ask the desk; null, and the chat is paused, where no token can be had. */
async function ask(path, init) {
  const response = await guest.fetch(path, init).catch((error) => error);
  const jwt = response.headers?.get("X-Guest-Token");
  if (jwt) carried = { token: jwt, by: `${init?.method ?? "GET"} /chat` };
  const ok = response.ok === true;
  if (ok) answers++;
  else refused++;
  if (paused === ok) {
    paused = !ok;
    if (ok) tell("The chat goes on", "What was waiting is sent now.");
    else tell("The chat pauses", "The token has run out, and no issuer is there to ask. Messages wait here.", "bad");
  }
  return ok ? response.json() : null;
}

function hear(messages) {
  for (const { number, by, text } of messages.filter((one) => one.number > shown)) {
    say(by, text);
    shown = number;
  }
  $("log").ariaLive = "polite"; // from here on: what was said earlier is not news
}

function say(by, text) {
  const bubble = element("p", "", by);
  bubble.append(element("span", by === "guest" ? "You: " : "Front desk: ", "hidden"), text);
  $("messages").insertBefore(bubble, outbox[0]?.bubble ?? null);
  return bubble;
}

let sending = false;
async function send() {
  if (sending) return;
  sending = true;
  while (outbox.length) {
    const { text, bubble } = outbox[0];
    const answer = await ask(`/chat?after=${shown}`, { method: "POST", body: new URLSearchParams({ text }) });
    if (!answer) {
      if (!bubble.querySelector("small")) bubble.append(element("small", "waits to be sent"));
      break;
    }
    outbox.shift();
    bubble.remove();
    hear(answer.messages);
  }
  sending = false;
}

function write(text) {
  const bubble = say("guest", text);
  bubble.classList.add("waiting");
  $("messages").append(bubble); // after those that wait already
  outbox.push({ text, bubble });
  send();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  write($("text").value);
  $("text").value = "";
});
$("suggestions").addEventListener("click", ({ target }) => target.matches("button") && write(target.textContent));

// The issuer

let turn = 0, switching = false;
async function askIssuer(init) {
  if (switching) return;
  switching = Boolean(init);
  const mine = ++turn;
  const response = await fetch("issuer", init).finally(() => (switching = switching && !init));
  const now = response.ok && (await response.json());
  if (!now || mine !== turn) return; // an answer that another question has overtaken may be stale
  const before = issuer;
  issuer = now;
  show("mints", issuer.mints);
  if (before?.on === issuer.on) return;
  $("switch").ariaChecked = issuer.on;
  $("switch").firstElementChild.textContent = issuer.on ? "on" : "off";
  show("issuer-says", issuer.on
    ? "On: it mints when asked."
    : "Off: it cuts every connection.");
  if (!issuer.on) tell("The issuer is off", "Nothing else has changed: the token that is there still holds.", "warn");
  else if (before) tell("The issuer is on again", "guestpass asks it again soon, in half a minute at most.");
}

$("switch").addEventListener("click", () => {
  const body = JSON.stringify({ on: $("switch").ariaChecked !== "true" });
  askIssuer({ method: "POST", headers: { "content-type": "application/json" }, body }).catch(() => {});
});

// Cheating

async function cheat(attempt) {
  try {
    await attempt();
  } catch {
    tell("Not tried", "There is no token to cheat with just now.", "warn");
  }
}

$("forge").addEventListener("click", () => cheat(async () => {
  const headers = { "X-Guest-Name": "root", x_guest_subject: "root" };
  const { identity } = await (await guest.fetch("/whoami", { headers })).json();
  tell("Claimed to be root", `The backend was told: ${identity.HTTP_X_GUEST_NAME}, ${identity.HTTP_X_GUEST_EMAIL}.`, "warn");
}));

$("tamper").addEventListener("click", () => cheat(async () => {
  const [head, claims, signature] = (await guest.token()).split(".");
  const altered = `${head}.${claims.slice(0, -9)}${claims.at(-9) === "A" ? "B" : "A"}${claims.slice(-8)}.${signature}`;
  const answer = await fetch("/whoami", { headers: { "X-Guest-Token": altered } });
  const { code } = await answer.json();
  tell("Altered one character", `${answer.status} ${code}. The backend saw nothing of it.`, "warn");
}));

// The theme

const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  show("theme", `Theme: ${theme}`);
}
setTheme(localStorage.getItem("guestpass-demo-theme") ?? "auto");
$("theme").addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("guestpass-demo-theme", theme);
  setTheme(theme);
});

// As old chats do, the page asks again and again: each answer may bring a successor.
async function poll() {
  if (!document.hidden) {
    await Promise.all([
      askIssuer().catch(() => {}),
      ask(`/chat?after=${shown}`).then((answer) => answer && (hear(answer.messages), send())),
      navigator.locks && countTabs(),
    ]).catch(() => {});
  }
  setTimeout(poll, EVERY);
}

poll();
setInterval(tick, 250);
