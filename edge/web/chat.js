// The chat beside the player: what is seen and typed. `talk.js` has the connection, `record.js` the messages.
//
// Text of others gets into the page by `textContent` alone. Nothing here touches the player; it is told of the
// stream by the event "headrace:info", and reads the date of the picture from `window.headrace`.
// `window.headrace.chat` is for tests and the curious.

import { MAX_SHOWN, Record } from "./record.js";
import { Talk } from "./talk.js";

const TICK_MS = 100;
const NOTE_MS = 8000;
const NEAR_END_PX = 4;
const TIMEOUT_S = 600;
const CATCH_UP_MS = 1000; // spread over this: a whole crowd may come back at once
const TRIES = 4;
const MAX_HELD = 100;
const MAX_SENT = 100;
const QUIET_MS = 1000; // history is not read aloud
const HUES = 8;
const RANKS = { viewer: 0, moderator: 1, broadcaster: 2, admin: 3 };
const BADGES = { moderator: "Mod", broadcaster: "Host", admin: "Admin" };
const STATES = {
  connecting: "Connecting to the chat…",
  waiting: "The chat is away. Trying again…",
  banned: "You are banned from this chat.",
  closed: "The chat is closed.",
};

const $ = (id) => document.getElementById(`chat-${id}`);
const panel = document.getElementById("chat");
const page = (window.headrace ??= {});
const streamId = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const base = `/api/streams/${encodeURIComponent(streamId)}/chat`;

// --- what outlives the page

// A browser may forbid storage; then the page remembers for itself.
function kept(storage, key) {
  const area = () => window[`${storage}Storage`];
  let here = "";
  return {
    get() {
      try { return area().getItem(key) ?? here; } catch { return here; }
    },
    set(value) {
      here = value;
      try {
        if (value) area().setItem(key, value);
        else area().removeItem(key);
      } catch { /* `here` has it */ }
    },
  };
}

const memory = Object.defineProperties({}, {
  token: kept("session", `headrace.chat.token.${streamId}`),
  guest: kept("local", "headrace.chat.guest"),
  name: kept("local", "headrace.chat.name"),
  instant: kept("local", "headrace.chat.instant"),
});

function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (!fragment.has("chatToken")) return;
  memory.token = fragment.get("chatToken");
  history.replaceState(history.state, "", location.pathname + location.search);
}

// --- state

let settings = null;
let viewers = 0;
let following = true; // the end of the list, or wherever the reader went back to
let isMoved = false; // there are lines to follow
let readyMs = 0; // performance.now() from which on the viewer may write
let isSilenced = false; // by a moderator, until then; who tries all the same finds out whether that was taken back
let removals = 0;
let seen = ""; // id of the newest message that the reader has had in view
let skewMs = 0; // the server's clock minus ours
let noted = "";
let noteTimer = 0;
let menuOf = null; // the button that has opened it
const sent = new Map(); // by clientId: what has not come back yet

const talk = new Talk({
  address: () => `${location.origin.replace(/^http/, "ws")}${base}/ws`,
  memory,
  hear,
  changed: showState,
});

const isMine = ({ userId }) => userId === talk.me?.userId;
const rank = (role) => RANKS[role ?? "viewer"] ?? 0;
const isModerator = () => rank(talk.me?.role) >= RANKS.moderator;

const record = new Record({
  show: (entry, next) => {
    isMoved = true;
    entry.line = line(entry.message);
    $("list").insertBefore(entry.line, next?.line ?? null);
  },
  remove: ({ line: gone }) => {
    isMoved = true;
    if (gone.contains(menuOf)) closeMenu();
    gone.remove();
  },
  pictureMs,
  startedMs: () => Date.parse(page.info?.startedAt ?? "") || null,
  isMine,
});

// The date of the picture on the screen; null if nothing plays.
function pictureMs() {
  if (page.state !== "live" && page.state !== "stalled") return null;
  const { hls, video } = page;
  if (hls) return hls.playingDate?.getTime() ?? null;
  const startMs = video.getStartDate?.().getTime(); // Safari
  return startMs ? startMs + video.currentTime * 1000 : null;
}

// --- what the server says

const HEARD = {
  joined(frame) {
    settings = frame.settings;
    viewers = frame.viewers;
    speak();
    const isBack = record.newest !== "";
    $("list").setAttribute("aria-live", "off");
    setTimeout(() => $("list").setAttribute("aria-live", "polite"), QUIET_MS);
    relabel();
    record.add(frame.messages);
    takeBack(frame.messages);
    pin(frame.pinned);
    $("held").replaceChildren();
    if (isBack) catchUp(Math.random() * CATCH_UP_MS);
    if (talk.me.isGuest) $("name").value = talk.me.username;
  },
  role({ role }) {
    talk.me.role = role;
    relabel();
  },
  messages({ messages }) {
    record.add(messages);
    for (const { content, userId } of messages) unhold((held) => held.userId === userId && held.content === content);
    const mine = messages.filter(isMine);
    for (const { clientId } of mine) sent.delete(clientId);
    if (!mine.length) return;
    speak();
    if (!isModerator()) wait(settings.slowModeS);
  },
  deleted({ ids, userId, all }) {
    const gone = new Set(ids);
    take((message) => all || gone.has(message.id) || message.userId === userId);
  },
  banned({ userId, until, reason }) {
    take((message) => message.userId === userId);
    if (userId !== talk.me?.userId || !until) return;
    const seconds = Math.max(0, (until - Date.now() - skewMs) / 1000);
    if (seconds === 0) speak();
    else silence(seconds);
    if (seconds > 0) note(`A moderator has silenced you for ${lasting(seconds)}${reason ? `: ${reason}` : ""}.`, seconds * 1000);
  },
  settings(frame) {
    settings = frame.settings;
    if (!isSilenced && settings.slowModeS === 0) readyMs = 0;
  },
  pinned: ({ message }) => pin(message),
  viewers({ count }) { viewers = count; },
  held({ message, reason }) {
    sent.delete(message.clientId);
    if (isMine(message)) note(`Your message waits for a moderator: ${reason}.`);
    if (isModerator()) hold(message, reason);
  },
  notice: ({ text }) => {
    for (const [id, { text: said }] of sent) if (said.startsWith("/")) sent.delete(id);
    note(text, 3 * NOTE_MS);
  },
  lagged: () => catchUp(0),
  error({ code, message, retryAfter, clientId }) {
    const later = retryAfter ? ` Try again in ${lasting(retryAfter)}.` : "";
    note(`${message.charAt(0).toUpperCase()}${message.slice(1)}.${later}`, Math.max(NOTE_MS, 1000 * (retryAfter ?? 0)));
    if (clientId !== undefined) giveBack(clientId);
    if (retryAfter && code === "slowMode") wait(retryAfter);
    if (retryAfter && code === "timedOut") silence(retryAfter);
    if (code === "badName" || code === "nameTaken") $("name").focus();
  },
};

function hear(frame) {
  if (frame.type === "joined") skewMs = frame.serverTime - Date.now();
  HEARD[frame.type]?.(frame); // a newer server may say more
  settle();
}

function take(isGone) {
  removals += 1;
  record.drop(isGone);
  unhold(isGone);
}

// After a gap, the store has the last word: what is missing comes, what was deleted goes.
async function catchUp(delayMs, tries = TRIES) {
  await new Promise((done) => { setTimeout(done, delayMs); });
  const upto = record.newest;
  const before = removals;
  try {
    const answer = await fetch(`${base}?limit=${MAX_SHOWN}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const { messages } = await answer.json();
    if (removals !== before) throw new Error("messages were deleted meanwhile");
    const ids = new Set(messages.map(({ id }) => id));
    record.drop(({ id }) => id <= upto && !ids.has(id));
    record.add(messages);
    settle();
  } catch {
    if (tries > 1 && talk.state === "joined") catchUp(CATCH_UP_MS, tries - 1);
  }
}

// --- writing

function wait(seconds) {
  readyMs = Math.max(readyMs, performance.now() + 1000 * seconds);
}

function silence(seconds) {
  readyMs = performance.now() + 1000 * seconds;
  isSilenced = true;
}

function speak() {
  readyMs = 0;
  isSilenced = false;
}

function send(text) {
  const clientId = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");
  const isTold = talk.send({ type: "message", content: text, clientId });
  if (isTold) sent.set(clientId, { text });
  if (sent.size > MAX_SENT) sent.delete(sent.keys().next().value);
  return isTold;
}

function submit(event) {
  event.preventDefault();
  const field = $("text");
  const text = field.value.trim();
  if (!text || $("send").getAttribute("aria-disabled") === "true" || !send(text)) return;
  field.value = "";
  follow();
  note("");
}

// A message that was refused, or lost with the line, is there to be sent again.
function giveBack(clientId) {
  const text = sent.get(clientId)?.text;
  sent.delete(clientId);
  if (text && !$("text").value) $("text").value = text;
}

function takeBack(messages) {
  for (const [clientId, { text }] of sent) {
    const isThere = messages.some((one) => isMine(one) && (one.clientId === clientId || one.content === text));
    if (isThere) sent.delete(clientId);
    else giveBack(clientId);
  }
}

function rename() {
  const name = $("name").value.trim();
  if (name === talk.me?.username) return;
  if (name) talk.rename(name);
  else $("name").value = talk.me?.username ?? "";
}

// --- what is shown

function make(kind, className, text = "") {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  return element;
}

function button(text, act) {
  const made = make("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function hue(userId) {
  let sum = 0;
  for (const character of userId) sum = (31 * sum + character.codePointAt(0)) >>> 0;
  return `hue-${sum % HUES}`;
}

function line(message) {
  const { content, id, role, timestamp, userId, username } = message;
  const made = make("p", "line");
  made.dataset.id = id;
  const at = make("time", "quiet", new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  at.dateTime = new Date(timestamp).toISOString();
  made.append(at, " ");
  if (BADGES[role]) made.append(make("span", "role", BADGES[role]), " ");
  const text = make("span", "said", content);
  text.dir = "auto";
  made.append(make("bdi", `who ${hue(userId)}`, username), make("span", "sr", " says: "), " ", text);
  if (isModerator() || isMine(message)) {
    const more = button("⋯", () => (menuOf === more ? closeMenu() : openMenu(message, more)));
    more.className = "more";
    more.setAttribute("aria-label", `More about the message of ${username}`);
    more.setAttribute("aria-expanded", "false");
    made.append(more);
  }
  return made;
}

// Who may do what has changed.
function relabel() {
  closeMenu();
  for (const entry of record.shown) {
    const fresh = line(entry.message);
    entry.line.replaceWith(fresh);
    entry.line = fresh;
  }
  $("unpin").hidden = !isModerator();
}

function openMenu(message, opener) {
  closeMenu();
  const { id, role, userId, username } = message;
  const menu = make("span", "menu");
  menu.setAttribute("role", "group");
  menu.setAttribute("aria-label", `Message of ${username}`);
  const act = (text, frame) => menu.append(button(text, () => {
    talk.send(frame);
    closeMenu();
    $("list").focus();
  }));
  act("Delete", { type: "delete", id });
  if (isModerator()) {
    act("Pin", { type: "pin", id });
    if (!isMine(message) && rank(role) < rank(talk.me.role)) {
      act("Time out 10 min", { type: "timeout", userId, seconds: TIMEOUT_S });
      act("Ban", { type: "ban", userId });
    }
  }
  opener.setAttribute("aria-expanded", "true");
  opener.after(menu);
  menuOf = opener;
  menu.firstChild.focus();
  menu.scrollIntoView({ block: "nearest" });
}

function closeMenu() {
  menuOf?.setAttribute("aria-expanded", "false");
  menuOf?.nextSibling?.remove();
  menuOf = null;
}

function pin(message) {
  $("pin").hidden = !message;
  $("pinned").replaceChildren();
  if (message) $("pinned").append(make("bdi", `who ${hue(message.userId)}`, message.username), " ", message.content);
  $("unpin").hidden = !isModerator();
}

function hold(message, reason) {
  const item = make("li", "line");
  item.held = message;
  const decide = (type) => () => {
    talk.send({ type, id: message.id });
    item.remove();
    settle();
  };
  item.append(make("bdi", `who ${hue(message.userId)}`, message.username), " ", make("span", "said", message.content));
  item.append(" ", make("span", "quiet", `(${reason})`));
  item.append(button("Approve", decide("approve")), button("Deny", decide("deny")));
  $("held").append(item);
  while ($("held").children.length > MAX_HELD) $("held").firstChild.remove();
}

function unhold(isGone) {
  for (const item of [...$("held").children]) if (isGone(item.held)) item.remove();
}

function lasting(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function note(text, forMs = NOTE_MS) {
  clearTimeout(noteTimer);
  noted = text;
  if (text) noteTimer = setTimeout(() => note(""), forMs);
  set($("note"), noted || STATES[talk.state] || "");
}

function showState(state) {
  panel.dataset.state = state;
  const isOver = state === "banned" || state === "closed";
  note(isOver ? "" : noted);
  if (state === "banned") record.drop(isMine);
  settle();
}

// Everything that follows from the state; after each change of it, and on each tick.
function settle() {
  record.release();
  if (isMoved && menuOf === null && following) {
    $("list").scrollTop = $("list").scrollHeight;
    isMoved = false;
  }
  const last = record.shown.at(-1)?.message.id;
  if (following) seen = last;
  $("newest").hidden = following || last === seen;
  $("review").hidden = !$("held").children.length;
  const { me, state } = talk;
  const isShut = me?.isGuest && settings && !settings.guestsAllowed;
  const leftS = isShut ? 0 : Math.max(0, (readyMs - performance.now()) / 1000);
  if (leftS === 0) isSilenced = false;
  set($("send"), leftS > 0 ? lasting(leftS) : "Send");
  const mustWait = leftS > 0 && !isSilenced;
  $("send").setAttribute("aria-disabled", String(mustWait || state !== "joined" || Boolean(isShut)));
  $("text").disabled = state === "banned" || state === "closed" || Boolean(isShut);
  $("text").placeholder = isShut ? "Guests cannot write here" : hint(settings);
  $("again").hidden = state !== "banned";
  $("named").hidden = Boolean(memory.token) || state === "banned";
  const ahead = record.waiting.length && page.video?.paused ? `, ${record.waiting.length} wait for the picture` : "";
  set($("facts"), state === "joined" ? `${viewers} here${ahead}` : "");
}

function follow() {
  following = isMoved = true;
  settle();
}

function hint(rules) {
  if (rules?.emoteOnly && !isModerator()) return "Emoji only";
  return rules?.slowModeS && !isModerator() ? `Message (one in ${rules.slowModeS} s)` : "Message";
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- hands

$("list").addEventListener("scroll", () => {
  const { clientHeight, scrollHeight, scrollTop } = $("list");
  following = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  if (following) settle();
});
$("newest").addEventListener("click", () => {
  follow();
  $("list").focus();
});
$("form").addEventListener("submit", submit);
$("name").addEventListener("change", rename);
$("name").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault(); // it would send the message
  rename();
  $("text").focus();
});
$("unpin").addEventListener("click", () => talk.send({ type: "unpin" }));
$("again").addEventListener("click", () => talk.connect());
$("sync").addEventListener("change", () => {
  record.isSynced = $("sync").checked;
  memory.instant = record.isSynced ? "" : "1";
  settle();
});
panel.addEventListener("keydown", (event) => {
  event.stopPropagation(); // letters are keys of the player elsewhere
  if (event.key !== "Escape" || menuOf === null) return;
  const opener = menuOf;
  closeMenu();
  opener.focus();
});
window.addEventListener("online", () => talk.hurry());
new ResizeObserver(() => { if (following) follow(); }).observe($("list"));

function begin() {
  const { info } = page;
  if (!info) return;
  panel.hidden = !info.chatEnabled;
  if (!info.chatEnabled) talk.stop();
  else if (talk.state === "closed") talk.connect();
}

takeToken();
record.isSynced = !memory.instant;
$("sync").checked = record.isSynced;
$("name").value = memory.name;
page.chat = {
  get state() { return talk.state; },
  get me() { return talk.me; },
  get messages() { return record.shown.map(({ message }) => message); },
  get waiting() { return record.waiting.length; },
  get known() { return record.known.size; },
  send,
};
document.addEventListener("headrace:info", begin);
setInterval(settle, TICK_MS);
begin();
