// Audio as the Realtime API has it: 16-bit little-endian samples at 24 kHz, in base64.

export const SAMPLE_RATE = 24_000; // Hz

/** Float32Array in [-1, 1] → Int16Array. */
export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.round(Math.max(-1, Math.min(1, x)) * 32767));
}

/** Int16Array → Float32Array in [-1, 1]. */
export function toFloat32(samples) {
  return Float32Array.from(samples, (x) => x / 32768);
}

/** Int16Array → base64. */
export function encode(samples) {
  return base64(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
}

/** Base64 → Int16Array. */
export function decode(text) {
  const binary = atob(text);
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Joins Int16Arrays. */
export function join(chunks) {
  const joined = new Int16Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}

export function milliseconds(samples) {
  return (samples * 1000) / SAMPLE_RATE;
}

function base64(bytes) {
  const step = 8192; // a call takes only so many arguments
  let binary = "";
  for (let i = 0; i < bytes.length; i += step) binary += String.fromCharCode(...bytes.subarray(i, i + step));
  return btoa(binary);
}
