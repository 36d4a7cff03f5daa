// What was said: every message once, in the order of ids (which grow with time), shown when it is due.
//
// A message is due when the viewer's own picture has come to where the broadcast was when it was said, at
// once if nothing plays, or if it is the viewer's own. It goes by dates on the server's clock alone: the
// date of the picture is EXT-X-PROGRAM-DATE-TIME's, `streamTime` is seconds behind `startedAt` on it.
//
// No DOM. Bounds: MAX_SHOWN messages that are shown, as many that wait; the oldest make room.

export const MAX_SHOWN = 500;
const STRANGE_MS = 30000; // a date this far from the time of sending is of another broadcast

/**
 * @param show (entry, next): put an entry before another, or last if `next` is undefined.
 * @param remove (entry): take a shown one away.
 * @param pictureMs The date of the picture on the screen, or null if there is none.
 * @param startedMs The date at which the broadcast began, or null.
 * @param isMine (message)
 */
export class Record {
  constructor({ show, remove, pictureMs, startedMs, isMine }) {
    Object.assign(this, { show, remove, pictureMs, startedMs, isMine });
    this.isSynced = true;
    this.shown = [];
    this.waiting = [];
    this.known = new Map();
  }

  /** Id of the newest message that is known, "" if there is none. */
  get newest() {
    const last = (entries) => entries.at(-1)?.message.id ?? "";
    return last(this.shown) > last(this.waiting) ? last(this.shown) : last(this.waiting);
  }

  /** Take messages in; those that are known already are left out. */
  add(messages) {
    for (const message of messages) {
      if (this.known.has(message.id)) continue;
      const entry = { message };
      this.known.set(message.id, entry);
      insert(this.waiting, entry);
    }
    this.release();
  }

  /** Show what is due. Call it often: the picture moves on. */
  release() {
    if (!this.waiting.length) return;
    const pictureMs = this.isSynced ? this.pictureMs() : null;
    const over = this.waiting.length - MAX_SHOWN;
    const kept = [];
    this.waiting.forEach((entry, index) => {
      if (pictureMs !== null && index >= over && this.dueMs(entry.message) > pictureMs) kept.push(entry);
      else this.reveal(entry);
    });
    this.waiting = kept;
    while (this.shown.length > MAX_SHOWN) {
      const oldest = this.shown.shift();
      this.known.delete(oldest.message.id);
      this.remove(oldest);
    }
  }

  /** Take away what `isGone(message)` says, shown or not. */
  drop(isGone) {
    const isKept = ({ message }) => !isGone(message);
    for (const entry of this.shown) if (!isKept(entry)) this.remove(entry);
    for (const [id, entry] of this.known) if (!isKept(entry)) this.known.delete(id);
    this.shown = this.shown.filter(isKept);
    this.waiting = this.waiting.filter(isKept);
  }

  dueMs(message) {
    const startedMs = this.startedMs();
    if (message.streamTime === undefined || message.streamTime === null || this.isMine(message)) return -Infinity;
    const dateMs = startedMs + message.streamTime * 1000;
    const isOurs = startedMs !== null && Math.abs(dateMs - message.timestamp) < STRANGE_MS;
    return isOurs ? dateMs : message.timestamp;
  }

  reveal(entry) {
    const index = insert(this.shown, entry);
    this.show(entry, this.shown[index + 1]);
  }
}

function insert(entries, entry) {
  let index = entries.length;
  while (index > 0 && entries[index - 1].message.id > entry.message.id) index -= 1;
  entries.splice(index, 0, entry);
  return index;
}
