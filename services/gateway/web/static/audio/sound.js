// The one AudioContext of the page: made and resumed inside a tap, as iOS asks.

const OPEN_SECONDS = 5; // that a device may take to start

export class Sound {
  constructor() {
    this.context = null;
    this.loaded = null;
  }

  /**
   * Call it inside a tap or a key press, before anything is awaited. Resolves when sound can be made and taken; raises
   * `Error` where the context does not start: there is no device, or the browser waits for a tap.
   */
  open() {
    if (!this.context) {
      this.context = new AudioContext({ latencyHint: "interactive" }); // at the device's rate: Firefox takes no other
      document.addEventListener("pointerup", () => this.context.resume()); // after a call, iOS leaves it suspended
      this.loaded = Promise.all(["capture", "playback"].map((name) => this.#load(name)));
    }
    const resumed = this.context.resume();
    return Promise.race([Promise.all([this.loaded, resumed]), refusal()]);
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

function refusal() {
  const error = new Error("The browser gives no sound; is there a loudspeaker or a headset?");
  return new Promise((_, reject) => setTimeout(reject, OPEN_SECONDS * 1000, error));
}
