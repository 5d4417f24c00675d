// The talk as files: one WAV with the user on the left and the answers on the right, and captions that fit it.

import { SAMPLE_RATE } from "../audio/pcm.js";
import { wav } from "../audio/wav.js";

const LEAST_SECONDS = 1.5; // that a caption without sound is shown
const LONGEST_GAP = 3; // seconds of silence between two utterances that are kept

/** Utterances → [{utterance, begin, end}] in seconds, long silences shortened. */
export function schedule(utterances) {
  const shown = utterances.filter((each) => each.text || each.samples).sort((a, b) => a.at - b.at);
  let skipped = shown[0]?.at ?? 0; // ms that are left out before the present utterance
  let latest = 0;
  return shown.map((utterance) => {
    skipped += Math.max(0, utterance.at - skipped - 1000 * (latest + LONGEST_GAP));
    const begin = (utterance.at - skipped) / 1000;
    const end = begin + (length(utterance) / SAMPLE_RATE || LEAST_SECONDS);
    latest = Math.max(latest, end);
    return { utterance, begin, end };
  });
}

/** → Blob of a stereo WAV at 24 kHz. */
export function soundFile(utterances) {
  const entries = schedule(utterances);
  const seconds = entries.reduce((latest, { end }) => Math.max(latest, end), 0);
  const channels = [0, 1].map(() => new Int16Array(Math.ceil(seconds * SAMPLE_RATE) + 1));
  for (const { utterance, begin } of entries) {
    const heard = utterance.audio.subarray(0, length(utterance));
    channels[utterance.role === "user" ? 0 : 1].set(heard, Math.round(begin * SAMPLE_RATE));
  }
  return wav(channels, SAMPLE_RATE);
}

/** → Blob of WebVTT. */
export function captionFile(utterances) {
  const cues = schedule(utterances)
    .filter(({ utterance }) => utterance.text)
    .map(({ utterance, begin, end }) => `${clock(begin)} --> ${clock(end)}\n${voice(utterance)}${safe(utterance)}\n`);
  return new Blob([["WEBVTT\n", ...cues].join("\n")], { type: "text/vtt" });
}

/** Samples of it that belong to the talk: of an answer that was cut, those that were heard. */
function length(utterance) {
  return utterance.status === "cut" ? utterance.played : utterance.samples;
}

function voice({ role }) {
  return role === "user" ? "<v You>" : "<v Parley>";
}

/** The text that was heard, as one line that WebVTT does not read as markup. */
function safe(utterance) {
  const text = utterance.status === "cut" ? `${utterance.text.slice(0, utterance.spoken)} …` : utterance.text;
  return text.replace(/\s+/g, " ").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").trim();
}

function clock(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const pad = (value, digits = 2) => String(Math.floor(value)).padStart(digits, "0");
  const [hours, minutes] = [milliseconds / 3_600_000, (milliseconds / 60_000) % 60];
  return `${pad(hours)}:${pad(minutes)}:${pad((milliseconds / 1000) % 60)}.${pad(milliseconds % 1000, 3)}`;
}
