// One utterance of the talk: what was said, seen or answered, its sound, and when.

import { join, milliseconds } from "../audio/pcm.js";

export class Utterance {
  /** `role`: user or assistant. `at`: when it began, on the clock of `performance.now()`. */
  constructor(id, role, at) {
    this.id = id;
    this.role = role;
    this.at = at;
    this.text = "";
    this.pieces = ""; // of the text, that came one by one
    this.status = "growing"; // growing, done, cut, failed
    this.reason = ""; // why it failed
    this.picture = ""; // a data URL
    this.decided = null; // of a question: {state, probability}
    this.responseId = ""; // of an answer
    this.timing = null; // of an answer: Timing
    this.chunks = []; // Int16Array, 24 kHz
    this.samples = 0;
    this.played = 0; // samples that were heard
    this.marks = []; // {samples, characters}: the text that came before these samples
  }

  get audio() {
    return join(this.chunks);
  }

  get milliseconds() {
    return milliseconds(this.samples);
  }

  addText(text) {
    this.text += text;
    this.marks.push({ samples: this.samples, characters: this.text.length });
  }

  addAudio(samples) {
    this.chunks.push(samples);
    this.samples += samples.length;
  }

  /** Ends it where the listener stopped hearing it. */
  cutAt(samples) {
    this.played = Math.min(samples, this.samples);
    this.status = "cut";
  }

  /**
   * How many characters of the text have been spoken, whole words. Each piece of text comes just before its sound, so
   * the text between two marks is spoken in the samples between them.
   */
  get spoken() {
    const characters = Math.min(this.text.length, this.#spokenCharacters());
    const rest = this.text.slice(characters).search(/\s|$/);
    return characters && characters + rest;
  }

  #spokenCharacters() {
    if (!this.samples) return this.text.length;
    let before = { samples: 0, characters: 0 };
    const ends = this.marks.map((mark, i) => ({
      samples: this.marks[i + 1]?.samples ?? this.samples,
      characters: mark.characters,
    }));
    for (const end of ends) {
      if (this.played < end.samples) {
        const share = (this.played - before.samples) / (end.samples - before.samples);
        return before.characters + Math.round(share * (end.characters - before.characters));
      }
      before = end;
    }
    return this.text.length;
  }
}
