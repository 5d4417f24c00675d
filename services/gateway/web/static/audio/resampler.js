// Changes the sample rate of a stream: a polyphase filter whose taps are a Kaiser-windowed sinc.

const ZERO_CROSSINGS = 32; // of the sinc on each side, at the lower of the two rates
const BETA = 9; // of the window: what is filtered out is 85 dB down
const PASS = 0.82; // of the lower rate's Nyquist frequency; the transition band ends at that frequency

export class Resampler {
  /** Rates in Hz, whole numbers. */
  constructor(from, to) {
    if (!(Number.isInteger(from) && Number.isInteger(to) && from > 0 && to > 0)) {
      throw new RangeError(`sample rates must be whole and positive, not ${from} and ${to}`);
    }
    const divisor = greatestCommonDivisor(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    this.phases = from === to ? null : designPhases(this.up, this.down);
    this.half = this.phases ? this.phases[0].length / 2 : 0;
    this.reset();
  }

  /** Input samples that must follow a sample before the output at its time is complete. */
  get delay() {
    return this.half;
  }

  /** Forgets the past: the next input is the first sample of a new stream. */
  reset() {
    this.history = new Float32Array(this.half ? this.half - 1 : 0); // silence before the stream
    this.position = 0; // of the next output sample, in 1 / up of an input sample, from the start of `history`
  }

  /** Float32Array of any length → Float32Array of as many output samples as are complete now. */
  push(input) {
    if (!this.phases) return input;
    const { up, down, half } = this;
    const samples = concatenate(this.history, input);
    const taps = 2 * half;
    const count = Math.max(0, Math.ceil(((samples.length - taps + 1) * up - this.position) / down));
    const output = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const first = Math.floor(this.position / up);
      output[i] = dot(this.phases[this.position % up], samples, first);
      this.position += down;
    }
    const done = Math.min(Math.floor(this.position / up), samples.length);
    this.history = samples.slice(done);
    this.position -= done * up;
    return output;
  }
}

/** One filter of `2 * half` taps for each of the `up` positions between two input samples. */
function designPhases(up, down) {
  const scale = Math.min(1, up / down); // of the lower rate's Nyquist frequency to the input's
  const half = Math.ceil(ZERO_CROSSINGS / scale);
  const cutoff = (scale * (1 + PASS)) / 2; // the middle of the transition band
  return Array.from({ length: up }, (_, phase) => {
    const taps = new Float32Array(2 * half);
    let sum = 0;
    for (let i = 0; i < taps.length; i++) {
      const t = i - (half - 1) - phase / up; // input samples from the output sample's time
      taps[i] = cutoff * sinc(cutoff * t) * kaiser(t / half);
      sum += taps[i];
    }
    return taps.map((tap) => tap / sum); // a constant stays what it is
  });
}

function dot(taps, samples, first) {
  let sum = 0;
  for (let i = 0; i < taps.length; i++) sum += taps[i] * samples[first + i];
  return sum;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** The window at `x` in [-1, 1]. */
function kaiser(x) {
  return Math.abs(x) > 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function concatenate(first, second) {
  const joined = new Float32Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
