// The connection of the chat: joins, says who we are, and comes back by itself. No DOM.
//
//   connecting --joined--> joined --lost--> waiting --> connecting ...
//        \--banned, or no chat here--> banned, closed: the end, until somebody calls `connect`
//
// A name that is refused is given up for the one before, a token that is refused for none: whoever cannot
// write may read.

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 10000;
const JOIN_MS = 10000;
const QUIET_MS = 25000; // nothing came for so long: ask
const ANSWER_MS = 10000;
const BANNED = 4003;

/**
 * @param address (): of the WebSocket.
 * @param memory What outlives this page: `token`, `guest` and `name`, "" if there is none.
 * @param hear (frame): what the server says, but for pongs.
 * @param changed (state)
 */
export class Talk {
  constructor({ address, memory, hear, changed }) {
    Object.assign(this, { address, memory, hear, changed });
    this.state = "closed";
    this.me = null; // {userId, username, role, isGuest}
    this.failures = 0;
    this.patienceMs = 0; // what the server asks for
    this.socket = null;
    this.timer = 0;
  }

  connect() {
    this.hangUp();
    this.turn("connecting");
    const socket = new WebSocket(this.address());
    this.socket = socket;
    socket.onopen = () => this.join();
    socket.onmessage = ({ data }) => { if (this.socket === socket) this.read(JSON.parse(data)); };
    socket.onclose = ({ code }) => { if (this.socket === socket) this.lose(code); };
    this.timer = setTimeout(() => this.lose(0), JOIN_MS);
  }

  /** Leave; `connect` comes back. */
  stop() {
    this.hangUp();
    this.turn("closed");
  }

  /** Say something to the server; false: it cannot be told now. */
  send(frame) {
    if (this.state !== "joined" || this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** Come back under another name. */
  rename(name) {
    this.memory.name = name;
    if (this.state === "joined" || this.state === "waiting") this.connect();
  }

  // What waits need not wait any longer: the line is back.
  hurry() {
    if (this.state === "waiting") this.connect();
  }

  join() {
    const { token, guest, name } = this.memory;
    const who = token ? { token } : { guest: guest || undefined, username: name || undefined };
    this.socket.send(JSON.stringify({ type: "join", ...who }));
  }

  read(frame) {
    if (this.state === "joined") this.listen();
    if (frame.type === "joined") this.enter(frame);
    else if (frame.type === "error" && this.state === "connecting") this.refused(frame);
    else if (frame.type !== "pong") this.hear(frame);
    const isOut = frame.type === "banned" && frame.userId === this.me?.userId && !frame.until;
    if (isOut) this.turn("banned"); // the server hangs up
  }

  enter(frame) {
    const { userId, username, role, isGuest } = frame;
    this.me = { userId, username, role, isGuest };
    this.failures = this.patienceMs = 0;
    if (frame.guest) this.memory.guest = frame.guest;
    this.turn("joined");
    this.listen();
    this.hear(frame);
  }

  refused(frame) {
    const { memory } = this;
    if (frame.code === "badToken" && (memory.token || memory.guest)) {
      if (memory.token) memory.token = "";
      else memory.guest = "";
      this.join();
    } else if ((frame.code === "badName" || frame.code === "nameTaken") && memory.name) {
      memory.name = memory.name === this.me?.username ? "" : this.me?.username ?? "";
      this.join();
    } else if (frame.code === "banned") {
      this.turn("banned");
    } else if (frame.code === "chatDisabled") {
      this.stop();
    } else {
      this.patienceMs = 1000 * (frame.retryAfter ?? 0);
    }
    this.hear(frame);
  }

  // As long as the server talks there is no need to ask.
  listen() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.send({ type: "ping" });
      this.timer = setTimeout(() => this.lose(0), ANSWER_MS);
    }, QUIET_MS);
  }

  lose(code) {
    this.hangUp();
    if (code === BANNED) this.turn("banned");
    if (this.state === "banned" || this.state === "closed") return;
    this.turn("waiting");
    const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.failures, 5));
    this.failures += 1;
    const jitter = 0.75 + Math.random() / 2;
    this.timer = setTimeout(() => this.connect(), Math.max(this.patienceMs, delayMs * jitter));
  }

  hangUp() {
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }

  turn(state) {
    if (this.state === state) return;
    this.state = state;
    this.changed(state);
  }
}
