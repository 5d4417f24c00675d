// One session over WebSockets: connects, and after a lost connection connects again and goes on where it was.

import { socketAddress, subprotocols } from "./address.js";
import { Refused, servedModel } from "./models.js";

const FIRST_WAIT = 200; // ms before the first new try; each further one waits twice as long
const LONGEST_WAIT = 2_000;
const JITTER = 0.3; // share by which waits differ: the clients of a gateway that died do not come all at once
const OPEN_TIMEOUT = 10_000; // ms for `session.created`
const GIVE_UP = 60_000; // ms without a connection
const MAX_QUEUED = 400; // events that wait for a connection: 12 s of audio
const FINAL_CODES = [1000, 1008, 4409]; // closed on purpose; the last: another tab goes on with this session
const SESSION_IS_GONE = 4404;

/**
 * Events: `state` (see `state`), `event` {event, at}: one server event, `new` {session, waiting}: a session began,
 * `resumed` {waiting}: it goes on, `refused` {error}: no further tries. `waiting`: what `send` was given meanwhile.
 * `state` is `closed`, `connecting`, `open` or `waiting` (for the next try).
 */
export class Connection extends EventTarget {
  constructor(page = location.href) {
    super();
    this.page = page;
    this.key = "";
    this.state = "closed";
    this.model = null;
    this.sessionId = "";
    this.lastEventId = "";
    this.queue = [];
    this.socket = null;
  }

  /** Connects; does nothing if it is connected or about to be. */
  open() {
    if (this.state !== "closed") return;
    this.lostAt = performance.now();
    this.wait = FIRST_WAIT;
    this.#connect();
  }

  /** Ends the connection; a later `open` begins a new session unless `keep`. */
  close({ keep = false } = {}) {
    clearTimeout(this.timer);
    this.#discard();
    if (!keep) this.#forget();
    this.#enter("closed");
  }

  /** Sends a client event; it waits in a bounded queue while there is no connection. False: it was left out. */
  send(event) {
    if (this.state === "open") {
      this.socket.send(JSON.stringify(event));
      return true;
    }
    if (this.state === "closed" || this.queue.length >= MAX_QUEUED) return false;
    this.queue.push(event);
    return true;
  }

  async #connect() {
    this.#enter("connecting");
    try {
      this.model = await servedModel(this.key);
    } catch (error) {
      return this.#failed(error);
    }
    if (this.state !== "connecting") return; // closed meanwhile
    const resume = this.sessionId ? { sessionId: this.sessionId, lastEventId: this.lastEventId } : null;
    const socket = new WebSocket(socketAddress(this.page, this.model.id, resume), subprotocols(this.key));
    this.socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.timer = setTimeout(() => socket.close(), OPEN_TIMEOUT);
  }

  #receive(event) {
    if (event.type === "session.created") this.#opened(event.session);
    if (event.event_id) this.lastEventId = event.event_id;
    this.#emit("event", { event, at: performance.now() });
  }

  #opened(session) {
    clearTimeout(this.timer);
    const resumed = session.id === this.sessionId;
    this.sessionId = session.id;
    this.wait = FIRST_WAIT;
    const waiting = this.queue.splice(0);
    this.#enter("open");
    this.#emit(resumed ? "resumed" : "new", { session, waiting });
  }

  #closed(code, reason) {
    const wasOpen = this.state === "open";
    this.#discard();
    if (code === SESSION_IS_GONE) this.sessionId = this.lastEventId = "";
    if (FINAL_CODES.includes(code)) return this.#refuse(new Refused(reason || "the gateway ended the session", 0));
    if (wasOpen) this.lostAt = performance.now();
    this.#again(wasOpen ? 0 : this.wait);
  }

  /** A try failed before there was a socket. */
  #failed(error) {
    const isFinal = error instanceof Refused && error.status < 500 && error.status !== 429;
    if (isFinal) return this.#refuse(error);
    this.#again(Math.max(this.wait, 1000 * (error.retryAfter || 0)));
  }

  #again(wait) {
    if (this.state === "closed") return;
    if (performance.now() - this.lostAt > GIVE_UP) return this.#refuse(new Refused("the gateway does not answer", 0));
    this.wait = Math.min(LONGEST_WAIT, 2 * this.wait);
    this.#enter("waiting");
    this.timer = setTimeout(() => this.#connect(), wait * (1 + JITTER * Math.random()));
  }

  #refuse(error) {
    this.close({ keep: true });
    this.#emit("refused", { error });
  }

  #discard() {
    clearTimeout(this.timer);
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  #forget() {
    this.sessionId = this.lastEventId = "";
    this.queue = [];
  }

  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#emit("state", { state });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
