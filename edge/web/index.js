// The directory: lists what is live and keeps the list fresh. No state but the page's.

const REFRESH_MS = 5000;

const list = document.getElementById("streams");
const summary = document.getElementById("summary");

function card(stream) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.className = "card";
  link.href = `/watch/${encodeURIComponent(stream.id)}`;
  const badge = document.createElement("span");
  badge.className = "badge live";
  badge.textContent = "Live";
  const title = document.createElement("strong");
  title.textContent = stream.title;
  const facts = document.createElement("span");
  facts.className = "quiet";
  facts.textContent = [stream.broadcasterId, since(stream.startedAt), watched(stream.viewerCount)].filter(Boolean).join(" · ");
  link.append(badge, title, facts);
  item.append(link);
  return item;
}

function since(startedAt) {
  if (!startedAt) return "";
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(startedAt)) / 60000));
  if (minutes < 1) return "started just now";
  return minutes < 60 ? `for ${minutes} min` : `for ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function watched(count) {
  if (!count) return "";
  return count === 1 ? "1 viewer" : `${count} viewers`;
}

let shown = "";

async function refresh() {
  let text;
  try {
    const answer = await fetch("/api/streams/live", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const { streams } = await answer.json();
    const state = JSON.stringify(streams.map((stream) => [stream, since(stream.startedAt)]));
    if (state !== shown) {
      shown = state;
      // Keep the keyboard where it is across a refresh.
      const focused = list.contains(document.activeElement) ? document.activeElement.href : null;
      list.replaceChildren(...streams.map(card));
      if (focused) [...list.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
    }
    text = streams.length === 0 ? "Nobody is live right now."
      : streams.length === 1 ? "One broadcast." : `${streams.length} broadcasts.`;
  } catch {
    text = "The server does not answer. Trying again…";
  }
  if (summary.textContent !== text) summary.textContent = text;
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
document.getElementById("server").textContent = `rtmp://${location.hostname}/live`;
document.getElementById("create").textContent = [
  "curl -X POST",
  '-H "Authorization: Bearer $(cat headrace-data/admin-token)"',
  `-d '{"broadcasterId": "me", "title": "My first stream"}'`,
  `${location.origin}/api/streams`,
].join(" \\\n  ");
loop();
