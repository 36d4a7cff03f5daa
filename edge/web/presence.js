// Tells the server that this page is a viewer: when it begins to play, every ten seconds while it does, and a
// goodbye. One name for as long as the page is open, whatever becomes of the playback.

const BEAT_MS = 10000;

export class Presence {
  /**
   * @param url Where signs go. @param isPlaying Whether there is anything to count. @param isNative Whether the
   * browser plays by itself, so that what it asks for does not say our name. @param heard (count)
   */
  constructor(url, isPlaying, isNative, heard) {
    Object.assign(this, { url, isPlaying, isNative, heard });
    this.viewerId = crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-");
    this.isCounted = false;
    setInterval(() => this.beat(), BEAT_MS);
    addEventListener("pagehide", () => this.leave());
  }

  async beat() {
    if (!this.isPlaying()) return;
    this.isCounted = true;
    try {
      const body = JSON.stringify({ viewerId: this.viewerId, ...(this.isNative() && { native: true }) });
      const answer = await fetch(this.url, { method: "POST", body, cache: "no-store" });
      if (answer.ok) this.heard((await answer.json()).count);
    } catch {
      // The next one will do: a sign counts for thirty seconds.
    }
  }

  leave() {
    if (!this.isCounted) return;
    this.isCounted = false;
    navigator.sendBeacon(this.url, JSON.stringify({ viewerId: this.viewerId, leaving: true }));
  }
}
