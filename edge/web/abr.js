// Which quality, and when to change it: hls.js's own control of the level, with better timing.
//
// hls.js chooses the level; this chooses the moment. Within a segment, a change loads everything since its
// keyframe once more, part by part: at 60 ms round trip that takes most of the second which a viewer near the
// live edge has in the buffer. (Seen without this: a stall at most steps up, five changes in the first eight
// seconds.) Just behind a keyframe it costs two parts. So a change, hls.js's or the viewer's, waits for the
// next segment, with two exceptions: a line that cannot bring the rest of this one in time (`rescue`), and
// a rest that is missing (`flee`). Then another level begins at once.
//
// It replaces hls.js's abrController (seen with 1.7.4), by its documented configuration; `place`, `rescue` and
// `flee` go by what the documented events and properties tell. The one private name is `_abandonRulesCheck`.

const SETTLED_S = 0.35; // a segment listed for so long is begun in slower renditions, too
const AT_START_S = 0.001; // less than this into a segment, hls.js may still think of the one before
const WINDOW_S = 0.65; // so far into a segment, a change waits for the next one
const SLOW_MS = 200; // a part under way for less says nothing of the line
const RESERVE_S = 0.25; // what shall still be in the buffer when the worst is over
const CALM_MS = 8000; // after a step down, no step up for so long
const RETRY_MS = 10000; // a level with a gap is tried again after so long
const KEEP_MS = 6000; // after a change, nothing is cut off behind the playhead for so long

/** A class for `abrController`, made of hls.js's own. */
export const timedAbr = (AbrController) => class extends AbrController {
  constructor(hls) {
    super(hls);
    this.order = -1; // a level to take at once
    this.pinned = -1; // the viewer's choice
    this.pinnedFrom = 0;
    this.fellAt = -CALM_MS;
    this.gapAt = []; // by level: when a part of it was missing
    this.loading = null;
    this.seen = Infinity; // bit/s of the newest part: hls.js's estimate moves once a segment while it is behind
    this.isTooSlow = false; // the line, for this level: whoever sets the pace may take that into account
    this._abandonRulesCheck = () => {}; // hls.js's own rescue: it sees only the first of the parts it loads
    const { Events } = hls.constructor;
    hls.on(Events.FRAG_LOADING, (_event, { frag }) => { this.loading = frag; });
    hls.on(Events.FRAG_LOADED, (_event, { frag, part }) => {
      const { loading, loaded } = (part ?? frag).stats;
      this.seen = (8000 * loaded) / Math.max(1, loading.end - loading.first);
    });
    hls.on(Events.LEVEL_SWITCHING, (_event, { level }) => {
      if (level < this.level) this.fellAt = performance.now();
      this.level = level;
      this.keepAll();
    });
    this.rescueTimer = setInterval(() => this.rescue(), 100);
  }

  // hls.js 1.7 loses count of a segment whose parts it is replacing when it trims the back buffer meanwhile,
  // and then stands at the segment's end: seen once in some twenty changes, with a back buffer to trim.
  keepAll() {
    const { config } = this.hls;
    this.backBuffer ??= config.backBufferLength;
    config.backBufferLength = Infinity;
    clearTimeout(this.keepTimer);
    this.keepTimer = setTimeout(() => { config.backBufferLength = this.backBuffer; }, KEEP_MS);
  }

  destroy() {
    clearInterval(this.rescueTimer);
    clearTimeout(this.keepTimer);
    super.destroy();
  }

  /** Play this level, whatever the line is like; -1: choose. */
  pin(index) {
    this.pinned = index;
    this.pinnedFrom = 0;
  }

  get nextAutoLevel() {
    if (!this.hls) return -1;
    const { loadLevel } = this.hls;
    if (this.order === loadLevel) this.order = -1;
    if (this.order >= 0) return this.order;
    const wanted = this.wanted(loadLevel);
    return wanted === loadLevel || this.isGoodMoment() ? wanted : loadLevel;
  }

  // hls.js repeats each choice here; anything else is its order after an error.
  set nextAutoLevel(level) {
    if (this.hls && level >= 0 && level !== this.hls.loadLevel) {
      this.order = level;
      this.pinnedFrom = performance.now() + RETRY_MS;
    }
    super.nextAutoLevel = level;
  }

  wanted(loadLevel) {
    const now = performance.now();
    if (this.pinned >= 0 && now >= this.pinnedFrom) return this.pinned;
    const choice = super.nextAutoLevel;
    if (now - this.gapAt[choice] < RETRY_MS) return loadLevel;
    return choice > loadLevel && loadLevel >= 0 && now - this.fellAt < CALM_MS ? loadLevel : choice;
  }

  // Just behind the keyframe. With the buffer a hair before it (sound and pictures end at different times), hls.js
  // would load all of the segment before once more, and pull it from under the playhead.
  isGoodMoment() {
    const place = this.place();
    if (!place) return true;
    const { details, frag, into } = place;
    if (!frag) return !details.partList; // at the very edge: who knows whether the others are there yet
    return into >= AT_START_S && into <= WINDOW_S && details.edge - frag.start >= SETTLED_S;
  }

  // Where the next byte belongs: the segment, and how far into it; null before there is a buffer.
  place() {
    const { latestLevelDetails: details, mainForwardBufferInfo: buffer, loadLevel } = this.hls;
    if (!details || !buffer?.len || loadLevel < 0) return null;
    const { fragments, fragmentHint } = details;
    const all = fragmentHint ? [...fragments, fragmentHint] : fragments;
    const { end, len: ahead } = buffer;
    const frag = all.find(({ start, duration }) => start <= end + 0.05 && end + 0.05 < start + duration)
      ?? (fragmentHint && fragmentHint.start <= end - 0.05 ? fragmentHint : null);
    return { details, frag, into: frag ? end - frag.start : 0, ahead, end };
  }

  rescue() {
    const { hls, loading: frag } = this;
    const place = this.place();
    const now = performance.now();
    this.isTooSlow = false;
    const parts = (place?.details === hls.loadLevelObj?.details && place?.details.partList) || [];
    if (parts.some(({ gap, start }) => gap && Math.abs(start - place.end) < 0.1)) this.flee(now);
    const stats = frag?.loader?.stats;
    if (!stats?.loading.start || frag.level !== hls.loadLevel) return;
    if (this.pinned >= 0 && now >= this.pinnedFrom) return;
    const { loading, loaded, total } = stats;
    const { levels, minAutoLevel: lowest } = hls;
    const waited = now - loading.start;
    if ((total && loaded >= total) || frag.level <= lowest) return;
    const ahead = place?.ahead ?? 0;
    if (!loaded && waited > 3 * SLOW_MS && ahead < 2 * RESERVE_S) this.fall(frag, lowest, 0);
    const seen = loaded && waited > SLOW_MS ? (8000 * loaded) / (now - loading.first) : this.seen;
    const rate = Math.min(seen, hls.bandwidthEstimate);
    const piece = place?.details.partTarget || frag.duration; // media that is under way, seconds
    const into = place?.into ?? 0;
    const length = place?.details.averagetargetduration || 2;
    const rest = Math.max(0, length - into - piece); // media of the segment after it
    const slowness = levels[frag.level].averageBitrate / rate; // seconds to load a second
    const left = total ? (8 * (total - loaded)) / rate : piece * slowness;
    const stay = left + rest * Math.max(1, slowness);
    const hop = (3 * hls.ttfbEstimate) / 1000 + piece; // to the next segment of another level
    const least = Math.min(ahead - left, ahead - stay - hop + rest + piece);
    this.isTooSlow = slowness > 1;
    if (!this.isTooSlow) return;
    // hls.js asks for the level between two segments only, while it is behind: here is the moment after that.
    const wanted = this.wanted(frag.level);
    const isDue = wanted < frag.level && place?.frag?.sn === frag.sn && this.isGoodMoment();
    if (isDue) this.fall(frag, wanted, rate);
    if (isDue || least > RESERVE_S || into < AT_START_S) return;
    let target = frag.level - 1;
    while (target > lowest && levels[target].maxBitrate > 0.7 * rate) target -= 1;
    const again = into + piece; // media to be loaded at that level
    const change = ((1 + again / piece) * hls.ttfbEstimate) / 1000 + (again * levels[target].averageBitrate) / rate;
    // What is loaded again goes first: if the playhead is in there, it stands until that is back. Then this must be
    // much better than to stay, for all of it is estimated.
    const isInside = place?.frag && place.frag.start < hls.media.currentTime;
    const isBetter = isInside ? change < -0.6 * least : change - ahead < -least;
    if (isBetter) this.fall(frag, target, rate);
  }

  // The next part is missing, and so is the rest of its segment: leave before the buffer is empty.
  flee(now) {
    const { hls, gapAt } = this;
    gapAt[hls.loadLevel] = now;
    const others = [...hls.levels.keys()].filter((i) => !(now - gapAt[i] < RETRY_MS));
    const room = 0.7 * hls.bandwidthEstimate;
    this.order = others.findLast((i) => hls.levels[i].maxBitrate < room) ?? others[0] ?? -1;
    this.pinnedFrom = now + RETRY_MS;
    if (this.order >= 0) hls.nextLoadLevel = this.order;
  }

  fall(frag, level, rate) {
    this.hls.bandwidthEstimate = rate || this.hls.levels[level].averageBitrate;
    this.order = level;
    frag.abortRequests();
    this.hls.nextLoadLevel = level;
  }
};
