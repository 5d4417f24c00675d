// Writes WAV files: 16-bit, one channel or several.

/** Int16Arrays of equal length, one a channel → Blob. */
export function wav(channels, sampleRate) {
  const frames = channels[0].length;
  const data = new Int16Array(frames * channels.length);
  channels.forEach((channel, c) => channel.forEach((sample, i) => (data[i * channels.length + c] = sample)));
  return new Blob([header(channels.length, sampleRate, data.byteLength), data], { type: "audio/wav" });
}

function header(channels, sampleRate, bytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((character, i) => view.setUint8(at + i, character.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  return view;
}
