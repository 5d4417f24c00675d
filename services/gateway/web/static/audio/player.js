// Plays the answers as they arrive, and says which of it was heard.

import { SAMPLE_RATE, toFloat32 } from "./pcm.js";

const LONGEST_PAUSE = 10_000; // ms; the gateway says sooner how it goes on, unless the connection is lost

/**
 * Events: `started` {id, at}, `playing` {id, samples, level}, `finished` {id, samples}, `stopped` {cut: [{id, samples}]},
 * `full` {id}. `at` is on the clock of `performance.now()`, samples are counted at 24 kHz.
 */
export class Player extends EventTarget {
  constructor(sound) {
    super();
    this.sound = sound;
    this.connected = null; // a promise of the worklet's node
    this.active = new Set(); // utterances that are not played to their end
    this.underruns = 0;
    this.pausing = null; // the timer of a pause
  }

  /** Int16Array of utterance `id`. */
  push(id, samples) {
    this.active.add(id);
    this.#post({ type: "push", id, samples: toFloat32(samples) });
  }

  /** All of utterance `id` has arrived. */
  end(id) {
    this.#post({ type: "end", id });
  }

  /** What is heard fades and stands still, until `resume` or `stop`, at most for `LONGEST_PAUSE`. */
  pause() {
    if (!this.busy) return;
    this.#post({ type: "pause" });
    clearTimeout(this.pausing);
    this.pausing = setTimeout(() => this.resume(), LONGEST_PAUSE);
  }

  resume() {
    clearTimeout(this.pausing);
    this.#post({ type: "resume" });
  }

  /** Fades what is heard and forgets the rest; `stopped` says where each utterance was cut. */
  stop() {
    this.active.clear();
    clearTimeout(this.pausing);
    this.#post({ type: "stop" });
  }

  get busy() {
    return this.active.size > 0;
  }

  /** Does nothing where there is no sound: before the first tap, answers are only read. */
  #post(message) {
    if (this.sound.context) this.connected ??= this.#connect();
    this.connected?.then((node) => node.port.postMessage(message));
  }

  async #connect() {
    await this.sound.loaded;
    const { context } = this.sound;
    const options = { numberOfInputs: 0, outputChannelCount: [1], processorOptions: { rate: SAMPLE_RATE } };
    const node = new AudioWorkletNode(context, "playback", options);
    node.port.onmessage = ({ data }) => this.#receive(data);
    node.connect(context.destination);
    return node;
  }

  #receive(message) {
    const { type, id, samples, current, level, time, cut } = message;
    if (type === "started") this.#emit("started", { id, at: this.#heardAt(time) });
    if (type === "stopped") this.#emit("stopped", { cut });
    if (type === "full") this.#emit("full", { id });
    if (type === "finished") this.#finish(id, samples);
    if (type === "playing") {
      this.underruns = message.underruns;
      this.#emit("playing", { id: current?.id, samples: current?.samples ?? 0, level });
    }
  }

  #finish(id, samples) {
    this.active.delete(id);
    this.#emit("finished", { id, samples });
  }

  #heardAt(time) {
    return this.sound.toPerformance(time + this.sound.outputLatency);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
