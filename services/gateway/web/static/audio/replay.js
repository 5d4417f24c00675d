// Plays one utterance again.

import { SAMPLE_RATE, toFloat32 } from "./pcm.js";

/** Events: `changed` {id}: what is played again, or "". */
export class Replay extends EventTarget {
  constructor(sound) {
    super();
    this.sound = sound;
    this.source = null;
    this.id = "";
  }

  /** Plays an utterance, or stops it where it is playing. */
  async toggle(utterance) {
    const same = this.id === utterance.id;
    this.stop();
    if (same) return;
    await this.sound.open();
    this.source = this.#start(utterance.audio);
    this.#enter(utterance.id);
  }

  stop() {
    if (!this.source) return;
    this.source.onended = null;
    this.source.stop();
    this.source = null;
    this.#enter("");
  }

  #start(samples) {
    const { context } = this.sound;
    const buffer = context.createBuffer(1, Math.max(1, samples.length), SAMPLE_RATE);
    buffer.copyToChannel(toFloat32(samples), 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.onended = () => this.stop();
    source.connect(context.destination);
    source.start();
    return source;
  }

  #enter(id) {
    this.id = id;
    this.dispatchEvent(new CustomEvent("changed", { detail: { id } }));
  }
}
