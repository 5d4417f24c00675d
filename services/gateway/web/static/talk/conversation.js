// One conversation: what the user does becomes client events, and what the server says becomes sound and captions.

import { milliseconds } from "../audio/pcm.js";
import * as events from "../realtime/events.js";

const REPLAYED = 20; // newest utterances that a new session is given
const HARMLESS = ["response_cancel_not_active", "input_audio_buffer_commit_empty", "session_not_resumable"];

/**
 * Events: `activity`, `problem` {message}, `note` {message}. `activity` is `off`, `connecting`, `waiting` (for a lost
 * connection), `listening`, `hearing`, `thinking` or `speaking`.
 */
export class Conversation extends EventTarget {
  constructor({ connection, talk, player, speech, sight }) {
    super();
    Object.assign(this, { connection, talk, player, speech, sight });
    this.voice = "";
    this.begun = false; // whether there was a session before
    this.connected = false;
    this.hearing = false;
    this.thinking = false;
    this.lostSpeech = null; // Int16Arrays: what was sent of a question before the connection was lost in its middle
    this.response = null; // id of the answer that the server is generating
    this.#listenToServer();
    this.#listenToPlayer();
    this.#listenToUser();
  }

  get activity() {
    const { state } = this.connection;
    if (state !== "open") return { closed: "off" }[state] ?? state;
    if (this.hearing || this.speech.held !== null) return "hearing";
    if (this.player.busy) return "speaking";
    return this.thinking ? "thinking" : "listening";
  }

  setHandsFree(handsFree) {
    this.speech.handsFree = handsFree;
    this.hearing = false;
    this.connection.send(events.turnDetection(handsFree));
    if (!handsFree) this.connection.send(events.CLEAR);
    this.#changed();
  }

  /** A session keeps its voice once it has spoken; then another voice needs another session. */
  setVoice(voice) {
    this.voice = voice;
    if (this.connection.state === "closed") return;
    if (!this.talk.utterances.some((each) => each.role === "assistant")) return this.#configure();
    this.interrupt();
    this.connection.close();
    this.connection.open();
  }

  press() {
    this.interrupt();
    this.speech.press();
    this.sight.look();
    this.#changed();
  }

  release() {
    if (this.speech.held === null) return;
    this.speech.release();
    this.#changed();
  }

  /** Asks in writing. */
  type(text) {
    this.interrupt();
    this.sight.look();
    const id = events.newItemId();
    const utterance = this.talk.user(id, performance.now());
    Object.assign(utterance, { text, status: "done", picture: this.sight.takeFrame() });
    this.talk.changed(utterance);
    this.connection.send(events.createMessage(id, [events.textPart(text)]));
    this.connection.send(events.RESPOND);
    this.#asked(null, performance.now());
  }

  /** Ends the answer that is generated or heard; the session keeps what was heard of it. */
  interrupt() {
    if (this.response) this.connection.send(events.CANCEL);
    this.#stopPlaying();
    this.thinking = false;
    this.#changed();
  }

  #listenToServer() {
    const receivers = {
      "input_audio_buffer.speech_started": (event, at) => this.#speechStarted(at),
      "input_audio_buffer.speech_stopped": (event, at) => this.#speechStopped(at),
      "input_audio_buffer.committed": (event, at) => this.#committed(event.item_id, at),
      "response.created": ({ response }) => (this.response = response.id),
      "response.done": ({ response }) => this.#responseDone(response),
      "parley.playback": ({ action }) => this.#control(action),
      "parley.state": ({ state }) => state === "nothing" && (this.thinking = false),
      error: ({ error }) => HARMLESS.includes(error.code) || this.#emit("problem", { message: error.message }),
    };
    this.connection.addEventListener("event", ({ detail: { event, at } }) => {
      this.talk.receive(event, at);
      receivers[event.type]?.(event, at);
      if (event.type in receivers) this.#changed();
    });
    for (const [type, act] of [["new", this.#begin], ["resumed", this.#resume]]) {
      this.connection.addEventListener(type, ({ detail }) => {
        act.call(this, detail.waiting);
        this.#changed();
      });
    }
    this.connection.addEventListener("state", ({ detail: { state } }) => {
      if (state === "waiting" && this.connected) this.#lose();
      this.connected = state === "open";
      this.#changed();
    });
  }

  #lose() {
    this.player.resume(); // what might have interrupted is lost too
    if (this.hearing || this.speech.held !== null) this.lostSpeech ??= this.speech.question;
  }

  #listenToPlayer() {
    this.talk.addEventListener("audio", ({ detail: { utterance, samples } }) => {
      this.player.push(utterance.id, samples);
      this.thinking = false;
      this.#changed();
    });
    this.talk.addEventListener("complete", ({ detail: { utterance } }) => this.player.end(utterance.id));
    this.player.addEventListener("started", ({ detail }) => this.#heard(detail.id, (timing) => (timing.played ??= detail.at)));
    for (const type of ["playing", "finished"]) {
      this.player.addEventListener(type, ({ detail }) => this.#played(detail.id, detail.samples));
    }
    this.player.addEventListener("finished", () => this.#changed());
    this.player.addEventListener("stopped", ({ detail }) => detail.cut.forEach((each) => this.#cut(each)));
    this.player.addEventListener("full", () => this.#emit("problem", { message: "The answer is too long to be kept" }));
  }

  #listenToUser() {
    this.speech.addEventListener("asked", () => this.#asked(this.speech.lastVoiced, this.speech.end));
    this.speech.addEventListener("short", () => this.#emit("note", { message: "Hold the button while you speak" }));
    this.speech.addEventListener("level", ({ detail }) => {
      if (this.activity === "hearing") this.sight.look(detail.at);
    });
  }

  #begin(waiting) {
    this.#configure();
    if (this.begun) this.#beginAgain(this.#withoutLostSpeech(waiting));
    else waiting.forEach((event) => this.connection.send(event));
    this.begun = true;
  }

  /** A session follows one that is lost: it is told what was said, and asked again what was not answered. */
  #beginAgain(waiting) {
    this.response = null;
    this.thinking = false;
    this.sight.reset();
    const before = this.talk.utterances.filter((each) => each.text || each.picture).slice(-REPLAYED);
    for (const utterance of before) this.connection.send(replayed(utterance));
    if (waiting.some((event) => event.type === events.RESPOND.type)) this.connection.send(events.RESPOND);
    if (before.length) this.#emit("note", { message: "A new session began; it was told what was said" });
  }

  /** What the server had of a question that was being spoken is gone: it is sent again, before what waited. */
  #resume(waiting) {
    const lost = this.lostSpeech;
    if (lost) {
      this.talk.dropUnfinished();
      this.speech.startsAgain = this.speech.handsFree;
      this.hearing = false;
      this.lostSpeech = null;
    }
    [...(lost ?? []).map(events.append), ...waiting].forEach((event) => this.connection.send(event));
    this.#emit("note", { message: "Connected again" });
  }

  /** Of a new session: the rest of a question whose beginning is lost is no question. */
  #withoutLostSpeech(waiting) {
    if (!this.lostSpeech) return waiting;
    this.hearing = false;
    this.lostSpeech = null;
    this.speech.drop();
    this.talk.dropUnfinished();
    this.#emit("problem", { message: "The connection was lost while you spoke; say it again" });
    const isSpeech = ({ type }) => type.startsWith("input_audio_buffer.") || type === events.RESPOND.type;
    return waiting.filter((event) => !isSpeech(event));
  }

  #configure() {
    this.connection.send(events.sessionUpdate({ handsFree: this.speech.handsFree, voice: this.voice }));
  }

  #speechStarted(at) {
    this.hearing = true;
    this.speech.started(at);
    this.#stopPlaying();
    this.sight.look();
  }

  #speechStopped(at) {
    this.hearing = false;
    this.speech.stopped(at);
    this.#asked(this.speech.lastVoiced, at);
  }

  #asked(voiced, asked) {
    this.talk.question = { voiced, asked };
    this.thinking = true;
    this.#changed();
  }

  #committed(id, at) {
    const utterance = this.talk.user(id, at);
    for (const samples of this.speech.question) this.talk.keepAudio(utterance, samples);
    utterance.at = this.speech.begin ?? at;
    utterance.picture = this.sight.takeFrame();
    this.talk.changed(utterance);
  }

  #responseDone({ id, status, status_details: details }) {
    if (this.response === id) this.response = null;
    this.thinking = false;
    if (status === "failed") this.#emit("problem", { message: details?.error?.message ?? "The answer failed" });
  }

  #heard(id, change) {
    const utterance = this.talk.byId.get(id);
    if (!utterance) return;
    change(utterance.timing);
    this.talk.changed(utterance);
  }

  #played(id, samples) {
    const utterance = this.talk.byId.get(id);
    if (!utterance || utterance.played === samples || utterance.status === "cut") return;
    utterance.played = samples;
    this.talk.changed(utterance);
  }

  /** Of an answer that somebody may be interrupting. */
  #control(action) {
    const acts = { pause: () => this.player.pause(), resume: () => this.player.resume(), stop: () => this.#stopPlaying() };
    acts[action]?.();
  }

  #stopPlaying() {
    if (this.player.busy) this.player.stop();
  }

  /** The player was stopped: the session is told how much of the answer was heard. */
  #cut({ id, samples }) {
    const utterance = this.talk.byId.get(id);
    if (!utterance) return;
    utterance.cutAt(samples);
    this.connection.send(events.truncate(id, milliseconds(utterance.played)));
    this.talk.changed(utterance);
    this.#changed();
  }

  #changed() {
    this.#emit("activity", { activity: this.activity });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** An utterance as an item of a new session. */
function replayed({ role, text, picture, status, spoken }) {
  const id = events.newItemId();
  if (picture && !text) return events.createMessage(id, [events.picturePart(picture)]);
  return events.replayMessage(id, role, status === "cut" ? text.slice(0, spoken) || "…" : text);
}
