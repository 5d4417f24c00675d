// The list of captions: one element an utterance, brought up to date at most once a frame.

import { StripView } from "./strip_view.js";

const NEAR_END = 120; // pixels; who has scrolled up further reads, and is not scrolled away from it
const STATES = { speech: "taken as a spoken question", text: "taken as text", nothing: "nothing to answer" };

export class CaptionsView {
  /** `onReplay` and `onTakeBack` are given an utterance. */
  constructor({ list, stage, template, talk, onReplay, onTakeBack }) {
    Object.assign(this, { list, stage, template, onReplay, onTakeBack });
    this.rows = new Map(); // utterance → Row
    this.stale = new Set();
    talk.addEventListener("changed", ({ detail }) => this.#later(detail.utterance));
    talk.addEventListener("left", ({ detail }) => this.#remove(detail.utterance));
  }

  /** Which utterance is played again; "" for none. */
  showReplay(id) {
    for (const [utterance, row] of this.rows) row.showReplay(utterance.id === id);
  }

  #later(utterance) {
    if (!this.stale.size) requestAnimationFrame(() => this.#draw());
    this.stale.add(utterance);
  }

  #draw() {
    const atEnd = this.stage.scrollHeight - this.stage.scrollTop - this.stage.clientHeight < NEAR_END;
    for (const utterance of this.stale) this.#row(utterance).show();
    this.stale.clear();
    if (atEnd) this.stage.scrollTop = this.stage.scrollHeight;
  }

  #row(utterance) {
    if (!this.rows.has(utterance)) {
      const element = this.template.content.firstElementChild.cloneNode(true);
      this.rows.set(utterance, new Row(element, utterance, this));
      this.list.append(element);
    }
    return this.rows.get(utterance);
  }

  #remove(utterance) {
    this.stale.delete(utterance);
    this.rows.get(utterance)?.element.remove();
    this.rows.delete(utterance);
  }
}

/** One utterance on the page. */
class Row {
  constructor(element, utterance, { onReplay, onTakeBack }) {
    this.element = element;
    this.utterance = utterance;
    const find = (name) => element.querySelector(`.${name}`);
    const names = ["who", "picture", "spoken", "unspoken", "reason", "replay", "decided", "cut", "times"];
    this.parts = Object.fromEntries(names.map((name) => [name, find(name)]));
    this.strip = new StripView(this.parts.times);
    element.classList.add(utterance.role);
    element.dataset.id = utterance.id;
    this.parts.who.textContent = utterance.role === "user" ? "You" : "Parley";
    this.parts.replay.addEventListener("click", () => onReplay(utterance));
    find("take-back").addEventListener("click", () => onTakeBack(utterance));
  }

  show() {
    const { utterance, parts, element } = this;
    element.dataset.status = utterance.status;
    element.classList.toggle("hearing", utterance.role === "user" && utterance.status === "growing");
    this.#showText();
    this.#showPicture();
    show(parts.reason, utterance.reason);
    show(parts.decided, decision(utterance));
    parts.cut.hidden = utterance.status !== "cut" || utterance.role === "user";
    this.#showReplayButton();
    this.strip.show(utterance.timing);
  }

  showReplay(playing) {
    const { replay } = this.parts;
    replay.classList.toggle("playing", playing);
    replay.setAttribute("aria-label", playing ? "Stop" : `Play again what ${this.utterance.role === "user" ? "you" : "Parley"} said`);
  }

  #showText() {
    const { text, role, spoken } = this.utterance;
    const heard = role === "user" ? text.length : spoken;
    setText(this.parts.spoken, text.slice(0, heard));
    setText(this.parts.unspoken, text.slice(heard));
  }

  #showPicture() {
    const { picture, text } = this.utterance;
    this.parts.picture.hidden = !picture;
    this.element.classList.toggle("with-text", Boolean(text || this.utterance.samples));
    if (!picture) return;
    const image = this.parts.picture.querySelector("img");
    if (image.src !== picture) image.src = picture;
    image.alt = text ? "What the camera showed" : "The picture that you showed";
    this.parts.picture.querySelector("button").hidden = Boolean(text) || this.utterance.samples > 0;
  }

  #showReplayButton() {
    const { samples, status, milliseconds } = this.utterance;
    this.parts.replay.hidden = !samples || status === "growing";
    if (this.parts.replay.hidden) return;
    setText(this.parts.replay.querySelector("span"), `${(milliseconds / 1000).toFixed(1)} s`);
    this.showReplay(this.parts.replay.classList.contains("playing"));
  }
}

/** What was decided of a question. */
function decision({ decided }) {
  if (!decided) return "";
  const share = decided.probability ? ` (${Math.round(100 * decided.probability)} %)` : "";
  return `${STATES[decided.state] ?? decided.state}${share}`;
}

function show(element, text) {
  element.hidden = !text;
  setText(element, text);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
