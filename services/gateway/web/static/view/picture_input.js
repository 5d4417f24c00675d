// A picture from the user: chosen as a file, pasted, or dropped anywhere.

import { readPicture } from "../media/picture.js";

/** Events: `picture` {url}, `problem` {message}. */
export class PictureInput extends EventTarget {
  constructor({ button, file, drop }) {
    super();
    this.drop = drop;
    this.depth = 0; // of elements that a dragged file is over
    button.addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.#take([...file.files]);
      file.value = ""; // the same file may be chosen again
    });
    document.addEventListener("paste", (event) => this.#take([...event.clipboardData.files]));
    this.#bindDrop();
  }

  #bindDrop() {
    const handlers = {
      dragenter: () => this.#show(this.depth + 1),
      dragleave: () => this.#show(this.depth - 1),
      dragover: (event) => event.preventDefault(),
      drop: (event) => {
        event.preventDefault();
        this.#show(0);
        this.#take([...event.dataTransfer.files]);
      },
    };
    for (const [type, handler] of Object.entries(handlers)) document.addEventListener(type, handler);
  }

  #show(depth) {
    this.depth = Math.max(0, depth);
    this.drop.hidden = !this.depth;
  }

  async #take(files) {
    for (const file of files) {
      try {
        this.#emit("picture", { url: await readPicture(file) });
      } catch (error) {
        this.#emit("problem", { message: error.message });
      }
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
