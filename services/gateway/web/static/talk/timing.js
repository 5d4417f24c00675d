// Where the milliseconds of a turn went: from the user's last voiced sample to the first sound of the answer.

const STAGES = ["speech_encoder", "first_token", "first_clause", "speech_decoder"];

export const LABELS = {
  end_of_speech: "End of speech noticed",
  speech_encoder: "Speech encoder",
  first_token: "First token",
  first_clause: "First clause",
  speech_decoder: "Speech decoder",
  answer: "Answer computed",
  network: "Network",
  player: "Player",
};

/** Times in milliseconds on the clock of `performance.now()`; null where it has not happened. */
export class Timing {
  constructor({ voiced = null, asked = null } = {}) {
    this.voiced = voiced; // the last voiced sample of the question; null: it was typed
    this.asked = asked; // the end of the question was known here
    this.received = null; // the first audio
    this.played = null; // its first sample was heard
    this.latency = null; // seconds by stage, as the gateway measured them
  }

  get begin() {
    return this.voiced ?? this.asked;
  }

  /** Milliseconds that the user waited, or null. */
  get total() {
    return this.played === null || this.begin === null ? null : this.played - this.begin;
  }

  /** → [{name, milliseconds}] in order; they add up to `total`. Empty before the answer is heard. */
  get segments() {
    if (this.total === null) return [];
    const computing = Math.max(0, this.received - this.asked);
    const parts = [
      { name: "end_of_speech", milliseconds: this.asked - this.begin },
      ...(this.latency ? this.#stages(computing) : [{ name: "answer", milliseconds: computing }]),
      { name: "player", milliseconds: this.played - Math.max(this.received, this.asked) },
    ];
    return parts.filter((part) => part.milliseconds > 0);
  }

  /** The gateway's stages, and what is left of the time as the network's. Stages may have begun before the end of the
   * question was known here; then they are shown within the time that the user waited. */
  #stages(computing) {
    const stages = STAGES.map((name) => ({ name, milliseconds: 1000 * (this.latency[name] ?? 0) }));
    const sum = stages.reduce((total, stage) => total + stage.milliseconds, 0);
    const scale = sum > computing ? computing / sum : 1;
    const shown = stages.map(({ name, milliseconds }) => ({ name, milliseconds: milliseconds * scale }));
    return [...shown, { name: "network", milliseconds: computing - sum * scale }];
  }
}
