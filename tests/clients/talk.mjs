// What the JavaScript clients share: as talk.py, which says what the environment variables are.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const RATE = 24_000; // Hz, 16-bit mono, in both directions
const CHUNK_MS = 40;
const PAUSE_MS = 500; // before a question
const PLAYED_BEFORE_INTERRUPTION = 0.4; // seconds
const ANSWER_MS = 40_000; // that an answer may take, question and playing

const now = () => performance.now() / 1000;
const HEADER_BYTES = 44; // of the WAV files that run.py writes
const speech = (name) => readFileSync(process.env[name]).subarray(HEADER_BYTES);

export const websocketUrl = () => `${process.env.OPENAI_BASE_URL.replace(/^http/, "ws")}/realtime`;

export class Talk {
  heard = [];
  truncated = 0;
  errors = [];
  reconnectedBy = "a new session";
  #speech = Buffer.alloc(0);
  #answer = { text: "", audio_s: 0 };
  #answers = [];
  #interruptions = [];
  #began = 0; // of what is played
  #ends = 0;
  #cut = false;

  constructor(name) {
    this.name = name;
  }

  // What clients call.

  get playing() {
    return now() < this.#ends;
  }

  get played() {
    return Math.min(now(), this.#ends) - this.#began;
  }

  audio(bytes) {
    if (!this.playing) this.#began = this.#ends = now();
    this.#ends += bytes.byteLength / 2 / RATE;
    this.#answer.audio_s += bytes.byteLength / 2 / RATE;
  }

  text(text) {
    this.#answer.text += text;
  }

  complete() {
    if (this.#answer.audio_s) this.#answers.push(this.#answer);
    this.#answer = { text: "", audio_s: 0 };
  }

  interrupted() {
    if (this.playing) this.#interruptions.push({ played_s: this.played, received_s: this.#ends - this.#began });
    this.#ends = 0;
    this.#answer = { text: "", audio_s: 0 };
  }

  error(error) {
    if (!this.#cut) this.errors.push(String(error?.message ?? JSON.stringify(error)).slice(0, 500));
  }

  // What clients do. `client`: ready(), send(chunk), reconnect().

  async run(client) {
    const sending = setInterval(() => this.#send(client), CHUNK_MS);
    try {
      return await this.#talk(client);
    } catch (error) {
      return { failed: String(error), heard: this.heard, errors: this.errors };
    } finally {
      clearInterval(sending);
    }
  }

  #due = 0;

  #send(client) {
    this.#due ||= now();
    for (; this.#due <= now(); this.#due += CHUNK_MS / 1000) {
      const chunk = Buffer.alloc((2 * RATE * CHUNK_MS) / 1000);
      this.#speech.copy(chunk);
      this.#speech = this.#speech.subarray(chunk.length);
      client.send(chunk);
    }
  }

  async #talk(client) {
    await until(() => client.ready());
    const turn = await this.#ask("CLIENT_QUESTION");
    const [interruption, after] = await this.#interrupt();
    const truncated = this.truncated;
    this.#cut = true;
    await fetch(process.env.CLIENT_CUT);
    await client.reconnect();
    this.#cut = false;
    const again = await this.#ask("CLIENT_QUESTION");
    return {
      turn,
      interruption: { ...interruption, truncated, next: after },
      reconnect: { by: this.reconnectedBy, next: again },
      heard: this.heard,
      errors: this.errors,
    };
  }

  async #say(name) {
    await sleep(PAUSE_MS);
    this.#speech = Buffer.concat([this.#speech, speech(name)]);
  }

  async #ask(name) {
    await this.#say(name);
    return await this.#nextAnswer();
  }

  async #nextAnswer() {
    await until(() => this.#answers.length);
    const answer = this.#answers.shift();
    await until(() => !this.playing);
    return answer;
  }

  async #interrupt() {
    await this.#say("CLIENT_LONG_QUESTION");
    await until(() => this.playing && this.played >= PLAYED_BEFORE_INTERRUPTION);
    this.#speech = speech("CLIENT_QUESTION");
    await until(() => this.#interruptions.length);
    this.#answers.length = 0; // the interrupted one may have been complete
    return [this.#interruptions.shift(), await this.#nextAnswer()];
  }
}

export async function until(condition) {
  const end = Date.now() + ANSWER_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`nothing came within ${ANSWER_MS / 1000} s`);
    await sleep(20);
  }
}

export function report(talk, result) {
  console.log(JSON.stringify({ client: talk.name, ...result }));
}
