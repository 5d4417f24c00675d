// Which camera frames are sent: a bounded number, at most one a while, and none that looks like the one before.

const INTERVAL = 1_500; // ms between two frames
const KEPT = 4; // frames that the session holds
const SAME = 6; // mean difference of brightness, of 255, below which two frames show the same

export class Frames {
  constructor() {
    this.ids = [];
    this.look = null; // of the last frame sent
    this.sentAt = -Infinity;
  }

  /** Whether it is time for another frame. */
  isDue(at) {
    return at - this.sentAt >= INTERVAL;
  }

  /** `look`: a few grey values, 0 to 255. Whether the frame shows something else than the last one sent. */
  isNew(look) {
    if (!this.look || !this.ids.length) return true;
    const difference = look.reduce((sum, value, i) => sum + Math.abs(value - this.look[i]), 0) / look.length;
    return difference > SAME;
  }

  /** A frame was sent as item `id`. → ids of the frames that the session no longer needs. */
  sent(id, look, at) {
    this.ids.push(id);
    this.look = look;
    this.sentAt = at;
    return this.ids.splice(0, Math.max(0, this.ids.length - KEPT));
  }

  /** A new session holds none. */
  reset() {
    this.ids = [];
    this.look = null;
    this.sentAt = -Infinity;
  }
}
