// What lets this page watch a stream that not everybody may: a token, given in the page's address
// (`#token=...`, or `?token=...`), or got for the credential there (`#credential=...`) and got again before it ends.
// The fragment is better: no server is told of it. An embedding page may put a new one there at any time.

const RENEW_AT = 0.75; // of a token's life
const MIN_RENEW_MS = 3000;
const RETRY_MS = 3000; // after a server that could not say
const ANSWER_MS = 8000;

export class Access {
  /** @param base of the stream's API @param changed is called when the address has brought another token */
  constructor(base, changed) {
    Object.assign(this, { base, token: "", credential: "", given: "", timer: 0 });
    this.read();
    addEventListener("hashchange", () => this.read() && changed());
  }

  // Take what the address says; whether it is new.
  read() {
    const given = (name) => [location.hash.slice(1), location.search.slice(1)].map((text) => new URLSearchParams(text).get(name) ?? "").find(Boolean) ?? "";
    const token = given("token");
    const credential = given("credential");
    const isNew = (token && token !== this.given) || credential !== this.credential;
    if (token) this.token = token;
    this.given = token;
    this.credential = credential;
    return Boolean(isNew);
  }

  // The start of the paths of media.
  get media() {
    return this.token ? `${this.base}/~${this.token}` : this.base;
  }

  // The same URL with the newest token: playlists that were loaded earlier name the last one.
  rewrite(url) {
    return this.token ? url.replace(/\/~[A-Za-z0-9._-]*\//, `/~${this.token}/`) : url;
  }

  /** Have a token if it takes one. "" : go on; else a line for the person. Throws where nobody can say now. */
  async prepare(policy) {
    if (policy === "webhook" && !(this.given && this.token)) return this.ask();
    return policy === "public" || this.token ? "" : "This stream is not public: it takes a link with a token.";
  }

  async ask() {
    clearTimeout(this.timer);
    const body = JSON.stringify({ credential: this.credential });
    const answer = await fetch(`${this.base}/playback`, { method: "POST", body, cache: "no-store", signal: AbortSignal.timeout?.(ANSWER_MS) });
    if (answer.status === 403) return (await answer.json()).error;
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const { token, lifetimeS } = await answer.json();
    this.token = token;
    this.timer = setTimeout(() => this.renew(), Math.max(MIN_RENEW_MS, lifetimeS * 1000 * RENEW_AT));
    return "";
  }

  async renew() {
    try {
      await this.ask(); // a refusal shows when the token has ended
    } catch {
      this.timer = setTimeout(() => this.renew(), RETRY_MS);
    }
  }
}
