// The talk as a list of utterances, made of the server's events alone.

import { decode } from "../audio/pcm.js";
import { Timing } from "./timing.js";
import { Utterance } from "./utterance.js";

const MAX_UTTERANCES = 400; // the oldest go first
const MAX_AUDIO_SAMPLES = 30 * 60 * 24_000; // half an hour; the oldest sound goes first

/** Events: `changed` {utterance}, `audio` {utterance, samples}, `complete` {utterance}, `left` {utterance}: it is gone. */
export class Talk extends EventTarget {
  constructor() {
    super();
    this.utterances = [];
    this.byId = new Map();
    this.question = null; // {voiced, asked}: the times of the question that the next answer belongs to
    this.receivers = {
      "input_audio_buffer.speech_started": (event, at) => this.#speaks(event, at),
      "input_audio_buffer.committed": (event, at) => this.user(event.item_id, at),
      "conversation.item.input_audio_transcription.delta": (event, at) => this.#heard(event, at),
      "conversation.item.input_audio_transcription.completed": (event, at) => this.#understood(event, at),
      "conversation.item.input_audio_transcription.failed": (event, at) => this.#notUnderstood(event, at),
      "conversation.item.deleted": (event) => this.#remove(event.item_id),
      "response.output_item.added": (event, at) => this.#answer(event, at),
      "response.output_audio_transcript.delta": (event) => this.#answerText(event),
      "response.output_text.delta": (event) => this.#answerText(event),
      "response.output_audio.delta": (event, at) => this.#answerAudio(event, at),
      "response.output_audio.done": (event) => this.#answerComplete(event),
      "response.done": (event) => this.#done(event.response),
      "parley.transcript": (event, at) => this.#hearing(event, at),
      "parley.state": (event) => this.#decided(event),
      "parley.turn": (event) => this.#measured(event),
    };
  }

  /** One server event that came at `at`. */
  receive(event, at) {
    this.receivers[event.type]?.(event, at);
  }

  /** The user's utterance of this id, which begins now if there is none. */
  user(id, at) {
    return this.byId.get(id) ?? this.#begin(new Utterance(id, "user", at));
  }

  /** Forgets speech of the user that has not become an item of the session. */
  dropUnfinished() {
    const isUnfinished = ({ role, status, samples }) => role === "user" && status === "growing" && !samples;
    for (const utterance of this.utterances.filter(isUnfinished)) this.#remove(utterance.id);
  }

  changed(utterance) {
    this.#emit("changed", { utterance });
  }

  /** The sound of one utterance has been kept; the oldest is left out where it is too much. */
  keepAudio(utterance, samples) {
    utterance.addAudio(samples);
    let sum = this.utterances.reduce((total, each) => total + each.samples, 0);
    for (const each of this.utterances) {
      if (sum <= MAX_AUDIO_SAMPLES || each === utterance) break;
      sum -= each.samples;
      each.chunks = [];
      each.samples = 0;
    }
  }

  #begin(utterance) {
    this.utterances.push(utterance);
    this.byId.set(utterance.id, utterance);
    if (this.utterances.length > MAX_UTTERANCES) this.#remove(this.utterances[0].id);
    this.changed(utterance);
    return utterance;
  }

  #remove(id) {
    const utterance = this.byId.get(id);
    if (!utterance) return;
    this.byId.delete(id);
    this.utterances.splice(this.utterances.indexOf(utterance), 1);
    this.#emit("left", { utterance });
  }

  /** Speech before it that became no question leaves. */
  #speaks({ item_id }, at) {
    this.dropUnfinished();
    this.user(item_id, at);
  }

  /** What is understood so far of a question that is being spoken; it may still change. */
  #hearing({ item_id, transcript }, at) {
    const utterance = this.user(item_id, at);
    utterance.text = transcript;
    this.changed(utterance);
  }

  /** Pieces of a question that is complete. */
  #heard({ item_id, delta }, at) {
    const utterance = this.user(item_id, at);
    utterance.pieces += delta;
    if (utterance.pieces.length >= utterance.text.length) utterance.text = utterance.pieces;
    this.changed(utterance);
  }

  #understood({ item_id, transcript }, at) {
    const utterance = this.user(item_id, at);
    utterance.text = transcript;
    utterance.status = "done";
    this.changed(utterance);
  }

  #notUnderstood({ item_id, error }, at) {
    const utterance = this.user(item_id, at);
    utterance.status = "failed";
    utterance.reason = error?.message ?? "";
    this.changed(utterance);
  }

  #decided({ item_id, state, probabilities }) {
    const utterance = this.byId.get(item_id);
    if (!utterance) return; // speech while an answer was given, not meant for the model
    utterance.decided = { state, probability: Math.max(0, ...(probabilities ?? [])) };
    this.changed(utterance);
  }

  #answer({ response_id, item }, at) {
    if (item.type !== "message" || this.byId.has(item.id)) return;
    const utterance = new Utterance(item.id, "assistant", at);
    utterance.responseId = response_id;
    utterance.timing = new Timing(this.question ?? {});
    this.#begin(utterance);
  }

  #answerText({ item_id, delta }) {
    const utterance = this.byId.get(item_id);
    if (!utterance) return;
    utterance.addText(delta);
    this.changed(utterance);
  }

  #answerAudio({ item_id, delta }, at) {
    const utterance = this.byId.get(item_id);
    if (!utterance || utterance.status !== "growing") return;
    const samples = decode(delta);
    utterance.timing.received ??= at;
    this.keepAudio(utterance, samples);
    this.#emit("audio", { utterance, samples });
  }

  #answerComplete({ item_id }) {
    const utterance = this.byId.get(item_id);
    if (utterance) this.#emit("complete", { utterance });
  }

  #done({ id, status, status_details: details }) {
    const answers = this.utterances.filter((each) => each.responseId === id);
    for (const utterance of answers) {
      if (status === "failed") utterance.reason = details?.error?.message ?? "the answer failed";
      if (utterance.status === "growing") utterance.status = { cancelled: "cut", failed: "failed" }[status] ?? "done";
      this.#emit("complete", { utterance });
      this.changed(utterance);
    }
  }

  #measured({ response_id, latency }) {
    for (const utterance of this.utterances.filter((each) => each.responseId === response_id)) {
      utterance.timing.latency = latency;
      this.changed(utterance);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
