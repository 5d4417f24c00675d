// Asks for the gateway's key.

import { forgetKey, keepKey } from "../realtime/key.js";

export class KeyDialog {
  constructor({ dialog, input, hint }) {
    Object.assign(this, { dialog, input, hint });
  }

  /** `reason`: why it is asked. → the key, or "" if the user has none. */
  async ask(reason) {
    forgetKey();
    for (let message = reason; ; ) {
      this.hint.textContent = message;
      const text = await this.#answer();
      if (!text) return "";
      try {
        return keepKey(text);
      } catch (error) {
        message = error.message;
      }
    }
  }

  #answer() {
    const { dialog, input } = this;
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      const done = () => resolve(dialog.returnValue === "use" ? input.value.trim() : "");
      dialog.addEventListener("close", done, { once: true });
    });
  }
}
