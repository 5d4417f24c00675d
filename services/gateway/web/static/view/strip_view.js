// A strip that shows where the milliseconds of a turn went, and the same in words.

import { LABELS } from "../talk/timing.js";

export class StripView {
  /** `details`: a <details> with `.strip`, `.total` and a <dl>. */
  constructor(details) {
    this.details = details;
    this.strip = details.querySelector(".strip");
    this.total = details.querySelector(".total");
    this.list = details.querySelector("dl");
    this.shown = "";
    details.addEventListener("toggle", () => details.scrollIntoView({ block: "nearest" }));
  }

  /** `timing`: a `Timing`, or null. */
  show(timing) {
    const segments = timing?.segments ?? [];
    this.details.hidden = !segments.length;
    const key = JSON.stringify(segments);
    if (!segments.length || key === this.shown) return;
    this.shown = key;
    this.total.textContent = `${Math.round(timing.total)} ms ${timing.voiced === null ? "to the first sound" : "after your last word"}`;
    this.strip.replaceChildren(...segments.map(bar));
    this.list.replaceChildren(...segments.map(entry));
  }
}

function bar({ name, milliseconds }) {
  const element = document.createElement("span");
  element.className = `stage-${name}`;
  element.style.flexGrow = milliseconds;
  return element;
}

function entry({ name, milliseconds }) {
  const row = document.createElement("div");
  const colour = document.createElement("i");
  const term = document.createElement("dt");
  const value = document.createElement("dd");
  colour.className = `stage-${name}`;
  term.textContent = LABELS[name];
  value.textContent = `${Math.round(milliseconds)} ms`;
  row.append(colour, term, value);
  return row;
}
