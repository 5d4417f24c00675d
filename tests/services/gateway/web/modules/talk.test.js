import assert from "node:assert/strict";
import test from "node:test";

import { encode } from "../static/audio/pcm.js";
import { captionFile, schedule, soundFile } from "../static/talk/download.js";
import { Frames } from "../static/talk/frames.js";
import { RecentAudio } from "../static/talk/recent_audio.js";
import { Talk } from "../static/talk/talk.js";
import { Timing } from "../static/talk/timing.js";
import { Utterance } from "../static/talk/utterance.js";

function spokenTurn(talk) {
  const where = { response_id: "r", item_id: "a" };
  talk.receive({ type: "input_audio_buffer.speech_started", item_id: "q" }, 100);
  talk.receive({ type: "conversation.item.input_audio_transcription.delta", item_id: "q", delta: "what col" }, 200);
  talk.receive({ type: "conversation.item.input_audio_transcription.completed", item_id: "q", transcript: "what colour" }, 300);
  talk.receive({ type: "parley.state", item_id: "q", state: "speech", probabilities: [0.9, 0.06, 0.04] }, 310);
  talk.question = { voiced: 250, asked: 300 };
  talk.receive({ type: "response.output_item.added", response_id: "r", item: { id: "a", type: "message" } }, 400);
  talk.receive({ type: "response.output_audio_transcript.delta", ...where, delta: "It is" }, 410);
  talk.receive({ type: "response.output_audio.delta", ...where, delta: encode(new Int16Array(2400)) }, 420);
  talk.receive({ type: "response.output_audio_transcript.delta", ...where, delta: " red." }, 430);
  talk.receive({ type: "response.output_audio.delta", ...where, delta: encode(new Int16Array(2400)) }, 440);
}

test("a turn becomes a question and an answer", () => {
  const talk = new Talk();
  spokenTurn(talk);
  talk.receive({ type: "response.done", response: { id: "r", status: "completed" } }, 500);
  const [question, answer] = talk.utterances;
  assert.deepEqual([question.role, question.text, question.status], ["user", "what colour", "done"]);
  assert.deepEqual(question.decided, { state: "speech", probability: 0.9 });
  assert.deepEqual([answer.role, answer.text, answer.status, answer.milliseconds], ["assistant", "It is red.", "done", 200]);
  assert.equal(answer.timing.received, 420);
});

test("what was heard of an answer is whole words up to what was played", () => {
  const talk = new Talk();
  spokenTurn(talk);
  const answer = talk.byId.get("a");
  answer.played = 0;
  assert.equal(answer.spoken, 0);
  answer.played = 1200;
  assert.equal(answer.text.slice(0, answer.spoken), "It is");
  answer.played = 3000;
  assert.equal(answer.text.slice(0, answer.spoken), "It is red.");
  answer.cutAt(99_999);
  assert.deepEqual([answer.played, answer.status], [4800, "cut"]);
});

test("audio of an answer that was cut is left out, and a cut answer stays cut", () => {
  const talk = new Talk();
  spokenTurn(talk);
  talk.byId.get("a").cutAt(1000);
  talk.receive({ type: "response.output_audio.delta", item_id: "a", delta: encode(new Int16Array(100)) }, 450);
  talk.receive({ type: "response.done", response: { id: "r", status: "completed" } }, 500);
  assert.deepEqual([talk.byId.get("a").samples, talk.byId.get("a").status], [4800, "cut"]);
});

test("a failed answer says why", () => {
  const talk = new Talk();
  spokenTurn(talk);
  const details = { error: { message: "a service is gone" } };
  talk.receive({ type: "response.done", response: { id: "r", status: "failed", status_details: details } }, 500);
  assert.deepEqual([talk.byId.get("a").status, talk.byId.get("a").reason], ["failed", "a service is gone"]);
});

test("the oldest utterances leave, and deleted ones", () => {
  const talk = new Talk();
  for (let i = 0; i < 405; i++) talk.user(`q${i}`, i);
  talk.receive({ type: "conversation.item.deleted", item_id: "q10" }, 500);
  assert.equal(talk.utterances.length, 399);
  assert.equal(talk.byId.has("q4"), false);
  assert.equal(talk.byId.has("q10"), false);
});

test("half an hour of sound is kept", () => {
  const talk = new Talk();
  for (let i = 0; i < 4; i++) talk.keepAudio(talk.user(`q${i}`, i), new Int16Array(10 * 60 * 24_000));
  assert.deepEqual(talk.utterances.map((each) => each.samples > 0), [false, true, true, true]);
});

test("the segments of a turn add up to the wait", () => {
  const timing = new Timing({ voiced: 1000, asked: 1600 });
  assert.deepEqual(timing.segments, []);
  Object.assign(timing, { received: 1800, played: 1900 });
  assert.deepEqual(timing.segments.map(({ name }) => name), ["end_of_speech", "answer", "player"]);
  timing.latency = { speech_encoder: 0.015, first_token: 0.014, first_clause: 0.03, speech_decoder: 0.073 };
  const total = () => timing.segments.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  assert.equal(Math.round(total()), 900);
  assert.equal(Math.round(timing.segments.find(({ name }) => name === "network").milliseconds), 68);
  timing.latency.speech_decoder = 5; // it began before the end of the question was known here
  assert.equal(Math.round(total()), 900);
  assert.equal(timing.segments.some(({ name }) => name === "network"), false);
});

test("a typed question waits from when it was sent", () => {
  const timing = new Timing({ voiced: null, asked: 100 });
  Object.assign(timing, { received: 150, played: 250 });
  assert.equal(timing.total, 150);
  assert.equal(timing.segments[0].name, "answer");
});

test("frames are few, apart, and different; old ones are given up", () => {
  const frames = new Frames();
  const look = (value) => new Array(192).fill(value);
  assert.ok(frames.isDue(0) && frames.isNew(look(0)));
  assert.deepEqual(frames.sent("a", look(0), 0), []);
  assert.ok(!frames.isDue(1000) && frames.isDue(1500));
  assert.ok(!frames.isNew(look(5)) && frames.isNew(look(20)));
  for (const id of ["b", "c", "d"]) assert.deepEqual(frames.sent(id, look(0), 0), []);
  assert.deepEqual(frames.sent("e", look(0), 0), ["a"]);
  frames.reset();
  assert.ok(frames.isNew(look(0)));
});

test("recent audio is a minute", () => {
  const recent = new RecentAudio();
  for (let i = 0; i <= 100; i++) recent.add(1000 * i, Int16Array.of(i));
  assert.deepEqual(recent.between(0, 42_000).map(([x]) => x), [40, 41, 42]);
});

function said(role, at, seconds, text) {
  const utterance = new Utterance(`${role}${at}`, role, at);
  utterance.addText(text);
  if (seconds) utterance.addAudio(new Int16Array(seconds * 24_000).fill(role === "user" ? 1 : 2));
  utterance.played = utterance.samples;
  utterance.status = "done";
  return utterance;
}

test("the talk is written with its silences shortened", () => {
  const times = schedule([said("user", 5000, 2, "hello"), said("assistant", 7500, 1, "hi"), said("user", 60_000, 0, "typed")]);
  assert.deepEqual(times.map(({ begin, end }) => [begin, end]), [[0, 2], [2.5, 3.5], [6.5, 8]]);
});

test("both sides are in one file, each on its channel", async () => {
  const bytes = await soundFile([said("user", 0, 1, "a"), said("assistant", 500, 1, "b")]).arrayBuffer();
  const samples = new Int16Array(bytes, 44);
  const at = (seconds) => [samples[2 * seconds * 24_000], samples[2 * seconds * 24_000 + 1]];
  assert.deepEqual([at(0.25), at(0.75), at(1.25)], [[1, 0], [1, 2], [0, 2]]);
});

test("captions fit the sound, end where an answer was cut, and are no markup", async () => {
  const answer = said("assistant", 3000, 2, "one two <b> three & four");
  answer.cutAt(24_000);
  const text = await captionFile([said("user", 0, 2, "what?"), answer]).text();
  assert.equal(text.split("\n").slice(0, 4).join("\n"), "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v You>what?");
  assert.match(text, /00:00:03\.000 --> 00:00:04\.000\n<v Parley>one two &lt;b&gt; three …/);
});

test("nothing was said: both files can be read", async () => {
  assert.equal((await soundFile([]).arrayBuffer()).byteLength, 48);
  assert.equal((await captionFile([]).text()).trim(), "WEBVTT");
});
