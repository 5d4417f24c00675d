// The one AudioContext of the page: made and resumed inside a tap, as iOS asks.

export class Sound {
  constructor() {
    this.context = null;
    this.loaded = null;
  }

  /** Call it inside a tap or a key press, before anything is awaited. Resolves when sound can be made and taken. */
  open() {
    if (!this.context) {
      this.context = new AudioContext({ latencyHint: "interactive" }); // at the device's rate: Firefox takes no other
      document.addEventListener("pointerup", () => this.context.resume()); // after a call, iOS leaves it suspended
      this.loaded = Promise.all(["capture", "playback"].map((name) => this.#load(name)));
    }
    const resumed = this.context.resume();
    return Promise.all([this.loaded, resumed]);
  }

  /** A time of the context in seconds → the time in milliseconds, on the clock of `performance.now()`. */
  toPerformance(time) {
    return performance.now() - (this.context.currentTime - time) * 1000;
  }

  /** Seconds between giving a sample to the device and hearing it. */
  get outputLatency() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  #load(name) {
    return this.context.audioWorklet.addModule(new URL(`./${name}_worklet.js`, import.meta.url));
  }
}
