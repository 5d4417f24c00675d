// On the audio thread: plays utterances that arrive in pieces, and says what has been played.

import { PlaybackBuffer } from "./playback_buffer.js";
import { Resampler } from "./resampler.js";

const REPORT_SECONDS = 0.05;
const PULL = 64; // samples taken from the buffer at once

class Playback extends AudioWorkletProcessor {
  /** `processorOptions.rate`: of the samples that arrive, Hz. */
  constructor({ processorOptions: { rate } }) {
    super();
    this.rate = rate;
    this.buffer = new PlaybackBuffer(rate);
    this.resampler = new Resampler(rate, sampleRate);
    this.ready = new Float32Array(0); // at the context's rate
    this.pulled = new Float32Array(PULL);
    this.silent = true;
    this.reported = 0; // time of the last report
    this.energy = 0; // of what was played since
    this.frames = 0;
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  receive({ type, id, samples }) {
    if (type === "push" && !this.buffer.push(id, samples)) this.port.postMessage({ type: "full", id });
    if (type === "end") this.buffer.end(id);
    if (type === "pause") this.buffer.pause();
    if (type === "resume") this.buffer.resume();
    if (type === "stop") this.port.postMessage({ type: "stopped", cut: this.buffer.stop() });
  }

  process(_, [[output, ...others]]) {
    let filled = 0;
    while (filled < output.length) {
      if (!this.ready.length) this.fetch();
      const part = this.ready.subarray(0, output.length - filled);
      output.set(part, filled);
      filled += part.length;
      this.ready = this.ready.subarray(part.length);
    }
    for (const other of others) other.set(output);
    this.measure(output);
    this.report();
    return true;
  }

  /** Silence goes through the resampler too: the end of an utterance leaves its filter that way. */
  fetch() {
    const heard = this.buffer.pull(this.pulled) > 0;
    if (heard && this.silent) this.port.postMessage({ type: "started", id: this.buffer.current?.id, time: currentTime });
    this.silent = !heard;
    this.ready = this.resampler.push(this.pulled);
  }

  measure(output) {
    for (const sample of output) this.energy += sample * sample;
    this.frames += output.length;
  }

  report() {
    for (const { id, samples } of this.buffer.takeFinished()) {
      this.port.postMessage({ type: "finished", id, samples, time: currentTime });
    }
    if (currentTime - this.reported < REPORT_SECONDS) return;
    const level = Math.sqrt(this.energy / this.frames);
    const { current, underruns, target } = this.buffer;
    this.port.postMessage({ type: "playing", current, level, underruns, target, time: currentTime });
    this.reported = currentTime;
    this.energy = this.frames = 0;
  }
}

registerProcessor("playback", Playback);
