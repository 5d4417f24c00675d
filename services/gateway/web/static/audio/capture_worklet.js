// On the audio thread: takes the microphone at the device's rate and gives pieces of 30 ms at the rate that is sent.

import { Resampler } from "./resampler.js";

const PIECE_SECONDS = 0.03;

class Capture extends AudioWorkletProcessor {
  /** `processorOptions.rate`: of the pieces, Hz. */
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.piece = new Float32Array(Math.round(PIECE_SECONDS * rate));
    this.filled = 0;
    this.ended = false;
    this.port.onmessage = () => (this.ended = true);
  }

  process([channels]) {
    if (channels.length) this.take(this.resampler.push(mixed(channels)));
    return !this.ended;
  }

  take(samples) {
    for (const sample of samples) {
      this.piece[this.filled++] = sample;
      if (this.filled === this.piece.length) this.give();
    }
  }

  give() {
    const samples = this.piece.slice();
    this.port.postMessage({ samples, time: currentTime }, [samples.buffer]);
    this.filled = 0;
  }
}

function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
}

registerProcessor("capture", Capture);
