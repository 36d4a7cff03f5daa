// The player: asks whether the stream is live, plays it near the live edge, and starts over when
// anything breaks. States: connecting, waiting, live, stalled, ended, missing, refused, broken (see `show`).
//
// hls.js decides what to load; this page decides the pace (`keepPace`), the moment of a change of quality
// (`abr.js`) and when to begin again.
// `window.headrace` is for tests and the curious.

import { timedAbr } from "./abr.js";
import { Access } from "./access.js";
import { Presence } from "./presence.js";

const POLL_MS = 2000;
const REFUSED_MS = 10000; // until it is looked whether a stream has become public
const RETURN_MS = 500; // the same while a broadcast that broke off may be about to come back
const RETURN_FOR_MS = 30000;
const SOON_MS = 300;
const MAX_BACKOFF_MS = 2500; // whoever comes back (a server that was started again) is found within five seconds
const ANSWER_MS = 8000; // a server that says nothing for so long does not answer
const PACE_MS = 250;

// Pace. hls.js's own catch-up needs more than one second of buffer, which a viewer one second behind
// never has; so it is left off (rate 1) and done here, by the same means: a slightly faster clock.
const MAX_RATE = 1.25;
const SLOW_RATE = 0.95;
const STARVED_RATE = 0.9; // the line is too slow for this quality: make the buffer last until it is changed
const TOLERANCE_S = 0.1; // this near to the target is at the target
const THIN_BUFFER_S = 0.2; // less than this ahead: slow down rather than stall
const FULL_BUFFER_S = 0.4; // speed up only with this much ahead
const STALLED_MS = 2000; // a picture that stands for so long is worth a word
const STUCK_MS = 2000; // and for so long, while parts are listed that hls.js does not ask for, a seek, then a new beginning
const UNASKED_MS = 400; // it asks within a tenth of a second of the playlist that lists them
const LOST_S = 1; // further ahead of the newest part than this there will be nothing to play
const JUMP_S = 4; // further behind than this while following the edge: seek

const HLS_CONFIG = {
  lowLatencyMode: true,
  enableWorker: false, // fMP4 needs no remuxing; and workers from blob: would weaken the CSP
  liveDurationInfinity: true,
  backBufferLength: 45,
  maxBufferLength: 20,
  liveSyncOnStallIncrease: 0.25, // per stall, instead of a whole second
  maxLiveSyncPlaybackRate: 1, // see `keepPace`
  abrEwmaDefaultEstimate: 4e6, // a fair line; the first parts correct it
  capLevelToPlayerSize: true,
  // While the publisher is away (the server waits for it, a minute by default), playlists stand still: a reload that
  // is held too long is asked again at once, and a 503 within two seconds, for as long as the broadcast exists.
  // Then it is a 404, which nobody repeats, and `recover` takes over.
  manifestLoadPolicy: policy(12000, 4),
  playlistLoadPolicy: policy(10000, Infinity),
  fragLoadPolicy: policy(10000, 30),
  nudgeMaxRetry: 10, // nudges that do not help (a machine with too much to do) are no reason to begin anew
};

function policy(maxTimeToFirstByteMs, retries) {
  return {
    default: {
      maxTimeToFirstByteMs,
      maxLoadTimeMs: 20000,
      timeoutRetry: { maxNumRetry: retries, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: { maxNumRetry: retries, retryDelayMs: 500, maxRetryDelayMs: 2000 },
    },
  };
}

const $ = (id) => document.getElementById(id);
const player = $("player");
const video = $("video");
const streamId = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const base = `/api/streams/${encodeURIComponent(streamId)}`;

const page = { hls: null, abr: null, signs: {}, video, stalls: 0, errors: [], state: "connecting", latency };
window.headrace = page;

const presence = new Presence(
  `${base}/viewers`, () => hasPlayed && !video.paused, () => !page.hls, showViewers);

const access = new Access(base, () => {
  if (page.state !== "live" && page.state !== "stalled") connect();
});
let refusedToken = null;
let following = true; // at the live edge, or wherever the viewer went back to
let hasPlayed = false;
let failures = 0;
let brokeAt = -RETURN_FOR_MS;
let timer = 0;
let picked = ""; // label of the quality that the viewer chose; "" leaves it to hls.js

// --- what is shown

const BADGES = {
  connecting: "Connecting", waiting: "Offline", live: "Live", stalled: "Interrupted",
  ended: "Ended", missing: "Not found", refused: "Not public", broken: "Error",
};

function show(state, message) {
  page.state = state;
  player.dataset.state = state;
  if ($("message").textContent !== message) $("message").textContent = message;
  const badge = $("badge");
  badge.textContent = BADGES[state];
  badge.classList.toggle("live", state === "live");
}

function showViewers(count) {
  $("viewers").textContent = count === 1 ? "1 viewer" : `${count} viewers`;
  $("viewers").hidden = false;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function describe(info) {
  $("title").textContent = info.title;
  $("broadcaster").textContent = info.broadcasterId;
  document.title = `${info.title}: Headrace`;
  page.info = info;
  document.dispatchEvent(new Event("headrace:info")); // the chat goes by it
}

// --- life of a playback

async function connect() {
  clearTimeout(timer);
  let info;
  try {
    const answer = await fetch(base, { cache: "no-store", signal: AbortSignal.timeout?.(ANSWER_MS) });
    if (answer.status === 404) {
      show("missing", "There is no such stream.");
      return;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    info = await answer.json();
  } catch {
    show("connecting", "The server does not answer. Trying again…");
    again(backoff());
    return;
  }
  describe(info);
  if (info.status === "live" && info.quality.length > 0) {
    await enter(info.playback ?? "public");
  } else if (info.status === "live") {
    // Live, but the publisher has sent no picture yet: there is no playlist to ask for.
    show("connecting", "The broadcast is about to begin…");
    again(SOON_MS);
  } else {
    if (info.status === "ended") show("ended", "The broadcast has ended.");
    else show("waiting", "Waiting for the broadcast to begin…");
    again(performance.now() - brokeAt < RETURN_FOR_MS ? RETURN_MS : POLL_MS);
  }
}

// Begin, if we may watch.
async function enter(policy) {
  if (policy === "token" && access.token && access.token === refusedToken) {
    again(REFUSED_MS); // that was its answer already; an address with another one begins anew
    return;
  }
  try {
    const refusal = await access.prepare(policy);
    if (refusal) refuse(refusal);
    else begin();
  } catch {
    show("connecting", "The server cannot say whether you may watch. Trying again…");
    again(backoff());
  }
}

function refuse(message) {
  stop();
  show("refused", message);
  again(REFUSED_MS);
}

function again(delayMs) {
  clearTimeout(timer);
  timer = setTimeout(connect, delayMs);
}

function backoff() {
  failures += 1;
  return Math.min(MAX_BACKOFF_MS, 500 * 2 ** Math.min(failures, 3)) * (0.75 + Math.random() / 2);
}

function begin() {
  stop();
  if (page.state !== "live") show("connecting", "Connecting…");
  following = true;
  const source = `${access.media}/master.m3u8`;
  if (window.Hls?.isSupported()) {
    beginHls(source);
  } else if (video.canPlayType("application/vnd.apple.mpegurl")) {
    video.src = source; // Safari on iPhone
    play();
  } else {
    show("broken", window.Hls ? "This browser cannot play live video." : "The player is missing.");
  }
}

function beginHls(source) {
  const { DefaultConfig, Events, ErrorDetails, ErrorTypes } = window.Hls;
  const abrController = timedAbr(DefaultConfig.abrController);
  // What it asks for says who asks and how it fares (CMCD), by the name of this page's signs of life: one viewer.
  const cmcd = { sessionId: presence.viewerId, contentId: streamId };
  const xhrSetup = (xhr, url) => {
    const now = access.rewrite(url);
    if (now !== url) xhr.open("GET", now, true);
  };
  const hls = new window.Hls({ ...HLS_CONFIG, abrController, cmcd, xhrSetup });
  page.hls = hls;
  page.signs = { unasked: Infinity, loaded: 0, loading: null, hasSought: false };
  page.abr = hls.abrController;
  let mediaRecovered = false;
  hls.on(Events.ERROR, (_event, data) => {
    if (data.details === ErrorDetails.INTERNAL_ABORTED) return; // to load another level instead
    page.errors.push({ details: data.details, fatal: data.fatal, at: Date.now() });
    if (page.errors.length > 100) page.errors.shift();
    if (!data.fatal || page.hls !== hls) return;
    if ([401, 403].includes(data.response?.code)) {
      refusedToken = access.token;
      if (page.info.playback === "webhook" && !access.given && failures++ < 2) recover();
      else refuse(access.token ? "This link has expired, or is not for you." : "This stream is not public.");
      return;
    }
    if (data.type === ErrorTypes.MEDIA_ERROR && !mediaRecovered) {
      mediaRecovered = true;
      hls.recoverMediaError();
    } else {
      recover();
    }
  });
  const { signs } = page;
  hls.on(Events.LEVEL_UPDATED, (_event, { details }) => {
    if (details.advanced) signs.unasked = Math.min(signs.unasked, performance.now());
  });
  for (const name of ["FRAG_LOADING", "FRAG_LOADED", "FRAG_BUFFERED"]) {
    hls.on(Events[name], (_event, { part, frag }) => {
      if (name === "FRAG_BUFFERED") signs.hasSought = false;
      signs.loaded = performance.now();
      signs.unasked = Infinity;
      signs.loading = name === "FRAG_LOADING" ? (part ?? frag) : null;
    });
  }
  hls.on(Events.MANIFEST_PARSED, () => listQualities(hls));
  hls.on(Events.LEVELS_UPDATED, () => listQualities(hls));
  hls.on(Events.LEVEL_SWITCHED, () => showQuality(hls));
  // Not earlier: until the first part is buffered, hls.js has not sought to its start position, and
  // takes a playing video that stands at 0 for one that is stuck in front of a hole.
  hls.once(Events.FRAG_BUFFERED, play);
  hls.loadSource(source);
  hls.attachMedia(video);
}

function stop() {
  page.hls?.destroy();
  page.hls = page.abr = null;
  hasPlayed = false;
  presence.leave();
  video.removeAttribute("src");
  video.load();
}

function recover() {
  brokeAt = performance.now();
  stop();
  show("connecting", "The connection broke. Trying again…");
  again(backoff());
}

async function play() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError" || video.muted) return;
    video.muted = true; // only muted video may start by itself
    video.play().catch(() => {});
  }
}

// --- pace

function latency() {
  if (page.hls) return hasPlayed && page.hls.latency > 0 ? page.hls.latency : null;
  const start = video.getStartDate?.().getTime(); // Safari: EXT-X-PROGRAM-DATE-TIME
  return start ? (Date.now() - start) / 1000 - video.currentTime : null;
}

function ahead() {
  const { buffered, currentTime } = video;
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime && currentTime <= buffered.end(i)) {
      return buffered.end(i) - currentTime;
    }
  }
  return 0;
}

function keepPace() {
  const hls = page.hls;
  const behind = latency();
  const details = hls?.latestLevelDetails;
  const live = details?.live ?? false;
  // Where numbers jump (the origin was started again), hls.js guesses how far on the media is, seeks there, and stays
  // when it finds the media in another place.
  const isLost = live && following && details.PTSKnown && video.currentTime > details.edge + LOST_S;
  if (isLost && hls.liveSyncPosition !== null) video.currentTime = hls.liveSyncPosition;
  let rate = 1;
  if (live && behind !== null && following && !video.paused && !video.seeking) {
    const late = behind - hls.targetLatency;
    const buffer = ahead();
    if (late > JUMP_S && hls.liveSyncPosition !== null) video.currentTime = hls.liveSyncPosition;
    else if (page.abr?.isTooSlow) rate = STARVED_RATE;
    else if (buffer < THIN_BUFFER_S) rate = SLOW_RATE;
    else if (late > TOLERANCE_S && buffer > FULL_BUFFER_S) rate = Math.min(MAX_RATE, 1 + late / 3);
  }
  rate = Math.round(rate * 20) / 20; // few distinct rates: each change costs the audio a little
  if (hls && video.playbackRate !== rate) video.playbackRate = rate;
  watchProgress();
  $("latency").textContent = behind === null ? "–" : `${behind.toFixed(1)} s`;
  $("golive").classList.toggle("at-edge", live && following && !video.paused);
  $("golive").disabled = !live || (following && !video.paused);
}

let moved = { position: 0, at: 0 };

function watchProgress() {
  const now = performance.now();
  if (video.currentTime !== moved.position || video.paused || !hasPlayed) {
    moved = { position: video.currentTime, at: now };
    if (page.state === "stalled") show("live", "Live");
  } else if (page.state === "live" && now - moved.at > STALLED_MS) {
    show("stalled", "Nothing new is arriving. Waiting…");
  } else if (page.state === "stalled" && isStuck(now)) {
    const { hls, signs } = page;
    if (signs.hasSought || hls.liveSyncPosition === null) {
      begin(); // at once: the server answers, hls.js is what is stuck
    } else {
      video.currentTime = hls.liveSyncPosition;
      moved.position = video.currentTime; // that was us: nothing plays yet
      signs.hasSought = true;
      signs.unasked = now;
    }
  }
}

// hls.js has lost its way: it reads that there are new parts, and does not ask for them. When nothing is listed, the
// publisher is away; when something is being loaded, the line is slow.
function isStuck(now) {
  if (!page.hls || now - moved.at < STUCK_MS) return false;
  const { unasked, loaded, loading } = page.signs;
  // hls.js has no event for a load that it gives up, or whose result it does not want any more.
  const isLoading = loading && !loading.stats.aborted && !loading.stats.loading.end;
  return isLoading ? now - loaded > HLS_CONFIG.fragLoadPolicy.default.maxLoadTimeMs : now - unasked > UNASKED_MS;
}

function goLive() {
  following = true;
  const position = page.hls?.liveSyncPosition;
  if (position) video.currentTime = position;
  play();
}

// --- controls

function label({ width, height, frameRate, name }, index) {
  if (!height) return name || `Quality ${index + 1}`;
  return `${width ? Math.min(width, height) : height}p${frameRate > 31 ? Math.round(frameRate) : ""}`;
}

function option(level, index) {
  const isSource = /\/source\/[^/]*$/.test(level.uri);
  return new Option(label(level, index) + (isSource ? " (source)" : ""), String(index));
}

function listQualities(hls) {
  const options = hls.levels.map(option);
  const chosen = options.findIndex(({ text }) => text === picked);
  $("quality").replaceChildren(new Option("Auto", "-1"), ...options.reverse());
  $("quality").value = String(chosen);
  $("qualities").hidden = hls.levels.length < 2;
  page.abr?.pin(chosen);
  if (chosen >= 0 && hls.loadLevel < 0) hls.startLevel = chosen; // nothing is loaded yet: begin with it
  showQuality(hls);
}

function showQuality(hls) {
  const auto = $("quality").options[0];
  const playing = hls.levels[hls.currentLevel];
  if (auto) auto.text = playing ? `Auto (${label(playing, hls.currentLevel)})` : "Auto";
}

function togglePlay() {
  if (video.paused) {
    play();
  } else {
    following = false;
    video.pause();
  }
}

function toggleMute() {
  video.muted = !video.muted;
  if (!video.muted && video.volume === 0) video.volume = 0.5;
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (player.requestFullscreen) player.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.(); // iPhone
}

function showSound() {
  const silent = video.muted || video.volume === 0;
  $("mute").textContent = silent ? "Unmute" : "Mute";
  $("unmute").hidden = !silent || page.state !== "live";
  $("volume").value = silent ? 0 : video.volume;
}

$("play").addEventListener("click", togglePlay);
$("mute").addEventListener("click", toggleMute);
$("unmute").addEventListener("click", toggleMute);
$("golive").addEventListener("click", goLive);
$("full").addEventListener("click", toggleFull);
$("volume").addEventListener("input", (event) => {
  video.volume = Number(event.target.value);
  video.muted = video.volume === 0;
});
$("quality").addEventListener("change", (event) => {
  const index = Number(event.target.value);
  picked = index < 0 ? "" : event.target.selectedOptions[0].text;
  page.abr?.pin(index);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select")) return;
  const action = { k: togglePlay, m: toggleMute, l: goLive, f: toggleFull }[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});

let idleTimer = 0;
function wake() {
  player.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => player.classList.add("idle"), 3000);
}
for (const name of ["pointermove", "pointerdown", "keydown", "focusin"]) player.addEventListener(name, wake);

// --- what the video says

video.addEventListener("playing", () => {
  hasPlayed = true;
  if (!presence.isCounted) presence.beat();
  failures = 0;
  show("live", "Live");
  showSound();
});
video.addEventListener("waiting", () => {
  if (hasPlayed && !video.seeking && !video.ended) page.stalls += 1;
});
video.addEventListener("ended", () => {
  stop();
  show("ended", "The broadcast has ended.");
  again(POLL_MS);
});
video.addEventListener("error", () => {
  if (!page.hls && video.hasAttribute("src")) recover(); // hls.js reports its own
});
video.addEventListener("volumechange", showSound);
for (const name of ["play", "pause"]) {
  video.addEventListener(name, () => { $("play").textContent = video.paused ? "Play" : "Pause"; });
}

if (!window.Hls) problem("hls.js is missing on this server: run `make setup` there.");
video.muted = true;
showSound();
wake();
setInterval(keepPace, PACE_MS);
connect();
