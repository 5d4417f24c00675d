import assert from "node:assert/strict";
import test from "node:test";

import { decode, encode, join, toFloat32, toInt16 } from "../static/audio/pcm.js";
import { VoiceLevel, meterShare } from "../static/audio/voice_level.js";
import { wav } from "../static/audio/wav.js";

test("samples survive base64", () => {
  const samples = Int16Array.from({ length: 30_001 }, (_, i) => (i * 7919) % 65_536 - 32_768);
  assert.deepEqual(decode(encode(samples)), samples);
  assert.equal(encode(Int16Array.of(1, -2)), "AQD+/w==");
});

test("samples are clipped, not wrapped", () => {
  assert.deepEqual([...toInt16(Float32Array.of(0, 1, -1, 2, -2))], [0, 32767, -32767, 32767, -32767]);
  assert.deepEqual([...toFloat32(Int16Array.of(-32768, 16384))], [-1, 0.5]);
  assert.deepEqual([...join([Int16Array.of(1), Int16Array.of(), Int16Array.of(2, 3)])], [1, 2, 3]);
});

test("a WAV file has its header and interleaved channels", async () => {
  const bytes = await wav([Int16Array.of(1, 2), Int16Array.of(3, 4)], 24_000).arrayBuffer();
  const view = new DataView(bytes);
  assert.equal(Buffer.from(bytes).toString("latin1", 0, 4), "RIFF");
  assert.equal(view.getUint16(22, true), 2);
  assert.equal(view.getUint32(24, true), 24_000);
  assert.equal(view.getUint32(40, true), 8);
  assert.deepEqual([...new Int16Array(bytes, 44)], [1, 3, 2, 4]);
});

test("speech is told from the noise of the room", () => {
  const level = new VoiceLevel();
  const piece = (amplitude) => Float32Array.from({ length: 720 }, (_, i) => amplitude * Math.sin(i));
  for (let i = 0; i < 50; i++) level.take(piece(0.004), 30 * i);
  assert.equal(level.lastVoiced, null);
  for (let i = 50; i < 100; i++) assert.ok(level.take(piece(0.1), 30 * i));
  for (let i = 100; i < 150; i++) assert.ok(!level.take(piece(0.004), 30 * i));
  assert.equal(level.lastVoiced, 30 * 99);
});

test("the meter goes from -60 to 0 dB", () => {
  assert.deepEqual([0, 0.001, 1, 3].map(meterShare), [0, 0, 1, 1]);
  assert.ok(Math.abs(meterShare(0.0316) - 0.5) < 0.01);
});
