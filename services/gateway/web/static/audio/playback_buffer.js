// What waits to be played: a ring of samples that starts once enough of them wait, grows on underruns, and fades out.

const FIRST_TARGET = 0.09; // seconds that must wait before playing starts
const LARGEST_TARGET = 0.6;
const GROWTH = 1.5; // of the target, at each underrun
const FADE = 0.008; // seconds, at an interruption
const FIRST_CAPACITY = 2; // seconds
const LARGEST_CAPACITY = 600;

export class PlaybackBuffer {
  /** `rate`: of the samples, Hz. */
  constructor(rate) {
    this.rate = rate;
    this.fadeLength = Math.round(FADE * rate);
    this.target = FIRST_TARGET;
    this.ring = new Float32Array(FIRST_CAPACITY * rate);
    this.items = []; // {id, start, end}: which utterance the samples are of; positions count all samples ever pushed
    this.written = 0;
    this.read = 0;
    this.playing = false;
    this.paused = false;
    this.faded = 0; // samples of the fade into a pause: all of them in it, none outside
    this.fading = 0; // samples of the fade that are left
    this.underruns = 0;
  }

  get waiting() {
    return this.written - this.read;
  }

  /** Samples of utterance `id`. False: more waits than can be kept, and these were left out. */
  push(id, samples) {
    if (this.fading) this.#drop();
    if (!this.#makeRoom(samples.length)) return false;
    const last = this.items.at(-1);
    if (last?.id !== id || last.ended) this.items.push({ id, start: this.written, ended: false });
    for (const sample of samples) this.ring[this.written++ % this.ring.length] = sample;
    return true;
  }

  /** No more samples of utterance `id` will come: what waits is played, however little it is. */
  end(id) {
    for (const item of this.items) if (item.id === id) item.ended = true;
  }

  /** Playing stands still, and goes on with the same sample at `resume`. */
  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
  }

  /** Ends what is played with a short fade, and forgets the rest. → where each utterance was cut: {id, samples}. */
  stop() {
    const cut = this.items.map((item) => ({ id: item.id, samples: Math.max(0, this.read - item.start) }));
    this.items = [];
    this.fading = this.playing && this.faded < this.fadeLength ? Math.min(this.waiting, this.fadeLength) : 0;
    if (!this.fading) this.#drop();
    return cut;
  }

  /** Fills `output` with what is to be heard now. → how many samples of it are of an utterance. */
  pull(output) {
    output.fill(0);
    if (this.fading) return this.#fade(output);
    if (!this.playing && (this.paused || !this.#mayStart())) return 0;
    this.playing = true;
    const count = Math.min(output.length, this.waiting, this.paused ? this.fadeLength - this.faded : Infinity);
    for (let i = 0; i < count; i++) output[i] = this.ring[this.read++ % this.ring.length] * this.#gain();
    if (count < output.length && !this.paused) this.#ranDry();
    return count;
  }

  /** The utterance that is played now, and the samples of it that were: {id, samples}, or null. */
  get current() {
    const item = this.items.findLast((each) => each.start < this.read);
    return item ? { id: item.id, samples: this.read - item.start } : null;
  }

  /** Utterances whose last sample was played, once each: [{id, samples}]. */
  takeFinished() {
    const ends = this.items.map((item, i) => this.items[i + 1]?.start ?? this.written);
    const isFinished = (item, i) => item.ended && this.read >= ends[i];
    const finished = this.items.filter(isFinished);
    const samples = finished.map((item) => ends[this.items.indexOf(item)] - item.start);
    this.items = this.items.filter((item, i) => !isFinished(item, i));
    return finished.map((item, i) => ({ id: item.id, samples: samples[i] }));
  }

  #mayStart() {
    return this.waiting > 0 && (this.waiting >= this.target * this.rate || this.items.every((item) => item.ended));
  }

  #ranDry() {
    this.playing = false;
    if (this.items.every((item) => item.ended)) return;
    this.underruns++;
    this.target = Math.min(LARGEST_TARGET, this.target * GROWTH);
  }

  /** Of the next sample. */
  #gain() {
    this.faded = this.paused ? this.faded + 1 : Math.max(0, this.faded - 1);
    return 1 - this.faded / this.fadeLength;
  }

  #fade(output) {
    const count = Math.min(output.length, this.fading);
    for (let i = 0; i < count; i++) output[i] = (this.ring[this.read++ % this.ring.length] * this.fading--) / this.fadeLength;
    if (!this.fading) this.#drop();
    return count;
  }

  #drop() {
    this.read = this.written;
    this.playing = this.paused = false;
    this.faded = 0;
    this.fading = 0;
    this.items = [];
  }

  #makeRoom(count) {
    const needed = this.waiting + count;
    if (needed <= this.ring.length) return true;
    if (needed > LARGEST_CAPACITY * this.rate) return false;
    const larger = new Float32Array(Math.max(needed, 2 * this.ring.length));
    for (let at = this.read; at < this.written; at++) larger[at % larger.length] = this.ring[at % this.ring.length];
    this.ring = larger;
    return true;
  }
}
