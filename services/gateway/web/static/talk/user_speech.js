// The user's side of the sound: which of what the microphone hears is sent, and which of it was a question.

import { toInt16 } from "../audio/pcm.js";
import { VoiceLevel } from "../audio/voice_level.js";
import { CLEAR, COMMIT, RESPOND, append } from "../realtime/events.js";
import { RecentAudio } from "./recent_audio.js";

const PREROLL = 240; // ms before the press that belong to the question: people speak as they press
const BEFORE_NOTICED = 700; // ms before the server says that speech started, for the replay
const SHORTEST = 300; // ms of a held question

/** Events: `level` {rms, voiced}, `short`: the button was held too briefly, `asked`: a held question was sent. */
export class UserSpeech extends EventTarget {
  constructor({ connection, microphone, sound }) {
    super();
    Object.assign(this, { connection, sound });
    this.handsFree = true;
    this.held = null; // when the button was pressed, ms
    this.begin = this.end = null; // of the last question, ms
    this.startsAgain = false; // what was sent of it is sent again: it began before the server hears it begin
    this.level = new VoiceLevel();
    this.recent = new RecentAudio();
    microphone.addEventListener("piece", ({ detail }) => this.#take(detail));
  }

  press(at = performance.now()) {
    this.held = at;
    this.begin = at - PREROLL;
    this.end = null;
    for (const samples of this.recent.between(this.begin, at)) this.#send(samples);
  }

  release(at = performance.now()) {
    const held = at - this.held;
    this.held = null;
    this.end = at;
    if (held < SHORTEST) {
      this.connection.send(CLEAR);
      this.dispatchEvent(new Event("short"));
      return;
    }
    this.connection.send(COMMIT);
    this.connection.send(RESPOND);
    this.dispatchEvent(new Event("asked"));
  }

  /** Gives up a question that is being held. */
  drop() {
    this.held = this.begin = this.end = null;
    this.startsAgain = false;
  }

  /** The server heard speech begin, or end. */
  started(at) {
    if (!this.startsAgain) this.begin = at - BEFORE_NOTICED;
    this.startsAgain = false;
    this.end = null;
  }

  stopped(at) {
    this.end = at;
  }

  /** When the user was last heard in the present question, ms; null where nothing was. */
  get lastVoiced() {
    const { lastVoiced } = this.level;
    return lastVoiced !== null && lastVoiced >= this.begin ? Math.min(lastVoiced, this.end ?? Infinity) : null;
  }

  /** The sound of the last question: Int16Arrays. */
  get question() {
    return this.begin === null ? [] : this.recent.between(this.begin, this.end ?? Infinity);
  }

  #take({ samples, time }) {
    const at = this.sound.toPerformance(time);
    const voiced = this.level.take(samples, at);
    const piece = toInt16(samples);
    this.recent.add(at, piece);
    if (this.handsFree || this.held !== null) this.#send(piece);
    this.dispatchEvent(new CustomEvent("level", { detail: { rms: this.level.rms, voiced, at } }));
  }

  #send(piece) {
    this.connection.send(append(piece));
  }
}
