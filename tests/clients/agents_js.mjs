// OpenAI's Agents SDK for JavaScript: a RealtimeSession with an agent; it validates every event strictly.

import { RealtimeAgent, RealtimeSession } from "@openai/agents/realtime";
import { readFileSync } from "node:fs";
import { report, Talk, websocketUrl } from "./talk.mjs";

const MODEL = "gpt-realtime-2.1"; // the SDK's own default, which is part of the address
const { version } = JSON.parse(readFileSync("node_modules/@openai/agents/package.json"));
const talk = new Talk(`@openai/agents ${version}`);
let session;
let connected = false;

async function connect() {
  const agent = new RealtimeAgent({ name: "Parley", instructions: "Answer in one sentence." });
  session = new RealtimeSession(agent, { transport: "websocket" });
  session.on("audio", (event) => talk.audio(new Uint8Array(event.data)));
  session.on("audio_interrupted", () => talk.interrupted());
  session.on("agent_end", () => talk.complete());
  session.on("error", ({ error }) => talk.error(error));
  session.transport.on("audio_transcript_delta", (event) => talk.text(event.delta));
  session.transport.on("connection_change", (status) => (connected = status === "connected"));
  session.on("transport_event", take);
  await session.connect({ apiKey: process.env.OPENAI_API_KEY, url: `${websocketUrl()}?model=${MODEL}` });
}

function take(event) {
  if (event.type === "conversation.item.truncated") talk.truncated += 1;
  if (event.type === "conversation.item.input_audio_transcription.completed") talk.heard.push(event.transcript);
}

const client = {
  ready: () => connected,
  send(chunk) {
    if (connected) session.sendAudio(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength));
  },
  async reconnect() {
    await connect(); // it does not reconnect by itself
  },
};

await connect();
report(talk, await talk.run(client));
session.close();
