// How loud the microphone is, and when the user was last heard: above the noise of the room, not above a fixed level.

const QUIET = 1e-5; // amplitude; nothing is quieter
const ABOVE_NOISE = 4; // times the noise: 12 dB
const FALL = 0.3; // share of the way that the noise estimate takes at once when it is quieter
const RISE = 0.004; // when it is louder: a question does not become noise
const LEAST_VOICE = 0.004; // amplitude, -48 dB

export class VoiceLevel {
  constructor() {
    this.noise = 0.001;
    this.rms = 0;
    this.lastVoiced = null; // time of the end of the last voiced piece, in what `take` is given
  }

  /** One piece that ended at `time`. → whether it is voiced. */
  take(samples, time) {
    this.rms = rootMeanSquare(samples);
    this.noise += (this.rms < this.noise ? FALL : RISE) * (Math.max(QUIET, this.rms) - this.noise);
    const voiced = this.rms > Math.max(LEAST_VOICE, ABOVE_NOISE * this.noise);
    if (voiced) this.lastVoiced = time;
    return voiced;
  }
}

export function rootMeanSquare(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}

/** Amplitude → share of a meter that shows -60 to 0 dB. */
export function meterShare(rms) {
  return Math.max(0, Math.min(1, 1 + Math.log10(Math.max(rms, QUIET)) / 3));
}
