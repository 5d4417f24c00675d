import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Resampler } from "../static/audio/resampler.js";

function sine(rate, frequency, seconds = 0.5) {
  return Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / rate));
}

function inPieces(resampler, samples, size) {
  const output = [];
  for (let i = 0; i < samples.length; i += size) output.push(...resampler.push(samples.subarray(i, i + size)));
  return Float32Array.from(output);
}

/** Power of the difference over that of a sine of full scale, in dB, without the ends. */
function difference(output, wanted, margin = 200) {
  let sum = 0;
  for (let i = margin; i < output.length - margin; i++) sum += (output[i] - (wanted?.[i] ?? 0)) ** 2;
  return 10 * Math.log10(sum / (output.length - 2 * margin) / 0.5);
}

for (const [from, to] of [[48_000, 24_000], [44_100, 24_000], [16_000, 24_000], [96_000, 24_000], [24_000, 48_000], [24_000, 44_100]]) {
  test(`${from} → ${to} Hz keeps what lies below the lower Nyquist frequency`, () => {
    for (const frequency of [100, 1000, 0.4 * Math.min(from, to)]) {
      const output = inPieces(new Resampler(from, to), sine(from, frequency), 128);
      assert.ok(difference(output, sine(to, frequency)) < -80, `${frequency} Hz`);
    }
  });
}

for (const from of [48_000, 44_100, 96_000]) {
  test(`${from} → 24000 Hz removes what would alias`, () => {
    for (const frequency of [12_100, 13_200, 17_000]) {
      assert.ok(difference(inPieces(new Resampler(from, 24_000), sine(from, frequency), 128)) < -80, `${frequency} Hz`);
    }
  });
}

test("the size of the pieces does not matter", () => {
  const samples = sine(44_100, 1000);
  const whole = new Resampler(44_100, 24_000).push(samples);
  for (const size of [1, 128, 441, 10_000]) {
    assert.deepEqual(inPieces(new Resampler(44_100, 24_000), samples, size), whole);
  }
});

test("a constant stays what it is", () => {
  const output = new Resampler(48_000, 24_000).push(new Float32Array(4800).fill(0.25));
  assert.ok(output.subarray(100).every((sample) => Math.abs(sample - 0.25) < 1e-6));
});

test("as much comes out as went in, but for the filter", () => {
  const resampler = new Resampler(44_100, 24_000);
  const output = inPieces(resampler, new Float32Array(44_100), 128);
  assert.ok(24_000 - output.length <= Math.ceil((resampler.delay * 24_000) / 44_100) + 1);
});

test("the same rate is left alone", () => {
  const samples = sine(24_000, 440);
  assert.equal(new Resampler(24_000, 24_000).push(samples), samples);
});

test("rates that are none are refused", () => {
  assert.throws(() => new Resampler(0, 24_000), RangeError);
  assert.throws(() => new Resampler(44_100.5, 24_000), RangeError);
});

test("noise comes out as soxr makes it", { skip: !process.env.SOXR_CASES }, () => {
  const cases = JSON.parse(readFileSync(process.env.SOXR_CASES));
  for (const { from, to, input, wanted } of cases) {
    const output = inPieces(new Resampler(from, to), Float32Array.from(input), 128);
    const power = 10 * Math.log10(wanted.reduce((sum, x) => sum + x * x, 0) / wanted.length / 0.5);
    assert.ok(difference(output, wanted) - power < -70, `${from} → ${to}`);
  }
});
