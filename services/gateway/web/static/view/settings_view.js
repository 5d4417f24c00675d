// The settings dialog: how to talk, which devices, which voice.

import { devices } from "../media/devices.js";

const VOICES = ["alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"];

/** Events: `mode` {handsFree}, `microphone` {id}, `camera` {id}, `voice` {voice}. */
export class SettingsView extends EventTarget {
  constructor({ dialog, opener, microphones, cameras, voices }) {
    super();
    Object.assign(this, { dialog, microphones, cameras, voices });
    opener.addEventListener("click", () => this.open());
    dialog.addEventListener("change", ({ target }) => this.#changed(target));
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // its backdrop
    navigator.mediaDevices?.addEventListener("devicechange", () => this.showDevices());
    this.showVoices([]);
  }

  open() {
    this.showDevices();
    this.dialog.showModal();
  }

  async showDevices() {
    for (const [select, kind] of [[this.microphones, "audioinput"], [this.cameras, "videoinput"]]) {
      const found = navigator.mediaDevices ? await devices(kind) : [];
      const none = kind === "audioinput" ? "The system's microphone" : "The system's camera";
      fill(select, [{ id: "", label: none }, ...found]);
    }
  }

  /** `speakers`: names of the served checkpoint's speakers; OpenAI's names mean one of them too. */
  showVoices(speakers) {
    const named = (speakers.length ? speakers : VOICES).map((name) => ({ id: name, label: name }));
    fill(this.voices, [{ id: "", label: "The model's own" }, ...named]);
  }

  showMode(handsFree) {
    this.dialog.querySelector(`[value=${handsFree ? "hands-free" : "push"}]`).checked = true;
  }

  #changed({ id, name, value }) {
    if (name === "mode") this.#emit("mode", { handsFree: value === "hands-free" });
    if (id === "microphones") this.#emit("microphone", { id: value });
    if (id === "cameras") this.#emit("camera", { id: value });
    if (id === "voices") this.#emit("voice", { voice: value });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Gives a <select> these options; what was chosen stays chosen where it still exists. */
function fill(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(({ id, label }) => new Option(label, id)));
  if (options.some(({ id }) => id === chosen)) select.value = chosen;
}
