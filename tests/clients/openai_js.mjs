// The official JavaScript client over `ws`: events of the Realtime API as they come, its own reconnecting. wss only.

import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { readFileSync } from "node:fs";
import { report, Talk, until } from "./talk.mjs";

const { version } = JSON.parse(readFileSync("node_modules/openai/package.json"));
const talk = new Talk(`openai ${version} (JavaScript)`);
const socket = new OpenAIRealtimeWS({ model: "gpt-realtime", reconnect: true }, new OpenAI());
let sessions = 0;
let lost = false; // between a loss and the next session
let item = ""; // of the answer that is played

socket.on("session.created", () => {
  sessions += 1;
  lost = false;
  socket.flushPending();
});
socket.on("reconnecting", () => {
  lost = true;
  talk.reconnectedBy = "the client";
});
socket.on("response.output_audio.delta", (event) => {
  item = event.item_id;
  talk.audio(Buffer.from(event.delta, "base64"));
});
socket.on("response.output_audio_transcript.delta", (event) => talk.text(event.delta));
socket.on("input_audio_buffer.speech_started", () => {
  if (!talk.playing) return;
  const audio_end_ms = Math.round(1000 * talk.played);
  talk.interrupted();
  socket.send({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms });
});
socket.on("conversation.item.truncated", () => (talk.truncated += 1));
socket.on("response.done", ({ response }) => {
  if (response.status === "failed") talk.error(response.status_details);
  else if (response.status !== "cancelled") talk.complete();
});
socket.on("error", (error) => talk.error(error));

const client = {
  ready: () => sessions > 0,
  send(chunk) {
    if (sessions && !lost) socket.send({ type: "input_audio_buffer.append", audio: chunk.toString("base64") });
  },
  async reconnect() {
    const before = sessions;
    await until(() => sessions > before);
  },
};

report(talk, await talk.run(client));
socket.close();
