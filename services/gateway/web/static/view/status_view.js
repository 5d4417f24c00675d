// What the page says of its state: the connection above, what happens now below the talk button, the level around it.

import { meterShare } from "../audio/voice_level.js";

const CONNECTION = { closed: "Not connected", connecting: "Connecting", waiting: "Reconnecting", open: "Connected" };
const ACTIVITY = {
  connecting: "Connecting",
  waiting: "Connection lost, trying again",
  hearing: "Hearing you",
  thinking: "Thinking",
};

export class StatusView {
  constructor({ body, connection, model, activity, button, label, mode }) {
    Object.assign(this, { body, connection, model, activity, button, label, mode });
  }

  showConnection(state, model) {
    this.body.dataset.connection = state;
    this.connection.textContent = CONNECTION[state];
    this.model.textContent = state === "open" && model ? `to ${model}` : "";
  }

  /** `activity`: of the conversation. `microphone`: open or not; `muted`, `handsFree`: of the user's speech. */
  showActivity(activity, { microphone, muted, handsFree }) {
    this.body.dataset.activity = activity;
    this.body.classList.toggle("muted", muted);
    this.body.classList.toggle("listening", microphone && !muted && handsFree);
    setText(this.activity, this.#words(activity, { microphone, muted, handsFree }));
    setText(this.label, this.#action(activity, { microphone, muted, handsFree }));
  }

  showMode(handsFree) {
    this.mode.textContent = handsFree ? "Hands-free" : "Push to talk";
  }

  showLevel(rms) {
    this.button.style.setProperty("--level", meterShare(rms).toFixed(2));
  }

  #words(activity, { microphone, muted, handsFree }) {
    if (activity === "speaking") return handsFree && microphone && !muted ? "Speaking. Talk to interrupt" : "Speaking";
    if (activity !== "listening") return ACTIVITY[activity] ?? "";
    if (!microphone) return "";
    if (muted) return "Muted";
    return handsFree ? "Listening" : "Hold to talk";
  }

  #action(activity, { microphone, muted, handsFree }) {
    if (activity === "speaking" || activity === "thinking") return "Stop the answer";
    if (!microphone) return "Start talking";
    if (!handsFree) return "Hold to talk";
    return muted ? "Unmute the microphone" : "Mute the microphone";
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
