// The client events that the page sends, as the Realtime API writes them.

import { encode } from "../audio/pcm.js";

const FORMAT = { type: "audio/pcm", rate: 24_000 };
const HANDS_FREE = { type: "server_vad", create_response: true, interrupt_response: true };

/** `voice` empty: the server's own. */
export function sessionUpdate({ handsFree, voice }) {
  const input = { format: FORMAT, transcription: { model: "whisper-1" }, turn_detection: handsFree ? HANDS_FREE : null };
  const output = voice ? { format: FORMAT, voice } : { format: FORMAT };
  return { type: "session.update", session: { type: "realtime", output_modalities: ["audio"], audio: { input, output } } };
}

export function turnDetection(handsFree) {
  const input = { turn_detection: handsFree ? HANDS_FREE : null };
  return { type: "session.update", session: { type: "realtime", audio: { input } } };
}

/** Int16Array at 24 kHz. */
export function append(samples) {
  return { type: "input_audio_buffer.append", audio: encode(samples) };
}

export const COMMIT = { type: "input_audio_buffer.commit" };
export const CLEAR = { type: "input_audio_buffer.clear" };
export const RESPOND = { type: "response.create" };
export const CANCEL = { type: "response.cancel" };

/** `content`: parts of the user's message. */
export function createMessage(id, content) {
  return { type: "conversation.item.create", item: { id, type: "message", role: "user", content } };
}

export function textPart(text) {
  return { type: "input_text", text };
}

/** `url`: a data URL of a JPEG or PNG. */
export function picturePart(url) {
  return { type: "input_image", image_url: url };
}

/** What was said before, for a session that follows a lost one. `role`: user or assistant. */
export function replayMessage(id, role, text) {
  const part = { type: role === "user" ? "input_text" : "output_text", text };
  return { type: "conversation.item.create", item: { id, type: "message", role, content: [part] } };
}

export function deleteItem(id) {
  return { type: "conversation.item.delete", item_id: id };
}

export function truncate(id, milliseconds) {
  return { type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms: Math.floor(milliseconds) };
}

/** An id that no other item has; at most 32 characters. */
export function newItemId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `item_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
