// Keeps the screen on while the talk goes on.

export class WakeLock {
  constructor() {
    this.wanted = false;
    this.lock = null;
    document.addEventListener("visibilitychange", () => this.#follow()); // hidden pages lose it
  }

  want(wanted) {
    this.wanted = wanted;
    this.#follow();
  }

  async #follow() {
    if (!this.wanted) {
      this.lock?.release();
      this.lock = null;
    } else if (document.visibilityState === "visible" && (!this.lock || this.lock.released)) {
      this.lock = await navigator.wakeLock?.request("screen").catch(() => null); // refused on low battery
    }
  }
}
