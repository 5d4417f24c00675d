import assert from "node:assert/strict";
import test from "node:test";

import { PlaybackBuffer } from "../static/audio/playback_buffer.js";

const RATE = 24_000;
const ones = (seconds) => new Float32Array(Math.round(seconds * RATE)).fill(1);

function pull(buffer, seconds) {
  const output = new Float32Array(Math.round(seconds * RATE));
  for (let i = 0; i < output.length; i += 64) buffer.pull(output.subarray(i, i + 64));
  return output;
}

const sum = (samples) => samples.reduce((total, sample) => total + sample, 0);

test("it starts once 90 ms wait", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(0.08));
  assert.equal(sum(pull(buffer, 0.05)), 0);
  buffer.push("a", ones(0.02));
  assert.equal(sum(pull(buffer, 0.05)), 0.05 * RATE);
  assert.deepEqual(buffer.current, { id: "a", samples: 0.05 * RATE });
});

test("a short utterance that has ended is played at once", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(0.02));
  buffer.end("a");
  assert.equal(sum(pull(buffer, 0.05)), 0.02 * RATE);
  assert.deepEqual(buffer.takeFinished(), [{ id: "a", samples: 0.02 * RATE }]);
  assert.deepEqual(buffer.takeFinished(), []);
  assert.equal(buffer.underruns, 0);
});

test("each underrun makes it wait longer, up to a limit", () => {
  const buffer = new PlaybackBuffer(RATE);
  const targets = [];
  for (let i = 0; i < 8; i++) {
    buffer.push("a", ones(0.7));
    pull(buffer, 0.8);
    targets.push(buffer.target);
  }
  assert.equal(buffer.underruns, 8);
  assert.ok(targets.every((target, i) => i === 0 || target >= targets[i - 1]));
  assert.ok(targets[0] > 0.13 && targets.at(-1) === 0.6);
});

test("an interruption fades within 8 ms and says where it cut", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(1));
  pull(buffer, 0.5 - (0.5 * RATE) % 64 / RATE);
  const { read } = buffer;
  assert.deepEqual(buffer.stop(), [{ id: "a", samples: read }]);
  const after = pull(buffer, 0.016);
  const loud = after.findLastIndex((sample) => sample > 0) + 1;
  assert.ok(loud >= 0.005 * RATE && loud <= 0.01 * RATE, `${loud} samples`);
  for (let i = 1; i < loud; i++) assert.ok(after[i] <= after[i - 1] && after[i - 1] - after[i] < 0.02);
  assert.equal(buffer.current, null);
  assert.equal(sum(pull(buffer, 0.1)), 0);
});

test("what comes after an interruption is a new start", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(1));
  pull(buffer, 0.2);
  buffer.stop();
  buffer.push("b", ones(0.2));
  assert.equal(sum(pull(buffer, 0.1)), 0.1 * RATE);
  assert.equal(buffer.current.id, "b");
});

test("an utterance that waits is cut at nothing", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(0.5));
  buffer.push("b", ones(0.5));
  pull(buffer, 0.1);
  assert.deepEqual(buffer.stop().map(({ id, samples }) => [id, samples > 0]), [["a", true], ["b", false]]);
});

test("utterances follow one another without a gap", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(0.2));
  buffer.end("a");
  buffer.push("b", ones(0.2));
  buffer.end("b");
  assert.equal(sum(pull(buffer, 0.4)), 0.4 * RATE);
  assert.deepEqual(buffer.takeFinished().map(({ id }) => id), ["a", "b"]);
});

test("it grows for a long answer, keeps the order, and refuses more than ten minutes", () => {
  const buffer = new PlaybackBuffer(100);
  const ramp = Float32Array.from({ length: 1000 }, (_, i) => i);
  buffer.push("a", ramp.subarray(0, 150));
  const first = new Float32Array(100);
  buffer.pull(first);
  buffer.push("a", ramp.subarray(150));
  const rest = new Float32Array(900);
  buffer.pull(rest);
  assert.deepEqual([...first, ...rest], [...ramp]);
  assert.equal(buffer.push("a", new Float32Array(100 * 601)), false);
  assert.equal(buffer.waiting, 0);
});

test("a pause fades within 8 ms, loses no sample, and is no underrun", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(1));
  pull(buffer, 0.1);
  buffer.pause();
  const fade = pull(buffer, 0.1);
  assert.ok(fade[0] > 0.9 && fade.findLastIndex((sample) => sample > 0) < 0.008 * RATE);
  const { read } = buffer;
  buffer.push("a", ones(0.1));
  assert.equal(sum(pull(buffer, 1)), 0);
  assert.deepEqual(buffer.current, { id: "a", samples: read });
  buffer.resume();
  const rise = pull(buffer, 0.02);
  assert.ok(rise[0] < 0.1 && rise.at(-1) === 1);
  assert.equal(buffer.read, read + rise.length);
  assert.equal(buffer.underruns, 0);
});

test("what is stopped in a pause is silent at once, and the next is not paused", () => {
  const buffer = new PlaybackBuffer(RATE);
  buffer.push("a", ones(1));
  pull(buffer, 0.1);
  buffer.pause();
  pull(buffer, 0.1);
  const { read } = buffer;
  assert.deepEqual(buffer.stop(), [{ id: "a", samples: read }]);
  assert.equal(sum(pull(buffer, 0.1)), 0);
  buffer.push("b", ones(0.2));
  assert.equal(sum(pull(buffer, 0.1)), 0.1 * RATE);
});
